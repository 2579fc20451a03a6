"""Tables of strangers map without editing: at least 95 % of the cells are right, and every other is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cohort.clinical.strangers import TABLES, Stranger, Truth
from wsigraph.cohort.clinical.clinical_table import read_clinical_table
from wsigraph.cohort.clinical.column_mapping import guess_mapping
from wsigraph.cohort.clinical.table_mapping import apply_mapping, join_rows

RIGHT_MIN = 0.95


def read(stranger: Stranger, folder: Path) -> tuple[list[Truth], list[str], list[str]]:
    """Return what a table became, the roles to be stated, and its faults."""
    table = read_clinical_table(stranger.write(folder))
    mapping, doubtful = guess_mapping(table)
    result = apply_mapping(table, mapping)
    rows = join_rows(result.rows)
    return [(row.patient or "", row.stage, row.time_days, row.event) for row in rows], doubtful, list(result.faults)


def right(found: Truth, truth: Truth) -> int:
    """Return how many of the four cells are right."""
    days = found[2] == truth[2] or (None not in (found[2], truth[2]) and abs(found[2] - truth[2]) < 0.02)
    return days + sum(found[place] == truth[place] for place in (0, 1, 3))


@pytest.mark.parametrize("stranger", TABLES, ids=lambda one: one.name)
def test_a_table_maps_without_editing(stranger: Stranger, tmp_path: Path) -> None:
    found, doubtful, faults = read(stranger, tmp_path)
    # a column that names every row is a guess, which the command shows
    assert set(doubtful) <= {"patient"}
    assert [row[0] for row in found] == [row[0] for row in stranger.truth]
    wrong = [(row, truth) for row, truth in zip(found, stranger.truth, strict=True) if right(row, truth) < 4]
    assert wrong == []
    for cell in stranger.unmapped:
        assert any(repr(cell) in text for text in faults)
    assert bool(faults) == bool(stranger.unmapped)


def test_of_all_cells_95_percent_are_right(tmp_path: Path) -> None:
    n_right = n_cells = 0
    for stranger in TABLES:
        found = {row[0]: row for row in read(stranger, tmp_path)[0]}
        n_cells += 4 * len(stranger.truth)
        n_right += sum(right(found[truth[0]], truth) for truth in stranger.truth if truth[0] in found)
    print(f"{n_right} of {n_cells} cells of {len(TABLES)} tables are right")
    assert n_right >= RIGHT_MIN * n_cells
