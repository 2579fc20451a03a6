"""Which columns and values of a clinical table mean what: a mapping that is guessed, checked by a user, and stored."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from wsigraph.cohort.clinical.cell_dates import date_order
from wsigraph.cohort.clinical.cell_values import is_missing, is_t_category, parse_number, uses_decimal_comma
from wsigraph.cohort.clinical.clinical_table import ClinicalTable
from wsigraph.cohort.clinical.column_roles import ROLES, STAGE_GROUPS, guess_roles, guess_unit

T_CATEGORIES = ("T1", "T2", "T3", "T4")
_MONTHS_MAX = 720
"""Months of follow-up of which nobody has more."""


class ColumnMapping(BaseModel):
    """Which columns and values of a clinical table mean what.

    Attributes
    ----------
    patient, slide, stage, event, time_from, age, sex, site, grade, split : str or None
        Columns.
    time : tuple of str
        Column of follow-up or its end; of several, the first that is filled counts.
    time_unit : str or None
        days, weeks, months or years; None for dates.
    date_order : str or None
        ymd, dmy or mdy, for dates.
    event_values : tuple of str
        Cells of `event` that mean an event; without any, the usual words are known.
    stage_names : tuple of str
        Stages of the study, in order.
    values : dict of str to dict of str to str
        For a role, what a cell means; an empty text means a missing value. It precedes every other rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patient: str | None = None
    slide: str | None = None
    stage: str | None = None
    time: tuple[str, ...] = ()
    time_unit: str | None = None
    time_from: str | None = None
    date_order: str | None = None
    event: str | None = None
    event_values: tuple[str, ...] = ()
    age: str | None = None
    sex: str | None = None
    site: str | None = None
    grade: str | None = None
    split: str | None = None
    stage_names: tuple[str, ...] = STAGE_GROUPS
    values: dict[str, dict[str, str]] = Field(default_factory=dict)

    def columns(self) -> list[str]:
        """Return all columns that have a role."""
        single = (getattr(self, role) for role in ROLES if role != "time")
        return [column for column in (*single, *self.time) if column]


def guess_mapping(table: ClinicalTable, stage_names: Sequence[str] | None = None) -> tuple[ColumnMapping, list[str]]:
    """Return the probable mapping of a table, and the roles that a user should confirm.

    Parameters
    ----------
    table : ClinicalTable
        The table.
    stage_names : sequence of str, optional
        Stages of the study; by default I to IV, or T1 to T4 if the column of the stage holds T categories.

    Returns
    -------
    tuple of (ColumnMapping, list of str)
        The mapping; and the roles whose column, unit or order of dates is a guess among several.
    """
    guesses = guess_roles(table)
    doubtful = [role for role, guess in guesses.items() if not guess.is_certain]
    single = {role: guess.columns[0] for role, guess in guesses.items() if role != "time"}
    time = guesses["time"].columns if "time" in guesses else ()
    mapping = ColumnMapping(**single, time=time)
    mapping, more = complete_mapping(table, mapping, stage_names)
    return mapping, [*doubtful, *more]


def complete_mapping(
    table: ClinicalTable, mapping: ColumnMapping, stage_names: Sequence[str] | None = None
) -> tuple[ColumnMapping, list[str]]:
    """Return a mapping with unit, order of dates and stages as the columns state them, and what remains to be stated.

    Parameters
    ----------
    table : ClinicalTable
        The table.
    mapping : ColumnMapping
        Its columns.
    stage_names : sequence of str, optional
        Stages of the study.

    Returns
    -------
    tuple of (ColumnMapping, list of str)
        The mapping; and among ``time_unit``, ``time_from`` and ``date_order`` those that neither names nor cells state.
    """
    changes: dict[str, object] = {}
    unknown: list[str] = []
    if stage_names:
        changes["stage_names"] = tuple(stage_names)
    elif mapping.stage and mapping.stage_names == STAGE_GROUPS and _holds_t_categories(table.column(mapping.stage)):
        changes["stage_names"] = T_CATEGORIES
    if mapping.time:
        cells = filled_cells(table, mapping.time)
        order = mapping.date_order or date_order(cells)
        if order is None:
            if mapping.time_unit is None:
                unit = guess_unit(mapping.time[0]) or _unit_of_values(cells)
                changes["time_unit"] = unit
                unknown += [] if unit else ["time_unit"]
        else:
            start = [] if mapping.time_from is None else filled_cells(table, (mapping.time_from,))
            if order == "ambiguous":
                # the other date of the patient may settle it
                order = date_order([*cells, *start]) or order
            changes["date_order"] = None if order == "ambiguous" else order
            unknown += [] if order != "ambiguous" else ["date_order"]
            unknown += [] if mapping.time_from else ["time_from"]
    return mapping.model_copy(update=changes), unknown


def _unit_of_values(cells: Sequence[str]) -> str | None:
    """Return days where a follow-up is so long that it can be nothing else; None otherwise."""
    comma = uses_decimal_comma(cells)
    numbers = [number for cell in cells if (number := parse_number(cell, decimal_comma=comma)) is not None]
    return "days" if numbers and max(numbers) > _MONTHS_MAX else None


def filled_cells(table: ClinicalTable, columns: Sequence[str]) -> list[str]:
    """Return the cells of columns that are not missing."""
    return [cell for column in columns for cell in table.column(column) if not is_missing(cell)]


def _holds_t_categories(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if not is_missing(cell)]
    return bool(filled) and sum(map(is_t_category, filled)) > 0.5 * len(filled)
