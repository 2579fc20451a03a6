"""Slides find their patients by name, and what is doubtful is no match."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from wsigraph.cohort.clinical.match_slides import SlideMatches, match_slides
from wsigraph.cohort.clinical.table_mapping import ClinicalRow
from wsigraph.errors import CohortError
from wsigraph.slide.discover import DiscoveredSlide


def row(patient: str | None, slide: str | None = None, number: int = 1) -> ClinicalRow:
    return ClinicalRow(
        number=number, patient=patient, slide=slide, stage=None, time_days=None, event=None, site=None, grade=None,
        split=None, free={},
    )  # fmt: skip


def matched(
    names: Sequence[str], patients: Sequence[str], pattern: str | None = None
) -> tuple[dict[str, str | None], SlideMatches]:
    slides = [DiscoveredSlide(path=Path(name), slide_id=Path(name).stem) for name in names]
    result = match_slides(slides, [row(patient) for patient in patients], pattern=pattern)
    return {slide.path.name: pair.patient for slide, pair in result.pairs}, result


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("TCGA-AA-0001-01Z-00-DX1.1234-abcd.svs", "TCGA-AA-0001"),
        ("P-01_HE.tiff", "P-01"),
        ("p_01 he 2.ndpi", "P-01"),
        ("scan_P-01.svs", "P-01"),
        ("B12_345_2019.svs", "B12/345"),
        ("12_left.svs", "12"),
        ("007_HE.svs", "7"),
    ],
)
def test_a_patient_is_a_whole_part_of_the_name(name: str, patient: str) -> None:
    patients = ["TCGA-AA-0001", "TCGA-AA-0002", "P-01", "P-011", "B12/345", "12", "7"]
    assert matched([name], patients)[0] == {name: patient}


@pytest.mark.parametrize("name", ["P-012_HE.svs", "AP-01.svs", "scan_12.svs", "unnamed.svs"])
def test_a_part_of_a_word_is_no_match(name: str) -> None:
    pairs, result = matched([name], ["P-01", "P-011", "12"])
    assert pairs == {}
    assert [slide.path.name for slide, _ in result.unmatched_slides] == [name]
    assert result.unmatched_patients == ("P-01", "P-011", "12")


def test_two_patients_in_one_name_are_no_match() -> None:
    _, result = matched(["x_AB1_CD2.svs"], ["AB1", "CD2"])
    assert "several patients are part of the name: ab1, cd2" in result.unmatched_slides[0][1]


def test_an_expression_of_the_user_decides() -> None:
    names = ["2019-P7-a.svs", "2019-P8-a.svs", "other.svs"]
    pairs, result = matched(names, ["P7", "2019"], pattern=r"^\d+-(P\d+)-")
    assert pairs == {"2019-P7-a.svs": "P7"}
    assert [reason for _, reason in result.unmatched_slides] == [
        "no patient 'P8' in the table",
        "--match '^\\\\d+-(P\\\\d+)-' does not occur in the name",
    ]
    with pytest.raises(CohortError, match="has no group"):
        matched(names, ["P7"], pattern="P7")
    with pytest.raises(CohortError, match="no regular expression"):
        matched(names, ["P7"], pattern="(")


def test_the_name_of_the_slide_in_the_table_comes_first() -> None:
    slides = [DiscoveredSlide(path=Path(name), slide_id=Path(name).stem) for name in ("a1.svs", "b1.svs")]
    result = match_slides(slides, [row("b1", "a1.svs"), row("x", "B1.SVS", 2)])
    assert [(slide.slide_id, pair.patient) for slide, pair in result.pairs] == [("a1", "b1"), ("b1", "x")]
    assert result.rules == {"name of the slide": 2}
