"""A drafted manifest says what the files say, and guesses nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.cohort.manifest.create_manifest import create_manifest
from wsigraph.cohort.manifest.manifest import read_manifest, write_manifest
from wsigraph.errors import SlidesNotFound
from wsigraph.slide.discover import discover_slides
from wsigraph.slide.inspection import inspect


@pytest.fixture
def folder(tmp_path: Path, small_slide: Path) -> Path:
    root = tmp_path / "slides"
    for name in ("one", "two/deep", "empty", ".hidden"):
        (root / name).mkdir(parents=True)
    shutil.copy(small_slide, root / "a.svs")
    for name in ("one/1.tiff", "two/deep/1.tiff", ".hidden/x.tiff", "._a.tiff"):
        plain(root / name)
    (root / "notes.txt").write_text("no slide")
    (root / "a.xml").write_text("<Annotations/>")
    (root / "data_manifest.csv").write_text("slide_id\n")
    return root


def plain(path: Path) -> None:
    tifffile.imwrite(path, np.full((40, 50, 3), 200, np.uint8), metadata=None, resolution=(72, 72), resolutionunit=2)


def names(folder: Path, **options: object) -> list[str]:
    return [slide.path.relative_to(folder).as_posix() for slide in discover_slides(folder, **options)]


def test_slides_are_found_by_their_suffix_or_by_a_pattern(folder: Path) -> None:
    assert names(folder) == ["a.svs"]
    assert names(folder, recursive=True) == ["a.svs", "one/1.tiff", "two/deep/1.tiff"]
    assert names(folder, pattern="*/*.tiff") == ["one/1.tiff"]
    assert names(folder, pattern="*.xml") == ["a.xml"]


def test_links_are_followed_and_not_in_circles(folder: Path, tmp_path: Path) -> None:
    (folder / "one" / "up").symlink_to(folder)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "linked").symlink_to(folder / "two")
    assert names(folder, recursive=True) == ["a.svs", "one/1.tiff", "two/deep/1.tiff"]
    assert names(tmp_path / "study", recursive=True) == ["linked/deep/1.tiff"]


def test_a_folder_may_be_a_slide(tmp_path: Path, shared_slides: Path) -> None:
    shutil.copytree(shared_slides / "cmu_dicom", tmp_path / "series")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "m.mrxs").write_bytes(b"index")
    (tmp_path / "m").mkdir()
    plain(tmp_path / "m" / "data.tiff")
    for recursive in (False, True):
        assert names(tmp_path, recursive=recursive) == ["m.mrxs", "series", "store.zarr"]
    assert names(tmp_path / "series") == ["."]


@pytest.mark.parametrize(
    ("place", "options", "met"),
    [
        ("empty", {}, "--recursive"),
        ("empty", {"pattern": "*.svs"}, "no slide that matches"),
        ("absent", {}, "is not a folder"),
        ("a.svs", {}, "is not a folder"),
        ("one", {"pattern": "/x/*.svs"}, "not a glob"),
        ("one", {"pattern": ""}, "not a glob"),
    ],
)
def test_nothing_to_list_is_an_error(folder: Path, place: str, options: dict[str, str], met: str) -> None:
    with pytest.raises(SlidesNotFound, match=met):
        discover_slides(folder / place, **options)


def test_a_draft_says_what_the_files_say(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    slides = discover_slides(folder, recursive=True)
    created = create_manifest(slides, digests=True, progress=lambda *step: told.append(step))
    real, first, second = created.rows
    stated = inspect(folder / "a.svs")
    assert (real.slide_id, real.patient_id, real.mpp) == ("a", "", 0.499)
    assert (real.path, real.sha256) == (folder / "a.svs", stated["sha256"])
    assert real.free == {
        "vendor": "aperio",
        "objective_power": "20",
        "width_px": "2220",
        "height_px": "2967",
        "mpp_source": "aperio.MPP",
    }
    assert (first.mpp, first.free["mpp_source"], first.free["width_px"]) == (None, "", "50")
    assert (first.slide_id, second.slide_id) == ("one__1.tiff", "two__deep__1.tiff")
    assert [note for note in created.notes if "its mpp is left empty" in note and "352.778" in note]
    assert len(created.notes) == 4
    assert told == [("slides", done, 3) for done in (1, 2, 3)]


def test_files_that_do_not_read_are_listed_with_the_reason(folder: Path) -> None:
    (folder / "cut.svs").write_bytes((folder / "a.svs").read_bytes()[:1_000_000])
    (folder / "text.svs").write_text("no slide")
    created = create_manifest(discover_slides(folder))
    assert [row.slide_id for row in created.rows] == ["a"]
    assert [path.name for path, _ in created.unreadable] == ["cut.svs", "text.svs"]
    assert all(reason for _, reason in created.unreadable)


def test_pixels_that_are_not_square_are_noted_without_a_call_to_fill_them_in(tmp_path: Path) -> None:
    pixels = np.zeros((50, 50, 3), np.uint8)
    options = {"resolution": (20000, 10000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tiff", pixels, photometric="rgb", tile=(16, 16), metadata=None, **options)
    created = create_manifest(discover_slides(tmp_path))
    (note,) = created.notes
    assert "0.5 um along x and 1 along y" in note
    assert "resample it to square pixels" in note
    assert "fill it in" not in note
    assert created.rows[0].mpp is None


def test_a_draft_reads_as_a_manifest(folder: Path) -> None:
    created = create_manifest(discover_slides(folder, recursive=True), digests=True)
    write_manifest(created.rows, folder / "m.csv")
    read = read_manifest(folder / "m.csv", stage_names=("I",))
    assert [row.path for row in read.rows] == [row.path for row in created.rows]
    assert [row.patient_id for row in read.rows] == [row.slide_id for row in created.rows]
    assert len(read.warnings) == 1  # the two plain pictures are the same bytes


@pytest.mark.parametrize("tcga", [False, True])
def test_patients_are_taken_from_barcodes_only_when_asked(tmp_path: Path, tcga: bool) -> None:
    stems = ["TCGA-B0-4690-01Z-00-DX1", "tcga-b0-4690-11A", "TCGA-B0-46901", "x-TCGA-B0-4690"]
    for stem in stems:
        plain(tmp_path / f"{stem}.tiff")
    rows = {row.slide_id: row for row in create_manifest(discover_slides(tmp_path), tcga=tcga).rows}
    expected = ["TCGA-B0-4690", "TCGA-B0-4690", "", ""] if tcga else [""] * 4
    assert [rows[stem].patient_id for stem in stems] == expected
    assert [rows[stem].site for stem in stems] == (["B0", "B0", None, None] if tcga else [None] * 4)


def test_names_that_differ_in_case_or_suffix_alone_are_told_apart(tmp_path: Path) -> None:
    for name in ("s.tiff", "S.tif", "a:b.tiff", "a_b.tiff"):
        plain(tmp_path / name)
    created = create_manifest(discover_slides(tmp_path))
    assert [row.slide_id for row in created.rows] == ["S.tif", "a_b~6783a31e", "a_b", "s.tiff"]
    assert sum("is named" in note for note in created.notes) == 3
