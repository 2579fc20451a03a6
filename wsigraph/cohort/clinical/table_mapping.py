"""Maps a clinical table to patients with stage and follow-up, by columns and values that a user has checked.

The mapping is data: `ColumnMapping` is written to ``study.yaml`` and reproduces the study. Applying it yields the
patients, a count of what every cell became, and one fault for each column and value that is not understood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsigraph.cohort.clinical.cell_dates import parse_date
from wsigraph.cohort.clinical.cell_values import (
    DAYS_PER_UNIT,
    MISSING,
    UNKNOWN,
    MappedCell,
    event_legend,
    is_missing,
    map_event,
    map_sex,
    map_stage,
    parse_number,
    uses_decimal_comma,
)
from wsigraph.cohort.clinical.clinical_table import ClinicalTable
from wsigraph.cohort.clinical.column_mapping import T_CATEGORIES, ColumnMapping, filled_cells
from wsigraph.cohort.clinical.column_roles import ROLES, states_censoring
from wsigraph.cohort.manifest.manifest_row import COLUMNS
from wsigraph.errors import CohortError

_AGE_MAX = 130.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalRow:
    """One row of a mapped table.

    Attributes
    ----------
    number : int
        Row below the header, from 1.
    patient, slide, stage, site, grade, split : str or None
        Values; None where missing or not understood.
    time_days : float or None
        Follow-up, days.
    event : bool or None
        Whether the event was observed.
    free : dict of str to str
        Age in years and sex as ``age`` and ``sex``, and the cells of the columns without a role.
    """

    number: int
    patient: str | None
    slide: str | None
    stage: str | None
    time_days: float | None
    event: bool | None
    site: str | None
    grade: str | None
    split: str | None
    free: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ValueCount:
    """What the cells of one text became.

    Attributes
    ----------
    role, column : str
        What the column holds, and its name.
    cell : str
        The text in the table.
    value : str
        The value of the manifest; empty if missing or not understood.
    count : int
        Number of cells.
    is_understood : bool
        Whether the cell is a value or a word for a missing one.
    """

    role: str
    column: str
    cell: str
    value: str
    count: int
    is_understood: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedTable:
    """A clinical table after mapping.

    Attributes
    ----------
    rows : tuple of ClinicalRow
        Rows in their order.
    counts : tuple of ValueCount
        Every mapping, by role and column; numbers and dates that are understood are counted together.
    faults : tuple of str
        One for each column and value that is not understood, and for contradictions between rows of a patient.
    notes : tuple of str
        Doubtful entries that are accepted.
    """

    rows: tuple[ClinicalRow, ...]
    counts: tuple[ValueCount, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def apply_mapping(table: ClinicalTable, mapping: ColumnMapping) -> MappedTable:
    """Map every row of a table.

    Parameters
    ----------
    table : ClinicalTable
        The table.
    mapping : ColumnMapping
        What its columns and values mean.

    Returns
    -------
    MappedTable
        Rows, counts and faults. A row without a patient is a fault.

    Raises
    ------
    CohortError
        If the mapping names a column that is not there, or follow-up has no unit.
    """
    for column in mapping.columns():
        table.place(column)
    readers = {**_readers(table, mapping), "time": _time_reader(table, mapping)}
    counts: Counter[tuple[str, str, str, str, bool]] = Counter()
    free = _free_columns(table, mapping)
    rows = []
    for number, cells in enumerate(table.rows, start=1):
        values: dict[str, str | None] = {}
        for role, (columns, read) in readers.items():
            column, cell = _first_filled(table, columns, cells)
            mapped = _stated_value(mapping, role, cell) or read(cell, cells)
            values[role] = mapped.value
            if role not in ("patient", "slide") or not mapped.is_understood:
                exact = role in ("time", "age") and mapped.value is not None
                counts[
                    role,
                    column,
                    "numbers" if exact else cell,
                    {"time": "days", "age": "years"}[role] if exact else mapped.value or "",
                    mapped.is_understood,
                ] += 1
        described: dict[str, str] = {name: values[name] or "" for name in ("age", "sex") if name in values}
        rows.append(_row(number, values, {**described, **{name: cells[place] for name, place in free.items()}}))
    listed = tuple(
        ValueCount(role, column, cell, value, n, known)
        for (role, column, cell, value, known), n in sorted(
            counts.items(), key=lambda item: (list(readers).index(item[0][0]), item[0][1], -item[1], item[0][2])
        )
    )
    return MappedTable(
        rows=tuple(rows),
        counts=listed,
        faults=(*_value_faults(listed, mapping), *_row_faults(rows, mapping)),
        notes=tuple(_notes(rows, mapping)),
    )


def join_rows(rows: Sequence[ClinicalRow]) -> tuple[ClinicalRow, ...]:
    """Return one row for each patient, or for each slide that the table names.

    Parameters
    ----------
    rows : sequence of ClinicalRow
        Mapped rows; archives state a patient once for each diagnosis and treatment.

    Returns
    -------
    tuple of ClinicalRow
        The first of each, in which a later row fills what is missing.
    """
    joined: dict[object, ClinicalRow] = {}
    for row in rows:
        key = (row.patient, row.slide) if row.patient or row.slide else row.number
        first = joined.setdefault(key, row)
        if first is row:
            continue
        filled = {name: getattr(row, name) for name in _JOINED if getattr(first, name) is None}
        free = {**row.free, **{name: cell for name, cell in first.free.items() if not is_missing(cell)}}
        joined[key] = replace(first, **filled, free=free)
    return tuple(joined.values())


_JOINED = ("stage", "time_days", "event", "site", "grade", "split")
_Read = Callable[[str, Sequence[str]], MappedCell]
_Reader = tuple[tuple[str, ...], _Read]


def _readers(table: ClinicalTable, mapping: ColumnMapping) -> dict[str, _Reader]:
    """Return the columns and the rule of every role but follow-up."""

    def text(cell: str, _: Sequence[str]) -> MappedCell:
        return MISSING if is_missing(cell) else MappedCell(cell, True)

    def stage(cell: str, _: Sequence[str]) -> MappedCell:
        return map_stage(cell, mapping.stage_names)

    event = _event_reader(table, mapping)

    def sex(cell: str, _: Sequence[str]) -> MappedCell:
        return map_sex(cell)

    def age(cell: str, _: Sequence[str]) -> MappedCell:
        if is_missing(cell):
            return MISSING
        # GDC states the age at diagnosis in days
        number = parse_number(cell.replace(",", "."), decimal_comma=False)
        return (
            UNKNOWN if number is None else MappedCell(f"{number / 365.25 if number > _AGE_MAX else number:.4g}", True)
        )

    rules: dict[str, _Read] = {"stage": stage, "event": event, "sex": sex, "age": age}
    named = {role: getattr(mapping, role) for role in ROLES if role not in ("time", "time_from")}
    return {role: ((column,), rules.get(role, text)) for role, column in named.items() if column}


def _event_reader(table: ClinicalTable, mapping: ColumnMapping) -> _Read:
    """Return the rule of the event: a word or digit, or whether there is a day of death."""
    if mapping.event is None:
        return lambda _cell, _cells: MISSING
    if mapping.event in mapping.time and not mapping.event_values:
        others = [table.place(column) for column in mapping.time if column != mapping.event]

        def died(cell: str, cells: Sequence[str]) -> MappedCell:
            if not is_missing(cell):
                return MappedCell("1", True)
            return MISSING if all(is_missing(cells[place]) for place in others) else MappedCell("0", True)

        return died
    inverted = states_censoring(mapping.event)
    legend = event_legend(mapping.event, table.column(mapping.event))

    def event(cell: str, _: Sequence[str]) -> MappedCell:
        return map_event(cell, mapping.event_values, is_censoring=inverted, legend=legend)

    return event


def _time_reader(table: ClinicalTable, mapping: ColumnMapping) -> _Reader:
    columns = mapping.time
    if not columns:
        return (), lambda _cell, _cells: MISSING
    if mapping.date_order:
        if mapping.time_from is None:
            raise CohortError(
                f"column {columns[0]!r} holds dates, expected also the column of the first date; name it with "
                "--time-from, for example the date of diagnosis"
            )
        start, order = table.place(mapping.time_from), mapping.date_order

        def between(cell: str, cells: Sequence[str]) -> MappedCell:
            if is_missing(cell) or is_missing(cells[start]):
                return MISSING
            first, last = parse_date(cells[start], order), parse_date(cell, order)
            if first is None or last is None or last < first:
                return UNKNOWN
            return MappedCell(str((last - first).days), True)

        return columns, between
    if mapping.time_unit not in DAYS_PER_UNIT:
        raise CohortError(
            f"the unit of {columns[0]!r} is not known, expected days, weeks, months or years; give --time-unit"
        )
    factor = DAYS_PER_UNIT[mapping.time_unit]
    comma = uses_decimal_comma(filled_cells(table, columns))

    def days(cell: str, _: Sequence[str]) -> MappedCell:
        if is_missing(cell):
            return MISSING
        number = parse_number(cell, decimal_comma=comma)
        return UNKNOWN if number is None or number < 0 else MappedCell(repr(round(number * factor, 2)), True)

    return columns, days


def _first_filled(table: ClinicalTable, columns: Sequence[str], cells: Sequence[str]) -> tuple[str, str]:
    for column in columns:
        cell = cells[table.place(column)]
        if not is_missing(cell):
            return column, cell
    return (columns[0], cells[table.place(columns[0])]) if columns else ("", "")


def _stated_value(mapping: ColumnMapping, role: str, cell: str) -> MappedCell | None:
    stated = mapping.values.get(role, {})
    return MappedCell(stated[cell] or None, True) if cell in stated else None


def _row(number: int, values: Mapping[str, str | None], free: Mapping[str, str]) -> ClinicalRow:
    time, event = values.get("time"), values.get("event")
    return ClinicalRow(
        number=number,
        patient=values.get("patient"),
        slide=values.get("slide"),
        stage=values.get("stage"),
        time_days=None if time is None else float(time),
        event=None if event is None else event == "1",
        site=values.get("site"),
        grade=values.get("grade"),
        split=values.get("split"),
        free=free,
    )


def _free_columns(table: ClinicalTable, mapping: ColumnMapping) -> dict[str, int]:
    used = {table.place(column) for column in mapping.columns()}
    # columns of the manifest have a meaning of their own
    return {
        f"table_{name}" if name.casefold() in (*COLUMNS, "age", "sex") else name: place
        for place, name in enumerate(table.columns)
        if place not in used
    }


_EXPECTED = {
    "event": "dead or alive, 1 or 0; state the words of an event with --event COLUMN=VALUE",
    "time": "a number or a date that is not before the first; correct the cells, or map them with --map",
}


def _value_faults(counts: Sequence[ValueCount], mapping: ColumnMapping) -> list[str]:
    """Return a fault for each column, with its values that are not understood and how often each occurs."""
    faults = []
    for role in dict.fromkeys(count.role for count in counts):
        unknown = [count for count in counts if count.role == role and not count.is_understood]
        if unknown:
            shown = ", ".join(f"{count.cell!r} {count.count} x" for count in unknown)
            expected = _EXPECTED.get(
                role, f"{', '.join(mapping.stage_names)}; map a value with --map '{role}:{unknown[0].cell}=VALUE'"
            )
            faults.append(f"{role} (column {unknown[0].column!r}): {shown}; expected {expected}")
    return faults


def _row_faults(rows: Sequence[ClinicalRow], mapping: ColumnMapping) -> list[str]:
    faults = []
    without = [str(row.number) for row in rows if row.patient is None and (row.slide is None or mapping.patient)]
    if without:
        shown = ", ".join(without[:10]) + (" ..." if len(without) > 10 else "")
        faults.append(f"patient: {len(without)} rows name none (row {shown} below the header); fill the cells in")
    for role in ("stage", "time_days", "event"):
        values: dict[str, set[object]] = {}
        for row in rows:
            value = getattr(row, role)
            if row.patient is not None and value is not None:
                values.setdefault(row.patient, set()).add(value)
        differing = [patient for patient, distinct in values.items() if len(distinct) > 1]
        if differing:
            shown = ", ".join(differing[:5]) + (" ..." if len(differing) > 5 else "")
            faults.append(f"{role}: {len(differing)} patients have rows that contradict each other ({shown}); keep one")
    return faults


def _notes(rows: Sequence[ClinicalRow], mapping: ColumnMapping) -> list[str]:
    notes = []
    if all(name in T_CATEGORIES for name in mapping.stage_names) and mapping.stage:
        notes.append("the stages of this study are T categories, not stage groups")
    days = [row.time_days for row in rows if row.time_days]
    if days and mapping.time_unit:
        notes.append(f"follow-up in {mapping.time_unit}: {min(days):.0f} to {max(days):.0f} days")
    half = [row for row in rows if (row.time_days is None) != (row.event is None)]
    if half:
        notes.append(f"{len(half)} rows have follow-up without an event or the reverse; they are left out of survival")
    return notes
