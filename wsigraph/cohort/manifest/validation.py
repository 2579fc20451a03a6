"""Parses the cells of a manifest to rows, and finds faults: first cell by cell, then between rows."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from wsigraph.cohort.manifest.csv_table import Table
from wsigraph.cohort.manifest.manifest_row import COLUMNS, Fault, ManifestRow, quote
from wsigraph.geometry import MPP_MAX, MPP_MIN
from wsigraph.slide.slide_id import ID_BYTES_MAX, is_folder_name

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EVENTS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_LINES_LISTED = 5
_Value = TypeVar("_Value")


class _Refused(Exception):
    """A cell with a fault; its text is the fault's message."""


def parse_rows(table: Table, folder: str, stage_names: Sequence[str], requires: Sequence[str]) -> list[ManifestRow]:
    """Turn records into rows; faults are added to those of the table.

    Parameters
    ----------
    table : Table
        Cells.
    folder : str
        Absolute folder against which paths are resolved.
    stage_names : sequence of str
        Stages in the settings.
    requires : sequence of str
        Columns of which no cell may be empty.

    Returns
    -------
    list of ManifestRow
        A row for each record; a cell with a fault is None in it.
    """
    known = [(column, table.columns.index(column)) for column in COLUMNS if column in table.columns]
    free = [(column, place) for place, column in enumerate(table.columns) if column not in COLUMNS]
    needed = [(column, table.columns.index(column)) for column in requires if column in table.columns]
    absent = dict.fromkeys(COLUMNS, "")
    stages = frozenset(stage_names)

    def parse_stage(text: str) -> str:
        if text not in stages:
            raise _Refused(
                f"{quote(text)} is not a stage in the settings, expected one of {', '.join(stage_names)} or nothing"
            )
        return text

    rows = []
    for line, cells in table.records:
        text = absent | {column: cells[place] for column, place in known}
        slide_id = text["slide_id"]
        row_parser = _RowParser(line, slide_id, table.faults)
        for column, place in needed:
            # a feature file takes the place of a slide
            is_given = column == "slide_id" or (column == "path" and text["features"])
            if not cells[place] and not is_given:
                row_parser.refuse(column, "the cell is empty, expected a value; this command needs one for every slide")
        row_parser.take("slide_id", slide_id or " ", _refuse_unsafe)
        time_days = row_parser.take("time_days", text["time_days"], _parse_days)
        event = row_parser.take("event", text["event"], _parse_event)
        if event is not None and not text["time_days"]:
            row_parser.refuse("event", "an event is given without time_days; give the days, or leave both empty")
        rows.append(
            ManifestRow(
                line=line,
                slide_id=slide_id,
                patient_id=text["patient_id"] or slide_id,
                site=text["site"] or None,
                path=row_parser.take("path", text["path"], lambda cell: _parse_path(cell, folder)),
                mpp=row_parser.take("mpp", text["mpp"], _parse_mpp),
                stage=row_parser.take("stage", text["stage"], parse_stage),
                grade=text["grade"] or None,
                time_days=time_days,
                event=event,
                split=text["split"] or None,
                sha256=row_parser.take("sha256", text["sha256"], _parse_digest),
                roi=row_parser.take("roi", text["roi"], lambda cell: _parse_path(cell, folder)),
                features=row_parser.take("features", text["features"], lambda cell: _parse_path(cell, folder)),
                organ=text["organ"] or None,
                free={column: cells[place] for column, place in free},
            )
        )
    return rows


class _RowParser:
    """Parses one row, and collects its faults."""

    __slots__ = ("_faults", "_line", "_slide_id")

    def __init__(self, line: int, slide_id: str, faults: list[Fault]) -> None:
        self._line, self._slide_id, self._faults = line, slide_id, faults

    def refuse(self, column: str, message: str) -> None:
        self._faults.append(Fault(self._line, column, self._slide_id, message))

    def take(self, column: str, text: str, parse: Callable[[str], _Value]) -> _Value | None:
        if not text:
            return None
        try:
            return parse(text)
        except _Refused as refused:
            self.refuse(column, str(refused))
            return None


