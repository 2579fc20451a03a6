"""The manifest says the truth about the slides the project knows."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from wsigraph.slide.inspection import inspect

ROOT = Path(__file__).parent.parent
with (ROOT / "data_manifest.csv").open(encoding="utf-8", newline="") as stream:
    ROWS = list(csv.DictReader(stream))


def test_columns_are_those_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "data_manifest.md").read_text(encoding="utf-8"), re.M)
    assert list(ROWS[0]) == described


def test_every_row_is_named_once_and_says_where_it_comes_from() -> None:
    assert len({row["slide_id"] for row in ROWS}) == len(ROWS)
    assert len({row["sha256"] for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert None not in row.values(), "a row with too few cells"
        assert re.fullmatch(r"[\w.-]+", row["slide_id"])
        assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"])
        assert row["source"]
        assert row["licence"]
        assert not row["event"] or row["time_days"]


def test_every_slide_in_the_repository_is_listed_and_no_other_path_is() -> None:
    listed = {row["path"] for row in ROWS if row["path"]}
    assert listed == {"tests/data/CMU-1-Small-Region.svs"}


@pytest.mark.parametrize("row", [row for row in ROWS if row["path"]], ids=lambda row: row["slide_id"])
def test_bytes_are_those_described(row: dict[str, str]) -> None:
    assert inspect(ROOT / row["path"])["sha256"] == row["sha256"]


@pytest.mark.parametrize("row", [row for row in ROWS if not row["path"]], ids=lambda row: row["slide_id"])
def test_slides_outside_the_repository_are_those_described(row: dict[str, str], shared_slides: Path) -> None:
    found = [path for path in shared_slides.iterdir() if path.stem == row["slide_id"] and path.suffix != ".xml"]
    assert [inspect(path)["sha256"] for path in found] == [row["sha256"]]
