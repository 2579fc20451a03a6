"""One search for slides, and one rule for their ids, whoever asks."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsigraph import store
from wsigraph.cohort.manifest.create_manifest import create_manifest, manifest_of_folder
from wsigraph.errors import SlidesNotFound
from wsigraph.service.catalogue import Catalogue
from wsigraph.slide.discover import discover_glob, discover_slides, is_glob
from wsigraph.slide.reader import read
from wsigraph.slide.slide_id import default_slide_id, distinct_slide_ids, is_folder_name

NPY_READER = """
class NpyReader:
    suffixes = frozenset({".npy"})
    series = ()
"""


def write_dicom(path: Path, series: str) -> Path:
    """Write the head of a DICOM file of a series: preamble, mark and SeriesInstanceUID."""
    value = series.encode() + b"\0" * (len(series) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    element = struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", len(value)) + value
    path.write_bytes(bytes(128) + b"DICM" + element)
    return path


def install_reader(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str = NPY_READER) -> None:
    """Install a distribution with the reader of `source` for this test."""
    place = folder / "site"
    place.mkdir()
    (place / "discover_plugin.py").write_text(source)
    info = place / "discover_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: discover-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[wsigraph.readers]\nnpy = discover_plugin:NpyReader\n")
    monkeypatch.syspath_prepend(place)
    import importlib

    importlib.invalidate_caches()
    monkeypatch.delitem(__import__("sys").modules, "discover_plugin", raising=False)


def names(folder: Path, *, recursive: bool = True, pattern: str | None = None) -> list[str]:
    slides = discover_slides(folder, recursive=recursive, pattern=pattern)
    return [slide.path.relative_to(folder).as_posix() for slide in slides]


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A folder with a slide of every kind, and with files that are none."""
    root = tmp_path / "ward"
    for number in range(4):
        write_dicom(root / "series" / f"{number}.dcm", "1.2.3")
    for name in ("a.svs", "b.qptiff", "c.jp2", "d.npy", "e.MRXS", "e/Slidedat.tiff", "v.vms", "v-1.jpg", "notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "v.vms").write_text("[Virtual Microscope Specimen]\nImageFile=v-1.jpg\nMapFile=absent.jpg\n")
    for name in ("._a.svs", ".cache/x.svs", "z.zarr/zarr.json", "records/superpixels.png", "records/slide.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    (root / "records" / "slide.json").write_text(json.dumps({"header": {"record": "SlideInfo"}}))
    os.mkfifo(root / "pipe.svs")
    return root


def test_a_slide_is_found_once_whatever_it_is_made_of(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_reader(tmp_path, monkeypatch)
    expected = ["a.svs", "b.qptiff", "c.jp2", "d.npy", "e.MRXS", "series", "v.vms", "z.zarr"]
    assert names(ward) == names(ward, recursive=False) == expected


def test_manifest_service_and_run_name_the_same_slides(
    ward: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_reader(tmp_path, monkeypatch)
    for name in ("Pat 01 - HE.svs", "Pat-01---HE.svs", "deep/a.svs", "x:y.svs", "x?y.svs"):
        (ward / name).parent.mkdir(exist_ok=True)
        (ward / name).write_bytes(b"x")
    slides = {slide.path: slide.slide_id for slide in discover_slides(ward, recursive=True)}
    served = {entry.path: entry.slide_id for entry in Catalogue(ward, tmp_path / "uploads").slides()}
    rows = {row.path: row.slide_id for row in manifest_of_folder(ward).rows}
    assert slides == served == rows
    assert len(set(slides.values())) == len(slides) == 13
    assert slides[ward / "Pat 01 - HE.svs"] == "Pat 01 - HE"
    assert slides[ward / "Pat-01---HE.svs"] == "Pat-01---HE"
    assert (slides[ward / "a.svs"], slides[ward / "deep" / "a.svs"]) == ("a.svs", "deep__a.svs")
    assert slides[ward / "x:y.svs"] == default_slide_id(Path("x:y.svs")) != slides[ward / "x?y.svs"]


def test_a_drafted_manifest_has_the_ids_that_read_gives(tmp_path: Path, cmu: Path) -> None:
    (tmp_path / "Pat 01 - HE.svs").symlink_to(cmu)
    draft = create_manifest(discover_slides(tmp_path))
    with read(tmp_path / "Pat 01 - HE.svs") as slide:
        assert [row.slide_id for row in draft.rows] == [slide.info.slide_id] == ["Pat 01 - HE"]


def test_a_folder_of_two_series_holds_two_slides(tmp_path: Path) -> None:
    for series in "ab":
        for number in range(2):
            write_dicom(tmp_path / "two" / f"{series}{number}.dcm", f"1.{series}")
    assert names(tmp_path, recursive=False) == ["two/a0.dcm", "two/b0.dcm"]
    write_dicom(tmp_path / "mixed" / "1.dcm", "1.2")
    (tmp_path / "mixed" / "b.svs").write_bytes(b"x")
    assert names(tmp_path / "mixed") == ["1.dcm", "b.svs"]


def test_a_folder_that_is_a_slide_is_the_one_slide(ward: Path) -> None:
    for folder in (ward / "series", ward / "z.zarr"):
        assert [(slide.path, slide.slide_id) for slide in discover_slides(folder)] == [
            (folder, "series" if folder.name == "series" else "z")
        ]


def test_globs_take_what_they_match_and_group_it(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(ward, pattern="*.txt") == ["notes.txt"]
    assert names(ward, pattern="series/*.dcm") == names(ward, pattern="ser*") == ["series"]
    assert names(ward, pattern="*") == ["a.svs", "b.qptiff", "c.jp2", "e.MRXS", "series", "v.vms", "z.zarr"]
    assert names(ward, pattern="**/*") == names(ward, pattern="*")
    assert [slide.slide_id for slide in discover_glob(f"{ward}/[ab].*")] == ["a", "b"]
    monkeypatch.chdir(ward)
    assert [slide.path for slide in discover_glob("*.svs")] == [Path("a.svs")]
    Path("s[1].svs").write_bytes(b"x")
    assert not is_glob("s[1].svs")


def test_records_of_a_run_are_no_slides(tmp_path: Path, cmu: Path) -> None:
    with read(cmu) as slide:
        store.save_slide_info(slide.info, tmp_path / "out" / "a" / "slide.json")
    for name in ("out/a/report.png", "synthetic/00000.png", "synthetic/00000-mask.png", "figures/mine.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "synthetic" / "00000.zarr").mkdir()
    (tmp_path / "synthetic" / "00000.zarr" / "zarr.json").write_text('{"attributes": {"synthetic": true}}')
    assert names(tmp_path) == ["figures/mine.png", "synthetic/00000.png"]


def test_nothing_found_says_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_reader(tmp_path, monkeypatch, NPY_READER.replace('frozenset({".npy"})', '"npy"'))
    with pytest.raises(
        SlidesNotFound, match=r"\.bif.*\.qptiff.*\.svs.*DICOM series.*--recursive.*declares suffixes 'npy'"
    ):
        discover_slides(tmp_path)
    with pytest.raises(SlidesNotFound, match=r"matches '\*\.svs'"):
        discover_glob(f"{tmp_path}/*.svs")
    with pytest.raises(SlidesNotFound, match="is not a folder"):
        discover_slides(tmp_path / "absent")


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "TCGA-B0-4690-01Z-00-DX1.0a-b.svs", "Größe 3.svs", "b.c.svs"]
)
def test_ordinary_names_keep_their_id(name: str) -> None:
    assert default_slide_id(Path(name)) == name.removesuffix(".svs")


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=90), min_size=1, unique=True))
def test_ids_are_distinct_folder_names_in_any_order(texts: list[str]) -> None:
    paths = [Path("root", text + ".svs") for text in texts]
    ids = distinct_slide_ids(paths, Path("root"))
    assert all(is_folder_name(slide_id) for slide_id in ids)
    assert len({slide_id.casefold() for slide_id in ids}) == len(paths)
    assert distinct_slide_ids(paths[::-1], Path("root")) == ids[::-1]


def test_ids_that_imitate_others_stay_distinct() -> None:
    root = Path("r")
    unsafe = default_slide_id(Path("a:b.svs"))
    paths = [root / name for name in ("a:b.svs", f"{unsafe}.svs", "a__b/x.svs", "a/b/x.svs", "a/b__x.svs", "X.svs")]
    ids = distinct_slide_ids(paths, root)
    assert len({slide_id.casefold() for slide_id in ids}) == len(paths)
    assert np.all([is_folder_name(slide_id) for slide_id in ids])
