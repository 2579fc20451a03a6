"""Words for missing values, ids that a spreadsheet changed, and follow-up that may not be days."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsigraph.cohort.manifest.follow_up import patients_at_zero
from wsigraph.cohort.manifest.manifest import Findings, check_manifest

STAGES = ("I", "II", "III", "IV")


def check(folder: Path, *lines: str, stage_names: tuple[str, ...] = STAGES) -> Findings:
    path = folder / "data_manifest.csv"
    path.write_text("\n".join([*lines, ""]))
    return check_manifest(path, stage_names=stage_names, check_files=False)


def test_patients_without_an_id_are_not_one_patient(tmp_path: Path) -> None:
    found = check(
        tmp_path, "slide_id,patient_id,stage,site", "a,NA,III,nan", "b, NA ,III,nan", "c,#N/A,,N/A", "d,P,I,Basel"
    )
    assert not found.faults
    assert [row.patient_id for row in found.rows] == ["a", "b", "c", "P"]
    assert [row.site for row in found.rows] == [None, None, None, "Basel"]
    assert found.warnings == (
        "column 'patient_id' has words for a missing value ('NA' in 2 rows, '#N/A' in 1 row); each of these slides "
        "counts as a patient of its own",
        "column 'site' has words for a missing value ('nan' in 2 rows, 'N/A' in 1 row); read as an empty cell",
    )


@pytest.mark.parametrize("word", ["NA", "na", "N/A", "#N/A", "nan", "NaN", "None", "null", "NULL", ".", "--"])
def test_a_word_for_missing_is_an_empty_cell_in_every_column(tmp_path: Path, word: str) -> None:
    columns = "patient_id,site,path,mpp,stage,grade,time_days,event,split,sha256,age"
    cells = ",".join([word] * len(columns.split(",")))
    found = check(tmp_path, f"slide_id,{columns}", f"a,{cells}", f"b,{cells}")
    assert not found.faults
    assert len(found.warnings) == 11
    for row in found.rows:
        known = (row.site, row.path, row.mpp, row.stage, row.grade, row.time_days, row.event, row.split, row.sha256)
        assert known == (None,) * 9
        assert row.patient_id == row.slide_id
        assert row.free == {"age": ""}


@pytest.mark.parametrize("word", ["NA", "nan", "None", "--"])
def test_a_slide_is_not_named_by_a_word_for_missing(tmp_path: Path, word: str) -> None:
    fault = check(tmp_path, "slide_id", "a", word).faults[0]
    assert (fault.line, fault.column, fault.slide_id) == (3, "slide_id", word)
    assert "means a missing value" in fault.message


def test_a_stage_of_the_settings_is_a_stage(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,stage", "a,none", "b,some", stage_names=("none", "some"))
    assert [row.stage for row in found.rows] == ["none", "some"]
    assert not found.warnings


def test_names_that_hold_such_a_word_are_names(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,patient_id", "a,Nana", "b,NA-1", "c,n.a")
    assert [row.patient_id for row in found.rows] == ["Nana", "NA-1", "n.a"]
    assert not found.warnings


def test_ids_that_differ_in_case_alone_are_faults(tmp_path: Path) -> None:
    found = check(tmp_path, "slide_id,patient_id", "a,P1", "b,P1 ", "c,p1", "d,p1", "e,Q", "E,R", "f,", "F,")
    assert [(fault.line, fault.column) for fault in found.faults] == [
        (4, "patient_id"),
        (7, "slide_id"),
        (9, "slide_id"),
    ]
    assert "'p1' differs from 'P1' on line 2 in case alone" in found.faults[0].message


@pytest.mark.parametrize("name", ["1.23457E+12", "1,23457E+12", "1E+15", "4.5e+09"])
def test_ids_that_a_spreadsheet_rounded_are_faults(tmp_path: Path, name: str) -> None:
    found = check(tmp_path, "slide_id;patient_id", f"a;{name}", f"b;{name}", f"{name};00123")
    assert [(fault.line, fault.column) for fault in found.faults] == [(2, "patient_id"), (4, "slide_id")]
    assert all("a spreadsheet rounded" in fault.message and "as text" in fault.message for fault in found.faults)


def test_ids_with_an_e_are_not_rounded(tmp_path: Path) -> None:
    assert not check(tmp_path, "slide_id,patient_id", "a,5E10", "b,1E-3", "c,X1E+5", "d,12E+5").faults


def test_no_follow_up_is_counted_and_named(tmp_path: Path) -> None:
    found = check(
        tmp_path, "slide_id,patient_id,time_days,event", "a,P,0,1", "b,P,0,1", "c,Q,0.0,0", "d,R,900,1", "e,S,800,"
    )
    assert not found.faults
    assert patients_at_zero(found.rows) == ["P", "Q"]
    assert [row.follow_up_days for row in found.rows] == [None, None, None, 900.0, None]
    assert "time_days is 0 for 2 patients (P, Q): left out of survival, not of stage" in found.warnings


@pytest.mark.parametrize(
    ("days", "doubtful"),
    [
        ((12, 22.5, 60.1), True),
        ((30, 60, 182), True),
        ((20, 90, 99, 100, 3000), True),
        ((150, 170, 183), False),
        ((5, 100, 3000), False),
        ((0, 0, 0, 900), False),
        ((0,), False),
    ],
)
def test_follow_up_that_may_be_months_is_a_warning(tmp_path: Path, days: tuple[float, ...], doubtful: bool) -> None:
    found = check(tmp_path, "slide_id,time_days,event", *(f"s{number},{day},1" for number, day in enumerate(days)))
    assert not found.faults
    assert any(text.startswith("months?") for text in found.warnings) is doubtful
