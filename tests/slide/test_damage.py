"""One damaged tile must not cost the rest of a slide, and must look the same to everybody."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from wsigraph.errors import CorruptTile, UnreadableSlide
from wsigraph.geometry import Box, Size, grid
from wsigraph.slide.damage import BadTile, BadTiles, SoundReader
from wsigraph.slide.description import FileDescription, make_levels
from wsigraph.slide.reader import Slide, read
from wsigraph.slide.scan import scan_tiles

Damage = Callable[..., tuple[Path, Path]]
BAD = [5, 14]  # of 7 x 5 tiles of 64 px: row 0, column 5 and row 2, column 0


@pytest.fixture
def damage(texture, tmp_path: Path) -> Damage:
    """Return a writer of a slide, twice: whole, and with tiles whose bytes do not decode."""

    def make(tile_px: int = 64, bad: list[int] = BAD) -> tuple[Path, Path]:
        whole, damaged = tmp_path / "whole.tif", tmp_path / "damaged.tif"
        tifffile.imwrite(
            whole, texture(310, 430), tile=(tile_px, tile_px), compression="jpeg", photometric="ycbcr", metadata=None
        )
        with tifffile.TiffFile(whole) as tif:
            offsets, counts = tif.pages.first.dataoffsets, tif.pages.first.databytecounts
        data = bytearray(whole.read_bytes())
        for tile in bad:
            data[offsets[tile] + 2 : offsets[tile] + counts[tile]] = bytes(counts[tile] - 2)
        damaged.write_bytes(data)
        return whole, damaged

    return make


def _masked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = pixels.copy()
    out[:64, 320:384] = 255
    out[128:192, :64] = 255
    return out


@pytest.mark.parametrize("reader", ["tiled_tiff", "openslide"])
def test_bad_tiles_are_white_reported_and_the_rest_is_whole(damage: Damage, reader: str) -> None:
    whole, damaged = damage()
    with read(whole, mpp=0.5, reader=reader) as slide:
        expected = _masked(slide.read(Box.whole(slide.size())))
        assert slide.bad_tiles == ()
    with read(damaged, mpp=0.5, reader=reader, max_bad_tile_fraction=0.1) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), expected)
        assert [(tile.level, tile.row, tile.column, tile.x0, tile.y0) for tile in slide.bad_tiles] == [
            (0, 0, 5, 320, 0),
            (0, 2, 0, 0, 128),
        ]
        assert all(tile.reason and str(damaged) not in tile.reason for tile in slide.bad_tiles)
        assert str(slide.bad_tiles[0]).startswith("tile 5, 0 of level 0 (x 320, y 0): ")
    assert len(slide.bad_tiles) == 2  # the report outlives the file


@pytest.mark.parametrize("reader", ["tiled_tiff", "openslide"])
@pytest.mark.parametrize("mpp", [0.5, 1.0, 1.3])
@pytest.mark.parametrize("chunk_px", [41, 100])
def test_any_chunking_in_any_order_gives_the_same_bytes(damage: Damage, reader: str, mpp: float, chunk_px: int) -> None:
    damaged = damage()[1]
    with read(damaged, mpp=0.5, reader=reader, max_bad_tile_fraction=0.1) as slide:
        size = slide.size(mpp)
        expected = slide.read(Box.whole(size), mpp)
    boxes = list(grid(size, chunk_px))
    with read(damaged, mpp=0.5, reader=reader, max_bad_tile_fraction=0.1) as slide, ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda box: slide.read(box, mpp), reversed(boxes))
        for box, part in zip(reversed(boxes), parts, strict=True):
            np.testing.assert_array_equal(part, expected[box.slices])
        assert {(tile.row, tile.column) for tile in slide.bad_tiles} == {(0, 5), (2, 0)}


def test_processes_leave_the_same_tiles_white(damage: Damage) -> None:
    damaged = damage()[1]
    with read(damaged, mpp=0.5, max_bad_tile_fraction=0.1) as slide:
        expected = slide.read(Box.whole(slide.size()))
        lazy = slide.pixels(chunk_px=200)
        with dask.config.set({"multiprocessing.context": "spawn", "num_workers": 1, "scheduler": "processes"}):
            np.testing.assert_array_equal(lazy.compute(), expected)
            found = scan_tiles(read(damaged, mpp=0.5, max_bad_tile_fraction=0.1))
        assert found == slide.bad_tiles


def test_too_many_bad_tiles_are_an_error_wherever_it_is_met(damage: Damage) -> None:
    damaged = damage()[1]
    with read(damaged, mpp=0.5) as slide, pytest.raises(UnreadableSlide) as caught:
        slide.read(Box.whole(slide.size()))
    for words in ("1 of 35 tiles of level 0", "share of 0.01", "tile 5, 0", "slide.max_bad_tile_fraction"):
        assert words in str(caught.value)
    with read(damaged, mpp=0.5, max_bad_tile_fraction=1 / 35) as slide:
        slide.read(Box(y0=0, x0=0, y1=64, x1=430))
        with pytest.raises(UnreadableSlide, match="2 of 35 tiles"):
            slide.read(Box(y0=64, x0=0, y1=310, x1=430))
        with pytest.raises(UnreadableSlide, match="2 of 35 tiles"):  # and again, though both are known by now
            pickle.loads(pickle.dumps(slide)).read(Box.whole(slide.size()))


def test_the_limit_travels_with_the_slide(damage: Damage) -> None:
    damaged = damage()[1]
    with read(damaged, mpp=0.5, max_bad_tile_fraction=0.1) as slide:
        copy = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(copy.read(Box.whole(slide.size())), slide.read(Box.whole(slide.size())))


def test_a_dicom_frame_that_does_not_decode_is_masked(shared_slides: Path, tmp_path: Path) -> None:
    for path in (shared_slides / "cmu_dicom").glob("*.dcm"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with read(tmp_path, mpp=0.5) as slide:
        expected, tile = slide.read(Box.whole(slide.size())), slide.info.levels[0].tile
    largest = max(tmp_path.glob("*.dcm"), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    start = data.index(b"\xff\xd8\xff", data.index(b"\xff\xd8\xff") + 3)  # the second frame
    data[start : start + 200] = bytes(200)
    largest.write_bytes(data)
    with read(tmp_path, mpp=0.5) as slide:
        pixels = slide.read(Box.whole(slide.size()))
        assert [(bad.row, bad.column) for bad in slide.bad_tiles] == [(0, 1)]
    expected[: tile.height, tile.width : 2 * tile.width] = 255
    np.testing.assert_array_equal(pixels, expected)


class Moody:
    """A reader whose handles fail from a certain tile on: one in memory, as no file can be made to do that."""

    def __init__(self, n_good_reads: int) -> None:
        self.n_left = n_good_reads
        self.is_closed = False
        self.description = FileDescription(
            vendor="moody", levels=make_levels([(Size(40, 60), Size(20, 20))]), scales=((1,),)
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        return False

    def read_level(self, level: int, box: Box, scale: int) -> NDArray[np.uint8]:
        if self.n_left == 0:
            raise CorruptTile("the handle is dead")
        self.n_left -= 1
        return np.full((box.height, box.width, 3), 7, np.uint8)

    def close(self) -> None:
        self.is_closed = True


def test_a_dead_handle_is_replaced_and_its_tile_saved() -> None:
    first, second = Moody(0), Moody(100)
    bad = BadTiles("slide", first.description.levels, 0.5)
    reader = SoundReader(first, lambda: second, bad)
    assert (reader.read_level(0, Box(y0=0, x0=0, y1=40, x1=60), 1) == 7).all()
    assert bad.tiles() == ()
    reader.close()
    assert first.is_closed
    assert second.is_closed


def test_other_faults_end_the_work(damage: Damage) -> None:
    whole, _ = damage()
    with read(whole, mpp=0.5, max_bad_tile_fraction=1.0) as slide:
        with whole.open("r+b") as handle:
            handle.truncate(1000)
        with pytest.raises(UnreadableSlide, match="was cut while it was open"):
            slide.read(Box.whole(slide.size()))
        assert slide.bad_tiles == ()


def test_scanning_finds_every_bad_tile(damage: Damage) -> None:
    whole, damaged = damage()
    told: list[Any] = []
    with read(damaged, mpp=0.5, max_bad_tile_fraction=0.1) as slide:
        found = scan_tiles(slide, progress=lambda *state: told.append(state))
    assert [(tile.row, tile.column) for tile in found] == [(0, 5), (2, 0)]
    assert told[-1][0] == "scan"
    assert told[-1][1] == told[-1][2] > 0
    with read(whole, mpp=0.5) as slide:
        assert scan_tiles(slide) == ()
        assert isinstance(slide, Slide)


def test_a_tile_bad_at_two_scales_is_one() -> None:
    bad = BadTiles("slide", make_levels([(Size(64, 64), Size(32, 32)), (Size(32, 32), Size(32, 32))]), 1.0)
    for scale in (1, 2):
        bad.note(0, scale, 1, 0, "torn")
    bad.note(1, 1, 0, 0, "torn")
    assert bad.tiles() == (
        BadTile(level=0, row=1, column=0, x0=0, y0=32, reason="torn"),
        BadTile(level=1, row=0, column=0, x0=0, y0=0, reason="torn"),
    )
