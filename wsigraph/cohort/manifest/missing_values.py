"""Reads the words that tables write for a missing value, such as NA, as empty cells.

Taken as text, ``NA`` in column ``patient_id`` would join the slides of different people to one patient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from wsigraph.cohort.manifest.csv_table import Table
from wsigraph.cohort.manifest.manifest_row import Fault, quote

MISSING_WORDS = frozenset({"na", "n/a", "#n/a", "nan", "none", "null", ".", "--"})
"""In lower case; compared without regard to case."""

_WORDS_LISTED = 5


def empty_missing_words(table: Table, stage_names: Collection[str]) -> tuple[Table, list[str]]:
    """Return a table whose words for missing values are empty cells.

    Parameters
    ----------
    table : Table
        Cells, stripped.
    stage_names : collection of str
        Stages in the settings, which are stages even if they are such a word.

    Returns
    -------
    tuple of (Table, list of str)
        The table, with a fault for each ``slide_id`` that is such a word (the cell stays); and a warning for each
        column that has any, with the words and how often each occurs.
    """
    counts: dict[str, Counter[str]] = {column: Counter() for column in table.columns}
    records, faults = [], list(table.faults)
    key = table.columns.index("slide_id") if "slide_id" in table.columns else -1
    for line, cells in table.records:
        emptied = list(cells)
        for place, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            if cell.lower() not in MISSING_WORDS or (column == "stage" and cell in stage_names):
                continue
            if place == key:
                message = f"{quote(cell)} means a missing value, expected the slide's name in outputs; name the slide"
                faults.append(Fault(line, column, cell, message))
                continue
            emptied[place] = ""
            counts[column][cell] += 1
        records.append((line, emptied))
    warnings = [_describe(column, words) for column, words in counts.items() if words]
    return replace(table, records=records, faults=faults), warnings


def _describe(column: str, words: Counter[str]) -> str:
    shown = ", ".join(f"{quote(word)} in {_rows(count)}" for word, count in words.most_common(_WORDS_LISTED))
    means = "each of these slides counts as a patient of its own" if column == "patient_id" else "read as an empty cell"
    return f"column {quote(column)} has words for a missing value ({shown}); {means}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"
