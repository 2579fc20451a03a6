from __future__ import annotations

import dataclasses
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pytest

import wsigraph
from wsigraph.errors import MissingMpp, PluginError, SlideError, UnreadableSlide
from wsigraph.geometry import Box, Size, grid, resampled_size
from wsigraph.slide import reader as reader_module
from wsigraph.slide import resample
from wsigraph.slide.inspection import inspect
from wsigraph.slide.mpp import HOW_TO_STATE
from wsigraph.slide.reader import Slide, default_slide_id, read

CMU_SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"
# Level 0 itself, an integer step, 2.5, 1000/499 and an enlargement, with the grids they are read from.
STEPS = [0.499, 0.998, 1.2475, 1.0, 0.4491]


def test_describes_the_real_slide(cmu: Path) -> None:
    with read(cmu) as slide:
        info = slide.info
        assert (info.slide_id, info.vendor, info.reader) == ("CMU-1-Small-Region", "aperio", "tiled_tiff")
        assert (info.mpp, info.mpp_source, info.file_mpp) == (0.499, "aperio.MPP", 0.499)
        assert info.levels[0].size == Size(2967, 2220)
        assert info.levels[0].tile == Size(240, 240)
        assert info.associated == ("label", "macro", "thumbnail")
        assert info.sha256 == CMU_SHA256
        assert info.warnings == ()
        assert slide.size() == Size(2967, 2220)
        assert slide.size(1.0) == Size(1481, 1108)
        assert "2220 x 2967" in repr(slide)


@pytest.mark.parametrize("mpp", STEPS)
@pytest.mark.parametrize("chunk_px", [193, 480, 777])
def test_any_chunking_gives_the_same_bytes(cmu: Path, mpp: float, chunk_px: int) -> None:
    with read(cmu) as slide:
        size = slide.size(mpp)
        region = Box(y0=size.height - min(size.height, 1000), x0=size.width - 900, y1=size.height, x1=size.width)
        whole = slide.read(region, mpp)
        for part in grid(region.size, chunk_px):
            box = Box(y0=part.y0 + region.y0, x0=part.x0 + region.x0, y1=part.y1 + region.y0, x1=part.x1 + region.x0)
            np.testing.assert_array_equal(slide.read(box, mpp), whole[part.slices])


@pytest.mark.parametrize("mpp", [0.499, 1.0])
def test_threads_read_the_same_bytes(cmu: Path, mpp: float) -> None:
    with read(cmu) as slide:
        whole = slide.read(Box.whole(slide.size(mpp)), mpp)
        boxes = list(grid(slide.size(mpp), 300)) * 2
        with ThreadPoolExecutor(4) as pool:
            for box, part in zip(boxes, pool.map(lambda box: slide.read(box, mpp), boxes), strict=True):
                np.testing.assert_array_equal(part, whole[box.slices])


