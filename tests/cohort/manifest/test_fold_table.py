"""Folds as tables: Patho-Bench's in, ours out and in again, and what is no division into folds."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsigraph.cohort.manifest.fold_table import encode_folds, read_folds
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.errors import CohortError

EMPTY = dict.fromkeys(("site", "path", "mpp", "grade", "split", "sha256"))
ROWS = [
    ManifestRow(line=2 + i, slide_id=f"s{i}", patient_id=f"p{i // 2}", stage="I", time_days=5.0, event=True, free={},
                **EMPTY)
    for i in range(8)
]  # fmt: skip


def table(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def test_ours_come_back(tmp_path: Path) -> None:
    fold_of = {"p0": 0, "p1": 1, "p2": 2, "p3": 0}
    (tmp_path / "splits.tsv").write_bytes(encode_folds(ROWS, fold_of))
    given = read_folds(str(tmp_path / "splits.tsv"), ROWS)
    assert given.fold_of == fold_of
    assert list(given.rows) == ROWS


def test_one_of_several_divisions_sets_the_split(tmp_path: Path) -> None:
    path = table(
        tmp_path / "k=all.tsv", "case_id\tslide_id\tBRCA\tfold_0\tfold_1", "p0\ts0\t1\ttrain\ttest",
        "p1\ts2\t0\tval\ttest", "p2\ts4\t0\ttest\ttest",
    )  # fmt: skip
    given = read_folds(f"{path}:fold_0", ROWS)
    assert given.fold_of is None
    assert [(row.slide_id, row.split) for row in given.rows] == [
        ("s0", "train"), ("s1", "train"), ("s2", "train"), ("s3", "train"), ("s4", "test"), ("s5", "test"),
    ]  # fmt: skip
    with pytest.raises(CohortError, match=r"patient 'p2' is test in 2 of them, expected one; choose a column"):
        read_folds(path, ROWS[4:6])


def test_slides_name_their_patients(tmp_path: Path) -> None:
    path = table(tmp_path / "s.csv", "slide_id,fold_0,fold_1", "s0,test,train", "s2,train,test")
    assert read_folds(path, ROWS).fold_of == {"p0": 0, "p1": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["case_id,a", "p0,1"], "has no columns fold_0"),
        (["name,fold_0", "p0,test"], "has none of the columns case_id"),
        (["case_id,fold_0", "p0,maybe"], "'maybe' is none of train, val, test"),
        (["case_id,fold_0", "x,test"], "names no patient"),
        (["slide_id,fold_0", "s0,test", "s1,train"], "slides of patient 'p0' are in different parts"),
        (["case_id,fold_0", "p0"], "no table"),
        (["case_id,fold_0", 'p0,"' + "test\n" * 40_000], "is no table .*quotation marks"),
    ],
)
def test_what_is_no_table_of_folds_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(CohortError, match=message):
        read_folds(table(tmp_path / "s.csv", *lines), ROWS)


def test_the_columns_are_those_of_patho_bench(tmp_path: Path) -> None:
    """A row of each of its tables of overall survival and of a label, as they are published."""
    lines = encode_folds(ROWS, {"p0": 0, "p1": 1, "p2": 0, "p3": 1}, stage_names=("0", "I")).decode().splitlines()
    assert lines[0].split("\t") == ["case_id", "slide_id", "stage", "OS_event", "OS_days", "OS", "fold_0", "fold_1"]
    assert lines[1].split("\t") == ["p0", "s0", "1", "1", "5.0", "4", "test", "train"]
    survival = table(
        tmp_path / "os.tsv", "case_id\tslide_id\tOS_event\tOS_days\tOS\tfold_0\tfold_1",
        "p0\ts0\t0\t1769.0\t2\ttrain\ttest", "p1\ts2\t1\t1230.0\t6\ttest\ttrain",
    )  # fmt: skip
    assert read_folds(survival, ROWS).fold_of == {"p0": 1, "p1": 0}


def test_slides_decide_where_patients_have_other_names(tmp_path: Path) -> None:
    path = table(tmp_path / "k=all.tsv", "case_id\tslide_id\tfold_0\tfold_1", "C1\ts0\ttest\ttrain",
                 "C2\ts2\ttrain\ttest")  # fmt: skip
    assert read_folds(path, ROWS).fold_of == {"p0": 0, "p1": 1}
