from __future__ import annotations

import pytest

from wsigraph.cohort.manifest.endpoint import Endpoint, with_endpoint
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.errors import CohortError


def row(number: int, patient: str = "", **cells: str) -> ManifestRow:
    return ManifestRow(
        line=number + 2,
        slide_id=f"slide-{number}",
        patient_id=patient or f"patient-{number}",
        site=None,
        path=None,
        mpp=None,
        stage=None,
        grade=None,
        time_days=700.0,
        event=True,
        split=None,
        sha256=None,
        free=cells,
    )


DSS = Endpoint(time="DSS.time", event="DSS", competing="OS")


def test_the_default_endpoint_leaves_rows_as_they_are() -> None:
    rows = [row(0)]
    assert with_endpoint(rows, Endpoint()).rows == tuple(rows)


def test_follow_up_comes_from_the_columns_named() -> None:
    rows = [
        row(0, **{"DSS.time": "120.5", "DSS": "1", "OS": "1"}),
        row(1, **{"DSS.time": "90", "DSS": "0", "OS": "1"}),
        row(2, **{"DSS.time": "400", "DSS": "0.0", "OS": "0"}),
        row(3, **{"DSS.time": "80", "DSS": "2", "OS": ""}),
        row(4, **{"DSS.time": "", "DSS": "", "OS": "0"}),
    ]
    chosen = with_endpoint(rows, DSS)
    assert [(found.time_days, found.event) for found in chosen.rows] == [
        (120.5, True),
        (90.0, False),
        (400.0, False),
        (80.0, False),
        (None, None),
    ]
    # death of another cause, by the second column and by the value 2
    assert chosen.competing == {"patient-1", "patient-3"}


def test_a_column_may_be_the_manifests_own() -> None:
    chosen = with_endpoint([row(0, DSS="0")], Endpoint(event="DSS"))
    assert (chosen.rows[0].time_days, chosen.rows[0].event) == (700.0, False)


def test_an_absent_column_is_named_with_those_there_are() -> None:
    with pytest.raises(CohortError, match=r"no column 'DSS.time', 'OS'; it has time_days, event, DSS"):
        with_endpoint([row(0, DSS="1")], DSS)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"DSS.time": "-1"}, "'-1', expected days >= 0"),
        ({"DSS.time": "inf"}, "'inf', expected days >= 0"),
        ({"DSS.time": "12 months"}, "'12 months', expected days >= 0"),
        ({"DSS": "dead"}, r"'dead', expected 0 \(none\), 1 \(event\), 2"),
        ({"OS": "3", "DSS": "0"}, "'3', expected 0"),
    ],
)
def test_bad_cells_are_listed_with_their_lines(cells: dict[str, str], message: str) -> None:
    good = {"DSS.time": "5", "DSS": "1", "OS": "0"}
    with pytest.raises(CohortError, match=rf"has 1 faults:\n  line 3 \(slide-1\).*{message}"):
        with_endpoint([row(0, **good), row(1, **{**good, **cells})], DSS)


def test_slides_of_one_patient_must_agree() -> None:
    with pytest.raises(CohortError, match="differs between slides of one patient"):
        with_endpoint([row(0, "a", DSS="1"), row(1, "a", DSS="0")], Endpoint(event="DSS"))


def test_follow_up_in_months_is_doubted() -> None:
    rows = [row(k, **{"DSS.time": str(10 + k), "DSS": "1"}) for k in range(5)]
    chosen = with_endpoint([*rows, row(5, **{"DSS.time": "0", "DSS": "0"})], Endpoint(time="DSS.time", event="DSS"))
    assert chosen.warnings[0].startswith("DSS.time is 0 for 1 patient (patient-5)")
    assert chosen.warnings[1].startswith("months? the longest DSS.time is 14")
