"""Cumulative incidence of the event and of competing events, by predicted risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps, cumulative_incidence
from wsigraph.figures.page.survival_chart import incidence_chart

_EVENT, _COMPETING = 1, 2
_KINDS = {"event": _EVENT, "competing event": _COMPETING}


def incidence_by_risk(
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    competing: NDArray[np.bool_],
    is_high: NDArray[np.bool_] | None,
) -> dict[str, IncidenceSteps]:
    """Return the cumulative incidences of the event and of the competing one.

    Parameters
    ----------
    time_days : float64 (n,)
        Follow-up, days; NaN where unknown.
    event, competing : bool (n,)
        Whether follow-up ended with the event, and with a competing one.
    is_high : bool (n,) or None
        Whether each patient is at high risk; None where that is not known.

    Returns
    -------
    dict of str to IncidenceSteps
        ``event, low risk`` and so on, or ``event`` and ``competing event``; empty without competing events.
    """
    if not competing.any():
        return {}
    cause = np.where(event, _EVENT, np.where(competing, _COMPETING, 0)).astype(np.int64)
    if is_high is None:
        return {name: cumulative_incidence(time_days, cause, kind) for name, kind in _KINDS.items()}
    return {
        f"{name}, {group} risk": cumulative_incidence(time_days[rows], cause[rows], kind)
        for name, kind in _KINDS.items()
        for group, rows in (("low", ~is_high), ("high", is_high))
        if rows.any()
    }


def describe_incidence(incidence: Mapping[str, IncidenceSteps], days: Sequence[int]) -> dict[str, Any]:
    """Return patients, events and the incidence by some days of every curve, for JSON.

    Parameters
    ----------
    incidence : mapping of str to IncidenceSteps
        From `incidence_by_risk`.
    days : sequence of int
        Days; those beyond follow-up are left out.

    Returns
    -------
    dict
        ``n_patients``, ``n_events`` and ``incidence`` by day, of each.
    """
    described = {}
    for name, steps in incidence.items():
        at = [day for day in days if day <= steps.last_day]
        values = steps.incidence_at(np.array(at, np.float64))
        described[name] = {
            "n_patients": steps.n_patients,
            "n_events": steps.n_events,
            "incidence": {str(day): round(float(value), 4) for day, value in zip(at, values, strict=True)},
        }
    return described


def incidence_charts(incidence: Mapping[str, IncidenceSteps]) -> list[tuple[str, str, Markup]]:
    """Return a chart of each kind of event, for a page.

    Parameters
    ----------
    incidence : mapping of str to IncidenceSteps
        From `incidence_by_risk`.

    Returns
    -------
    list of (str, str, Markup)
        Title, counts of events and patients, and an ``svg`` element.
    """
    charts = []
    for kind in _KINDS:
        groups = {
            name.removeprefix(f"{kind}, "): steps for name, steps in incidence.items() if name.split(",")[0] == kind
        }
        if groups:
            counts = "; ".join(
                f"{name}: {part.n_events} of {part.n_patients} patients" for name, part in groups.items()
            )
            title = f"Cumulative incidence of the {kind}"
            charts.append((title, counts, incidence_chart(groups, title)))
    return charts
