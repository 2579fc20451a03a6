"""Follow-up of another endpoint than ``time_days`` and ``event``, from columns that the user names.

A manifest may have disease-specific death (``DSS.time``, ``DSS``) or progression (``PFI.time``, ``PFI``) in columns of
its own. An event of value 2, or the event of a further column where the first has none, is a competing event: it ends
follow-up and makes the event in question impossible. Cause-specific hazards count such patients as censored then
(Prentice et al., Biometrics 1978).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wsigraph.cohort.manifest.follow_up import describe_follow_up
from wsigraph.cohort.manifest.manifest_row import Fault, ManifestRow, quote
from wsigraph.errors import CohortError

TIME, EVENT = "time_days", "event"
"""Columns of the endpoint where none is named."""

_FAULTS_LISTED = 10
_COMPETING = 2
_EVENTS = {"0": 0, "1": 1, "2": _COMPETING, "false": 0, "true": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Names of the columns of an endpoint.

    Attributes
    ----------
    time, event : str
        Columns of follow-up in days, and of whether it ended with the event.
    competing : str
        Column of a competing event; empty for none beyond the value 2 of `event`.
    """

    time: str = TIME
    event: str = EVENT
    competing: str = ""

    @property
    def is_default(self) -> bool:
        """Whether these are the columns that every command reads."""
        return self == Endpoint()

    def __str__(self) -> str:
        text = f"{self.event} in {self.time}"
        return f"{text}, competing: {self.competing}" if self.competing else text


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRows:
    """Rows of a manifest with the follow-up of an endpoint.

    Attributes
    ----------
    rows : tuple of ManifestRow
        ``time_days`` and ``event`` are those of the endpoint.
    competing : frozenset of str
        Patients whose follow-up ended with a competing event.
    warnings : tuple of str
        Doubtful follow-up: patients with none, and times that may be months.
    """

    rows: tuple[ManifestRow, ...]
    competing: frozenset[str]
    warnings: tuple[str, ...] = ()


def with_endpoint(rows: Sequence[ManifestRow], endpoint: Endpoint) -> EndpointRows:
    """Return rows with the follow-up of an endpoint.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All slides.
    endpoint : Endpoint
        Columns.

    Returns
    -------
    EndpointRows
        In the order of `rows`.

    Raises
    ------
    CohortError
        If a column does not exist, a cell is no number of days or no event, or slides of a patient differ; the message
        lists the first ten cells with their lines.
    """
    if endpoint.is_default:
        return EndpointRows(rows=tuple(rows), competing=frozenset())
    free = list(dict.fromkeys(name for row in rows for name in row.free))
    names = [name for name in (endpoint.time, endpoint.event, endpoint.competing) if name]
    absent = [name for name in names if name not in (TIME, EVENT) and name not in free]
    if absent:
        raise CohortError(
            f"the manifest has no column {', '.join(map(quote, absent))}; it has {', '.join([TIME, EVENT, *free])}"
        )
    faults: list[Fault] = []
    filled: list[ManifestRow] = []
    competing: set[str] = set()
    follow_up: dict[str, tuple[float | None, int | None]] = {}
    for row in rows:
        time_days, event = _days(row, endpoint.time, faults), _event(row, endpoint.event, faults)
        if endpoint.competing and event == 0 and _event(row, endpoint.competing, faults):
            event = _COMPETING
        if follow_up.setdefault(row.patient_id, (time_days, event)) != (time_days, event):
            faults.append(_fault(row, endpoint.time, "differs between slides of one patient, expected one follow-up"))
        if event == _COMPETING:
            competing.add(row.patient_id)
        filled.append(replace(row, time_days=time_days, event=None if event is None else event == 1))
    if faults:
        listed = [str(fault) for fault in faults[:_FAULTS_LISTED]]
        more = [f"and {len(faults) - _FAULTS_LISTED} more"] if len(faults) > _FAULTS_LISTED else []
        raise CohortError(
            "\n".join([f"endpoint {endpoint} has {len(faults)} faults:", *(f"  {t}" for t in listed + more)])
        )
    warnings = tuple(text.replace(TIME, endpoint.time) for text in describe_follow_up(filled))
    return EndpointRows(rows=tuple(filled), competing=frozenset(competing), warnings=warnings)


def _cell(row: ManifestRow, column: str) -> str:
    if column in (TIME, EVENT):
        value = getattr(row, column)
        return "" if value is None else str(float(value)) if column == TIME else str(int(value))
    # words for missing values are empty cells already, in every column
    return row.free.get(column, "").strip()


def _days(row: ManifestRow, column: str, faults: list[Fault]) -> float | None:
    text = _cell(row, column)
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = math.nan
    if not (math.isfinite(days) and days >= 0):
        faults.append(_fault(row, column, f"{quote(text)}, expected days >= 0, or an empty cell"))
        return None
    return days


def _event(row: ManifestRow, column: str, faults: list[Fault]) -> int | None:
    text = _cell(row, column)
    if not text:
        return None
    value = _EVENTS.get(text.lower().removesuffix(".0"))
    if value is None:
        faults.append(
            _fault(row, column, f"{quote(text)}, expected 0 (none), 1 (event), 2 (competing event) or an empty cell")
        )
    return value


def _fault(row: ManifestRow, column: str, message: str) -> Fault:
    return Fault(line=row.line, column=column, slide_id=row.slide_id, message=message)
