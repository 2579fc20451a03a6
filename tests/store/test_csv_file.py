"""One CSV writer: no cell is a formula to a spreadsheet, and what a manifest holds comes back as it was."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import pytest

import wsigraph
from wsigraph.cohort.manifest.manifest import read_manifest, write_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.run.study.study_tables import write_tables
from wsigraph.store.csv_file import encode_csv, plain_cell, without_guard

ATTACKS = ["=1+1", "=HYPERLINK(1)", "+1+1|cmd", "-2+3", "@SUM(1)", "\t=1", "-a"]


@pytest.mark.parametrize("cell", ATTACKS)
def test_a_formula_becomes_text_and_comes_back(cell: str) -> None:
    guarded = plain_cell(cell)
    assert guarded == f"'{cell}"
    assert without_guard(str(guarded)) == cell


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-1e-5", "-", "I", "'quoted'", "-inf", "", 3, -0.5])
def test_numbers_and_words_stay(cell: object) -> None:
    assert plain_cell(cell) == cell
    assert without_guard(str(cell)) == str(cell)


def test_missing_values_are_empty_cells() -> None:
    assert encode_csv(["a", "b"], [[None, float("nan")]]) == b"a,b\n,\n"


def test_a_manifest_with_odd_cells_round_trips(tmp_path: Path) -> None:
    empty = dict.fromkeys(("site", "path", "mpp", "stage", "grade", "time_days", "event", "split", "sha256"))
    rows = [
        ManifestRow(line=2, slide_id="-a", patient_id="=1+1", free={"note": "@x", "number": "-4"}, **empty),
        ManifestRow(line=3, slide_id="b", patient_id="'=1", free={"note": "", "number": ""}, **empty),
    ]
    write_manifest(rows, tmp_path / "m.csv")
    read = read_manifest(tmp_path / "m.csv", stage_names=("I", "II")).rows
    assert [(row.slide_id, row.patient_id, dict(row.free)) for row in read] == [
        (row.slide_id, row.patient_id, dict(row.free)) for row in rows
    ]


def test_the_tables_of_a_study_hold_no_formula(tmp_path: Path) -> None:
    attack = "=HYPERLINK(1).svs"
    document = {
        "table_one": [{"characteristic": "site", "level": attack, "value": "1"}],
        "left_out": [{"kind": "slide", "name": attack, "group": "no patient", "reason": attack}],
        "sites": [{"site": attack, "patients": 1, "events": 0}],
        "evaluation": None,
    }
    for name in write_tables(document, tmp_path)["tables"]:
        if name.endswith(".csv"):
            cells = [cell for row in csv.reader(io.StringIO((tmp_path / name).read_text())) for cell in row]
            assert f"'{attack}" in cells
            assert attack not in cells


def test_no_module_writes_csv_by_itself() -> None:
    root = Path(wsigraph.__file__).parent
    writers = [
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and (node.attr == "to_csv" or (node.attr in ("writer", "DictWriter") and ast.unparse(node.value) == "csv"))
    ]
    assert writers == ["store/csv_file.py"]