def find_contradictions(rows: Sequence[ManifestRow]) -> tuple[list[Fault], list[str]]:
    """Return contradictions between rows.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows, in the order of the file.

    Returns
    -------
    tuple of (list of Fault, list of str)
        Faults (a slide_id twice, a patient in two splits) and warnings (follow-up without event, patients with two
        follow-ups or sites).
    """
    faults: list[Fault] = []
    first: dict[str, ManifestRow] = {}
    splits: dict[str, dict[str, int]] = defaultdict(dict)
    outcomes: dict[str, tuple[float, bool]] = {}
    sites: dict[str, str] = {}
    undecided, torn, moved = [], [], []
    for row in rows:
        if row.slide_id and (earlier := first.setdefault(row.slide_id, row)) is not row:
            message = f"line {earlier.line} names this slide too, expected each once; rename or delete one"
            faults.append(Fault(row.line, "slide_id", row.slide_id, message))
        if row.split and row.patient_id and row.split not in (line_of_split := splits[row.patient_id]):
            if line_of_split:
                split, line = next(iter(line_of_split.items()))
                message = (
                    f"patient {quote(row.patient_id)} is in {quote(row.split)} here and in {quote(split)} on line "
                    f"{line}, expected one split a patient"
                )
                faults.append(Fault(row.line, "split", row.slide_id, message))
            line_of_split[row.split] = row.line
        if row.time_days is not None and row.event is None:
            undecided.append(row.line)
        if row.time_days is not None and row.event is not None:
            outcome = (row.time_days, row.event)
            if outcomes.setdefault(row.patient_id, outcome) != outcome:
                torn.append(row.line)
        if row.site and sites.setdefault(row.patient_id, row.site) != row.site:
            moved.append(row.line)
    warnings = _line_warning("time_days without event: no survival can be learned from the row", undecided)
    warnings += _line_warning("another time_days or event than an earlier slide of the patient", torn)
    warnings += _line_warning("another site than an earlier slide of the patient; a split by site joins the two", moved)
    return faults, warnings


def describe_same_bytes(groups: Iterable[Sequence[ManifestRow]]) -> tuple[list[Fault], list[str]]:
    """Return faults and warnings about slides with equal bytes.

    Parameters
    ----------
    groups : iterable of sequence of ManifestRow
        Rows with the same bytes, two or more in each.

    Returns
    -------
    tuple of (list of Fault, list of str)
        A fault for each row that repeats the bytes in another split; a warning for every other group.
    """
    faults, warnings = [], []
    for group in groups:
        leader = next((row for row in group if row.split), group[0])
        across = [row for row in group if row.split and row.split != leader.split]
        for row in across:
            message = (
                f"the same bytes as slide {leader.slide_id!r} on line {leader.line}, which is in split "
                f"{leader.split!r}, this one in {row.split!r}; keep one"
            )
            faults.append(Fault(row.line, "split", row.slide_id, message))
        if not across:
            names = _first([f"{row.slide_id} (line {row.line})" for row in group])
            warnings.append(f"slides with the same bytes: {names}")
    return faults, warnings


def _line_warning(message: str, lines: Sequence[int]) -> list[str]:
    return [f"{message} (line{'s' * (len(lines) > 1)} {_first(lines)})"] if lines else []


def _first(items: Sequence[object]) -> str:
    shown = ", ".join(str(item) for item in items[:_LINES_LISTED])
    return shown if len(items) <= _LINES_LISTED else f"{shown} and {len(items) - _LINES_LISTED} more"


def _refuse_unsafe(name: str) -> None:
    if not name.strip():
        raise _Refused("the cell is empty, expected the slide's name in outputs")
    if not is_folder_name(name):
        raise _Refused(
            f"{quote(name)} cannot name a folder; give letters, digits, '-', '_' and '.', no '.' at either end, "
            f"at most {ID_BYTES_MAX} bytes"
        )


def _parse_path(cell: str, folder: str) -> Path:
    if "\0" in cell:
        raise _Refused("the path holds a zero byte, expected a file or folder")
    # links keep their own name, and with it what lies beside them
    return Path(os.path.abspath(os.path.join(folder, cell)))  # noqa: PTH100, PTH118


def _parse_number(cell: str, expected: str) -> float:
    if not _NUMBER.fullmatch(cell):
        hint = "write a point for the decimal comma" if "," in cell else "leave the cell empty where it is not known"
        raise _Refused(f"{quote(cell)} is not a number, expected {expected}; {hint}")
    return float(cell)


def _parse_mpp(cell: str) -> float:
    expected = f"um/px at full resolution from {MPP_MIN:g} to {MPP_MAX:g}"
    value = _parse_number(cell, expected)
    if not MPP_MIN <= value <= MPP_MAX:
        raise _Refused(f"{quote(cell)} is out of range, expected {expected}")
    return value


def _parse_days(cell: str) -> float:
    value = _parse_number(cell, "days of follow-up, 0 or more")
    if value < 0:
        raise _Refused(f"{quote(cell)} is negative, expected days of follow-up, 0 or more")
    if value == float("inf"):
        raise _Refused(f"{quote(cell)} is too large, expected days of follow-up")
    return value


def _parse_event(cell: str) -> bool:
    event = _EVENTS.get(cell.lower())
    if event is None:
        raise _Refused(f"{quote(cell)} is no event, expected 1 or true (observed), 0 or false (censored), or nothing")
    return event


def _parse_digest(cell: str) -> str:
    digest = cell.lower()
    if not _DIGEST.fullmatch(digest):
        raise _Refused(f"{quote(cell)} is no digest, expected 64 hexadecimal digits or nothing")
    return digest
