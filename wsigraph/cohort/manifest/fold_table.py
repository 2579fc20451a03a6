"""Folds as tables: those of Patho-Bench in, and those of a model out.

A table has a column of patients (``case_id`` or ``patient_id``), or of slides (``slide_id``), and columns ``fold_0``,
``fold_1``, ... that hold ``train``, ``val`` or ``test``. Where patients have other names in the manifest, slides
decide. Folds of a cross-validation hold every patient out once; other tables, such as fifty random divisions, are used
one column at a time (``k=all.tsv:fold_3``).

Patho-Bench's ``k=all.tsv`` is such a table, a row a slide, with labels that are whole numbers. For overall survival it
has ``OS_event``, ``OS_days``, and ``OS``, the quarter of the cohort's follow-up plus 4 for an event. Ours has the same.

References
----------
Zhang et al., "Standardizing and accelerating the evaluation of pathology foundation models", arXiv 2502.06750.
"""

from __future__ import annotations

import csv
import io
import re
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.errors import CohortError
from wsigraph.store.csv_file import encode_csv

SPLITS = "splits.tsv"
"""File of a model's folds, in its directory."""
_PATIENT, _SLIDE = ("case_id", "patient_id"), "slide_id"
_FOLD = re.compile(r"fold_[0-9]+")
_PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFolds:
    """What a table of folds says of a cohort.

    Attributes
    ----------
    rows : tuple of ManifestRow
        Slides that the table names; for one column, with the split that it states.
    fold_of : mapping of str to int, or None
        Fold that holds each patient out; None where one column was chosen.
    """

    rows: tuple[ManifestRow, ...]
    fold_of: Mapping[str, int] | None


def read_folds(text: str, rows: Sequence[ManifestRow]) -> GivenFolds:
    """Read a table of folds.

    Parameters
    ----------
    text : str
        Path of the table (tabs or commas), or ``PATH:COLUMN`` for one of its columns.
    rows : sequence of ManifestRow
        The cohort.

    Returns
    -------
    GivenFolds
        Slides that the table does not name are left out.

    Raises
    ------
    CohortError
        If the table cannot be read, names no slide of the cohort, divides a patient, or its columns are no folds of a
        cross-validation.
    """
    path, column = _named_column(text)
    table = _read(path)
    columns = [name for name in table[0] if _FOLD.fullmatch(name)]
    if not columns or (column is not None and column not in columns):
        named = f"column {column!r}" if column and columns else "columns fold_0, fold_1, ..."
        raise CohortError(f"splits {path} has no {named}; its columns are {', '.join(table[0])}")
    used = [column] if column is not None else columns
    parts = _parts_of_patients(path, table, rows, used)
    known = tuple(row for row in rows if row.patient_id in parts)
    if not known:
        raise CohortError(
            f"splits {path} names no patient or slide of the manifest; check that both name the same cohort"
        )
    if column is not None:
        return GivenFolds(
            rows=tuple(replace(row, split="test" if parts[row.patient_id][0] == "test" else "train") for row in known),
            fold_of=None,
        )
    held_out = {patient: [fold for fold, part in enumerate(one) if part == "test"] for patient, one in parts.items()}
    often = [patient for patient, folds in held_out.items() if len(folds) != 1]
    if often:
        times = len(held_out[often[0]])
        raise CohortError(
            f"splits {path} has {len(columns)} columns that are no folds of a cross-validation: patient {often[0]!r} "
            f"is test in {times} of them, expected one; choose a column, e.g. --splits {path}:{columns[0]}"
        )
    return GivenFolds(rows=known, fold_of={patient: folds[0] for patient, folds in held_out.items()})


def encode_folds(rows: Sequence[ManifestRow], fold_of: Mapping[str, int], *, stage_names: Sequence[str] = ()) -> bytes:
    """Return folds in Patho-Bench's form.

    Parameters
    ----------
    rows : sequence of ManifestRow
        Slides.
    fold_of : mapping of str to int
        Fold that holds each patient out.
    stage_names : sequence of str
        Stages in their order; the column ``stage`` holds their numbers from 0.

    Returns
    -------
    bytes
        Tab-separated: case_id, slide_id, stage, OS_event, OS_days, OS, and fold_0, fold_1, ... with train or test.
    """
    n_folds = max(fold_of.values()) + 1
    number_of = {name: number for number, name in enumerate(stage_names)}
    named = [row for row in rows if row.patient_id in fold_of]
    followed = {row.patient_id: row.time_days for row in named if row.time_days is not None}
    quarters = statistics.quantiles(followed.values(), method="inclusive") if len(followed) > 1 else []
    header = ["case_id", "slide_id", "stage", "OS_event", "OS_days", "OS"]
    cells = (
        [
            row.patient_id,
            row.slide_id,
            number_of.get(row.stage or ""),
            None if row.event is None else int(row.event),
            row.time_days,
            None
            if row.event is None or row.time_days is None
            else bisect_left(quarters, row.time_days) + 4 * int(row.event),
            *("test" if fold_of[row.patient_id] == fold else "train" for fold in range(n_folds)),
        ]
        for row in named
    )
    return encode_csv([*header, *(f"fold_{fold}" for fold in range(n_folds))], cells, separator="\t")


def _named_column(text: str) -> tuple[Path, str | None]:
    path, colon, column = text.rpartition(":")
    return (Path(path), column) if colon and _FOLD.fullmatch(column) else (Path(text), None)


def _read(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(f"splits {path} cannot be read ({error}); give a table in UTF-8") from None
    separator = "\t" if "\t" in text.partition("\n")[0] else ","
    try:
        table = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator) if row]
    except csv.Error as error:
        raise CohortError(f"splits {path} is no table ({error}); check its quotation marks") from None
    if len(table) < 2 or any(len(row) != len(table[0]) for row in table):
        raise CohortError(f"splits {path} is no table with a header and as many cells in every row")
    return table


def _parts_of_patients(
    path: Path, table: list[list[str]], rows: Sequence[ManifestRow], used: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the part of every patient in each of some columns."""
    header = table[0]
    patient_of = {row.slide_id: row.patient_id for row in rows}
    known = {row.patient_id for row in rows}
    keys = [name for name in (*_PATIENT, _SLIDE) if name in header]
    if not keys:
        raise CohortError(f"splits {path} has none of the columns {', '.join((*_PATIENT, _SLIDE))}")
    key = keys[0]
    if _SLIDE in keys and not any(cells[header.index(key)] in known for cells in table[1:]):
        key = _SLIDE
    places = [header.index(name) for name in used]
    parts: dict[str, tuple[str, ...]] = {}
    for line, cells in enumerate(table[1:], start=2):
        name = cells[header.index(key)]
        patient = patient_of.get(name, "") if key == _SLIDE else name
        if patient not in known:
            continue
        own = tuple(cells[place].lower() for place in places)
        wrong = [part for part in own if part not in _PARTS]
        if wrong:
            raise CohortError(f"splits {path}, line {line}: {wrong[0]!r} is none of {', '.join(_PARTS)}")
        if parts.setdefault(patient, own) != own:
            raise CohortError(f"splits {path}, line {line}: the slides of patient {patient!r} are in different parts")
    return parts
