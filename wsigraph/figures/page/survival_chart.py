"""Survival charts of all HTML pages: a predicted curve beside a cohort, and Kaplan-Meier curves of groups."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps
from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps
from wsigraph.figures.page.svg import (
    DAYS_PER_YEAR,
    RIGHT,
    WIDTH,
    Frame,
    axes,
    chart,
    path,
    percent_ticks,
    stairs,
    year_ticks,
)
from wsigraph.records import Prediction

_HEIGHT = 300
_LABEL_HEIGHT = 20.0


def predicted_survival_chart(prediction: Prediction, cohort: SurvivalSteps | None) -> Markup:
    """Return the predicted survival with its band, and the Kaplan-Meier estimate of the training cohort.

    Parameters
    ----------
    prediction : Prediction
        Its curve, and its band if it has one.
    cohort : SurvivalSteps or None
        The training cohort.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    last = float(prediction.time_days[-1])
    frame = Frame(last, 0.0, 1.0, _HEIGHT)
    body = axes(frame, year_ticks(last), "years", percent_ticks())
    if cohort is not None and len(cohort.time_days):
        body += _steps(frame, cohort, last, "cohort", "line")
    days = np.concatenate([[0.0], prediction.time_days])
    if prediction.survival_band is not None:
        low, high = (np.concatenate([[1.0], band]) for band in prediction.survival_band)
        body.append(path("own band", frame.area(days, low, days, high)))
    survival = np.concatenate([[1.0], prediction.survival])
    body.append(path("own line strong", frame.line(days, survival)))
    description = ", ".join(
        f"{day / DAYS_PER_YEAR:.1f} years {100 * fraction:.0f} %"
        for day, fraction in zip(days[1:], survival[1:], strict=True)
    )
    return chart(_HEIGHT, "Predicted survival", description, body)


def survival_by_group_chart(groups: Mapping[str, SurvivalSteps], title: str = "Survival by predicted risk") -> Markup:
    """Return Kaplan-Meier curves of groups of patients with their 95 % bands.

    Parameters
    ----------
    groups : mapping of str to SurvivalSteps
        One or two groups. The first line is solid, the second dashed.
    title : str
        Title for screen readers.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    last = max(float(steps.time_days[-1]) if len(steps.time_days) else 1.0 for steps in groups.values())
    frame = Frame(last, 0.0, 1.0, _HEIGHT)
    body = axes(frame, year_ticks(last), "years", percent_ticks())
    ends = {}
    for number, (name, steps) in enumerate(groups.items()):
        body += _steps(frame, steps, last, ("own", "cohort")[number % 2], "line strong")
        ends[name] = float(steps.survival[-1]) if len(steps.survival) else 1.0
    return chart(_HEIGHT, title, _described(ends), [*body, *_end_labels(frame, ends)])


def _described(ends: Mapping[str, float]) -> str:
    return ", ".join(f"{name} ends at {100 * end:.0f} %" for name, end in ends.items())


def _end_labels(frame: Frame, ends: Mapping[str, float]) -> list[Markup]:
    """Return the names of curves above their right ends; where ends are close, names are moved apart."""
    labels, y = [], float("inf")
    for name, end in sorted(ends.items(), key=lambda pair: pair[1]):
        y = min(frame.y(end) - 6.0, y - _LABEL_HEIGHT)
        labels.append(Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(WIDTH - RIGHT - 4, y, name))
    return labels


def _steps(frame: Frame, steps: SurvivalSteps, last: float, colour: str, line: str) -> list[Markup]:
    """Return band and line of a step function, from day 0 to the last day."""
    inside = steps.time_days <= last
    at = np.concatenate([[0.0], steps.time_days[inside], [last]])

    def extended(values: NDArray[np.float64]) -> NDArray[np.float64]:
        shown = values[inside]
        return np.concatenate([[1.0], shown, shown[-1:] if len(shown) else [1.0]])

    low, survival, high = (stairs(at, extended(values)) for values in (steps.low, steps.survival, steps.high))
    return [path(f"{colour} band", frame.area(*low, *high)), path(f"{colour} {line}", frame.line(*survival))]


def incidence_chart(groups: Mapping[str, IncidenceSteps], title: str = "Cumulative incidence") -> Markup:
    """Return cumulative incidences of events, or of groups of patients, with their 95 % bands.

    Parameters
    ----------
    groups : mapping of str to IncidenceSteps
        One or more. Odd lines are in one colour, even lines in another.
    title : str
        Title for screen readers.

    Returns
    -------
    Markup
        An ``svg`` element.
    """
    last = max((steps.last_day for steps in groups.values()), default=1.0) or 1.0
    frame = Frame(last, 0.0, 1.0, _HEIGHT)
    body = axes(frame, year_ticks(last), "years", percent_ticks())
    ends = {}
    for number, (name, steps) in enumerate(groups.items()):
        colour = ("own", "cohort")[number % 2]
        at = np.concatenate([[0.0], steps.time_days, [steps.last_day]])
        low, value, high = (
            stairs(at, np.concatenate([[0.0], part, part[-1:] if len(part) else [0.0]]))
            for part in (steps.low, steps.incidence, steps.high)
        )
        body += [path(f"{colour} band", frame.area(*low, *high)), path(f"{colour} line strong", frame.line(*value))]
        ends[name] = float(steps.incidence[-1]) if len(steps.incidence) else 0.0
    return chart(_HEIGHT, title, _described(ends), [*body, *_end_labels(frame, ends)])
