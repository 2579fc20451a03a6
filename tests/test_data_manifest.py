"""The manifest says the truth about the slides the project knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsigraph.cohort.manifest.manifest import ManifestRow, read_manifest
from wsigraph.cohort.manifest.manifest_row import COLUMNS
from wsigraph.config import Config
from wsigraph.slide.inspection import inspect

ROOT = Path(__file__).parent.parent
MANIFEST = read_manifest(ROOT / "data_manifest.csv", stage_names=Config().model.stage_names)
HERE = [row for row in MANIFEST.rows if row.path is not None]
ELSEWHERE = [row for row in MANIFEST.rows if row.path is None]


def name(row: ManifestRow) -> str:
    return row.slide_id


def test_columns_are_those_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (ROOT / "data_manifest.md").read_text(encoding="utf-8"), re.M)
    assert described == [*COLUMNS, *MANIFEST.rows[0].free]


def test_nothing_in_it_is_doubtful() -> None:
    assert not MANIFEST.warnings


@pytest.mark.parametrize("row", MANIFEST.rows, ids=name)
def test_every_row_says_where_its_slide_comes_from(row: ManifestRow) -> None:
    assert row.sha256
    assert row.free["source"]
    assert row.free["licence"]


def test_every_slide_in_the_repository_is_listed_and_no_other_path_is() -> None:
    assert [row.path for row in HERE] == [ROOT / "tests" / "data" / "CMU-1-Small-Region.svs"]


@pytest.mark.parametrize("row", HERE, ids=name)
def test_bytes_are_those_described(row: ManifestRow) -> None:
    assert row.path is not None
    assert inspect(row.path)["sha256"] == row.sha256


@pytest.mark.parametrize("row", ELSEWHERE, ids=name)
def test_slides_outside_the_repository_are_those_described(row: ManifestRow, shared_slides: Path) -> None:
    found = [path for path in shared_slides.iterdir() if path.stem == row.slide_id and path.suffix != ".xml"]
    assert [inspect(path)["sha256"] for path in found] == [row.sha256]