def test_a_request_larger_than_memory_allows_is_read_in_parts(cmu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with read(cmu) as slide:
        box = Box.whole(slide.size(1.3))
        whole = slide.read(box, 1.3)
        monkeypatch.setattr(resample, "_SOURCE_PX_MAX", 300**2)
        np.testing.assert_array_equal(slide.read(box, 1.3), whole)


def test_pixels_outside_are_white(cmu: Path) -> None:
    with read(cmu) as slide:
        inner = slide.read(Box(y0=0, x0=0, y1=40, x1=50), 2.0)
        framed = slide.read(Box(y0=-7, x0=-9, y1=40, x1=50), 2.0)
        np.testing.assert_array_equal(framed[7:, 9:], inner)
        assert (framed[:7] == 255).all()
        assert (framed[:, :9] == 255).all()
        assert (slide.read(Box(y0=9000, x0=9000, y1=9010, x1=9010), 0.499) == 255).all()
        assert slide.read(Box(y0=5, x0=5, y1=5, x1=9), 1.0).shape == (0, 4, 3)


def test_what_is_read_belongs_to_the_caller(cmu: Path) -> None:
    """Cached tiles must not be reachable through what was handed out."""
    with read(cmu) as slide:
        box = Box(y0=10, x0=10, y1=200, x1=200)
        first = slide.read(box)
        kept = first.copy()
        first[:] = 0
        np.testing.assert_array_equal(slide.read(box), kept)


def test_coarse_and_fine_pixels_lie_on_the_same_field(cmu: Path) -> None:
    """Average the 0.499 pixels under each 1.996 pixel: no shift beyond the decoder's rounding."""
    with read(cmu) as slide:
        fine = slide.read(Box(y0=400, x0=400, y1=1200, x1=1200), 0.499).astype(np.float64)
        coarse = slide.read(Box(y0=100, x0=100, y1=300, x1=300), 1.996)
    averaged = fine.reshape(200, 4, 200, 4, 3).mean(axis=(1, 3))
    assert np.abs(averaged - coarse).mean() < 0.3


def test_lazy_pixels_equal_eager_ones(cmu: Path) -> None:
    with read(cmu) as slide:
        lazy = slide.pixels()
        assert lazy.shape == (2967, 2220, 3)
        assert lazy.dtype == np.uint8
        assert lazy.chunksize == (1920, 1920, 3)  # eight native tiles
        box = Box(y0=1800, x0=1900, y1=2000, x1=2100)
        np.testing.assert_array_equal(lazy[box.slices].compute(), slide.read(box))
        coarse = slide.pixels(1.0, chunk_px=300)
        assert coarse.chunksize == (300, 300, 3)
        np.testing.assert_array_equal(coarse.compute(), slide.read(Box.whole(slide.size(1.0)), 1.0))


def test_building_a_lazy_array_reads_no_pixel(cmu: Path, tmp_path: Path) -> None:
    path = tmp_path / "slide.svs"
    path.write_bytes(cmu.read_bytes())
    slide = read(path)
    lazy = slide.pixels(1.0)
    with path.open("r+b") as handle:
        handle.truncate(16)
    with pytest.raises(UnreadableSlide, match="was cut while it was open"):
        lazy.compute(scheduler="synchronous")
    slide.close()


def test_lazy_pixels_compute_in_other_processes(cmu: Path) -> None:
    with read(cmu) as slide:
        lazy = slide.pixels(2.0, chunk_px=400)
        expected = slide.read(Box.whole(slide.size(2.0)), 2.0)
    with dask.config.set({"multiprocessing.context": "spawn", "num_workers": 1}):
        np.testing.assert_array_equal(lazy.compute(scheduler="processes"), expected)


def test_a_slide_survives_pickling(cmu: Path) -> None:
    with read(cmu, mpp=0.25, slide_id="one") as slide:
        box = Box(y0=100, x0=100, y1=180, x1=180)
        text = pickle.dumps(slide)
        assert len(text) < 2000
        copy = pickle.loads(text)
        assert copy.info.slide_id == "one"
        assert copy.info.mpp == 0.25
        np.testing.assert_array_equal(copy.read(box, 0.5), slide.read(box, 0.5))
        assert pickle.loads(text) is copy  # a worker that gets the slide with each task opens it once
        copy.close()
        again = pickle.loads(text)
        np.testing.assert_array_equal(again.read(box, 0.5), slide.read(box, 0.5))
        again.close()


def test_few_slides_stay_attached(cmu: Path) -> None:
    with read(cmu) as slide:
        info = slide.info
        for number in range(9):
            pickle.loads(pickle.dumps(Slide(dataclasses.replace(info, slide_id=f"s{number}"))))
    assert len(reader_module._attached) <= 4


def test_a_file_that_changed_is_not_reopened(cmu: Path, tmp_path: Path, texture, write_pyramid) -> None:
    path = write_pyramid([texture(200, 200)])
    with read(path, mpp=0.5) as slide:
        info = slide.info
    write_pyramid([texture(100, 100)])
    with Slide(info) as stale, pytest.raises(UnreadableSlide, match="has changed since"):
        stale.read(Box(y0=0, x0=0, y1=10, x1=10))


def test_a_closed_slide_says_so(cmu: Path) -> None:
    slide = read(cmu)
    lazy = slide.pixels(4.0)
    slide.close()
    slide.close()
    with pytest.raises(SlideError, match="is closed"):
        slide.read(Box(y0=0, x0=0, y1=1, x1=1))
    with pytest.raises(SlideError, match="is closed"):
        lazy.compute(scheduler="synchronous")


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_request_is_refused(cmu: Path, mpp: float) -> None:
    with read(cmu) as slide:
        with pytest.raises(SlideError, match="expected more than 0"):
            slide.read(Box(y0=0, x0=0, y1=1, x1=1), mpp)
        with pytest.raises(SlideError, match="expected more than 0"):
            slide.size(mpp)
        with pytest.raises(SlideError, match="chunk_px is 0"):
            slide.pixels(chunk_px=0)


def test_a_given_pixel_size_wins_with_a_warning(cmu: Path) -> None:
    with read(cmu, mpp=0.25) as slide:
        assert (slide.info.mpp, slide.info.mpp_source, slide.info.file_mpp) == (0.25, "given", 0.499)
        assert slide.info.warnings == ("the given pixel size of 0.25 um/px overrules the file's 0.499 (aperio.MPP)",)
        assert slide.size(0.5) == resampled_size(Size(2967, 2220), reader_module.ratio(0.5, 0.25))
    with read(cmu, mpp=0.5) as slide:  # 0.2 % off
        assert slide.info.mpp == 0.5
        assert slide.info.warnings == ()


@pytest.mark.parametrize("slide_id", ["", ".", "..", "a/b", "a\\b", "a\0b"])
def test_a_slide_id_that_cannot_name_a_directory_is_refused(cmu: Path, slide_id: str) -> None:
    with pytest.raises(SlideError, match="cannot name a directory"):
        read(cmu, slide_id=slide_id)


def test_slide_ids_come_from_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_slide_id(Path("a/b.c.svs")) == "b.c"
    assert default_slide_id(Path("a/b.ome.tiff")) == "b"
    folder = tmp_path / "series.1"
    folder.mkdir()
    assert default_slide_id(folder) == "series.1"
    monkeypatch.chdir(folder)
    assert default_slide_id(Path()) == "series.1"


def test_a_reader_can_be_forced(cmu: Path) -> None:
    with read(cmu, reader="openslide") as slide:
        assert slide.info.reader == "openslide"
        assert slide.info.mpp_source == "openslide.mpp-x"
    with pytest.raises(PluginError, match="no plugin 'nope'"):
        read(cmu, reader="nope")


def test_the_verb_is_public(cmu: Path) -> None:
    with wsigraph.read(cmu) as slide:
        assert isinstance(slide, wsigraph.Slide)


def test_inspect_tells_plain_values(cmu: Path) -> None:
    found = inspect(cmu)
    assert found["levels"] == [
        {"width": 2220, "height": 2967, "downsample": 1.0, "tile_width": 240, "tile_height": 240, "mpp": 0.499}
    ]
    assert found["size"] == {"width": 2220, "height": 2967}
    assert (found["reader"], found["vendor"]) == ("tiled_tiff", "aperio")
    assert (found["mpp"], found["mpp_source"], found["mpp_problem"]) == (0.499, "aperio.MPP", None)
    assert found["associated"] == ["label", "macro", "thumbnail"]
    assert found["identifying_images"] == ["label", "macro"]
    assert (found["sha256"], found["bytes"]) == (CMU_SHA256, os.path.getsize(cmu))  # noqa: PTH202
    given = inspect(cmu, mpp=0.25)
    assert (given["mpp"], given["mpp_source"], given["file_mpp"]) == (0.25, "given", 0.499)
    assert given["levels"][0]["mpp"] == 0.25


def test_inspect_shows_what_read_refuses(texture, write_pyramid) -> None:
    bare = write_pyramid([texture(100, 130)], name="bare")
    found = inspect(bare)
    assert found["mpp"] is None
    assert found["mpp_problem"] == f"slide '{bare}' holds no pixel size; {HOW_TO_STATE}"
    assert found["levels"][0]["mpp"] is None
    dots = write_pyramid([texture(100, 130)], name="dots", resolution=(96, 96), resolutionunit="INCH")
    found = inspect(dots)
    assert found["mpp"] == pytest.approx(264.58333)
    assert "outside the credible 0.05 to 20" in found["mpp_problem"]
    for path in (bare, dots):
        with pytest.raises(MissingMpp, match=r"--mpp UM$"):
            read(path)
        with read(path, mpp=0.5) as slide:
            assert slide.info.mpp == 0.5
