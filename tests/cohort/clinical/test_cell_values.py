"""Cells of clinical tables mean one thing, are missing, or are not understood; nothing is guessed."""

from __future__ import annotations

import datetime

import pytest

from wsigraph.cohort.clinical.cell_dates import date_order, parse_date
from wsigraph.cohort.clinical.cell_values import (
    MISSING,
    UNKNOWN,
    map_event,
    map_sex,
    map_stage,
    parse_number,
    uses_decimal_comma,
)

GROUPS, CATEGORIES = ("I", "II", "III", "IV"), ("T1", "T2", "T3", "T4")


@pytest.mark.parametrize(
    ("cell", "stage"),
    [
        ("IIIA", "III"), ("Stage IIIA", "III"), ("stage iv", "IV"), ("3a", "III"), ("2", "II"), ("Stadium II", "II"),
        ("AJCC Stage IB", "I"), ("UICC IIA2", "II"), ("pStage III", "III"), ("IVB", "IV"), ("III-C", "III"),
    ],
)  # fmt: skip
def test_stages_lose_their_subdivision(cell: str, stage: str) -> None:
    assert map_stage(cell, GROUPS).value == stage


@pytest.mark.parametrize("cell", ["", "NA", "'--", "[Not Available]", "Stage X", "unbekannt", "not reported"])
def test_words_for_missing_are_missing(cell: str) -> None:
    assert map_stage(cell, GROUPS) == MISSING
    assert map_event(cell) in (MISSING, UNKNOWN)


@pytest.mark.parametrize("cell", ["pT2", "T3", "foo", "I/II", "5", "IIIX", "Stage 0", "12", "VI"])
def test_other_cells_are_no_stage(cell: str) -> None:
    assert map_stage(cell, GROUPS) == UNKNOWN


@pytest.mark.parametrize(
    ("cell", "stage"), [("pT3b", "T3"), ("T1", "T1"), ("ypT4 N1 M0", "T4"), ("pT2(m)", "T2"), ("cT1c", "T1")]
)
def test_t_categories_are_stages_only_where_the_study_says_so(cell: str, stage: str) -> None:
    assert map_stage(cell, CATEGORIES).value == stage
    assert map_stage("pTX", CATEGORIES) == MISSING
    assert map_stage("III", CATEGORIES) == UNKNOWN


@pytest.mark.parametrize("cell", ["1", "1.0", "Dead", "1:DECEASED", "verstorben", "JA", "true", "dead of disease"])
def test_words_of_an_event(cell: str) -> None:
    assert map_event(cell).value == "1"


@pytest.mark.parametrize("cell", ["0", "Alive", "0:LIVING", "lebt", "nein", "FALSE", "censored", "NED"])
def test_words_of_censoring(cell: str) -> None:
    assert map_event(cell).value == "0"


def test_a_column_of_censoring_is_turned_round() -> None:
    assert [map_event(cell, is_censoring=True).value for cell in ("1", "0", "dead")] == ["0", "1", "1"]


def test_stated_words_of_an_event_decide() -> None:
    assert [map_event(cell, ("DOD", "doc")).value for cell in ("dod", "DOC", "AWD", "")] == ["1", "1", "0", None]
    assert map_event("2") == UNKNOWN


def test_decimal_commas_and_thousands() -> None:
    assert uses_decimal_comma(["1", "12,5"])
    assert not uses_decimal_comma(["1,234", "12.5"])
    assert parse_number("12,5", decimal_comma=True) == 12.5
    assert parse_number("1.234,5", decimal_comma=True) == 1234.5
    assert parse_number("1.234", decimal_comma=True) == 1234.0
    assert parse_number("1.234", decimal_comma=False) == 1.234
    assert parse_number("1,234", decimal_comma=False) == 1234.0
    assert parse_number("12 months", decimal_comma=False) is None
    assert parse_number("1e999", decimal_comma=False) is None


def test_the_order_of_dates_follows_from_the_column() -> None:
    assert date_order(["2020-01-31", "2020-02-01"]) == "ymd"
    assert date_order(["31.01.2020", "01.02.2020"]) == "dmy"
    assert date_order(["13/02/2020", "01/02/2020"]) == "dmy"
    assert date_order(["01/02/2020", "02/13/2020"]) == "mdy"
    assert date_order(["01/02/2020", "02/03/2020"]) == "ambiguous"
    assert date_order(["12.5", "40"]) is None
    assert parse_date("3/4/2020", "mdy") == datetime.date(2020, 3, 4)
    assert parse_date("3.4.20", "dmy") == datetime.date(2020, 4, 3)
    assert parse_date("31.02.2020", "dmy") is None


def test_sex_in_several_languages() -> None:
    assert [map_sex(cell).value for cell in ("W", "male", "Männlich", "divers", "")] == [
        "female", "male", "male", "divers", None,
    ]  # fmt: skip
