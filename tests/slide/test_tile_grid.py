from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wsigraph.geometry import Box, Size, grid
from wsigraph.slide.colour import to_rgb
from wsigraph.slide.tile_grid import TileCache, assemble

SIZE, TILE = Size(50, 70), Size(16, 24)


def _picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE.height, SIZE.width, 3), dtype=np.uint8)


class _Counted:
    def __init__(self, picture: np.ndarray, missing: tuple[int, int] | None = None) -> None:
        self.picture, self.missing, self.calls = picture, missing, []

    def __call__(self, row: int, column: int) -> np.ndarray | None:
        self.calls.append((row, column))
        if (row, column) == self.missing:
            return None
        y0, x0 = row * TILE.height, column * TILE.width
        return self.picture[y0 : y0 + TILE.height, x0 : x0 + TILE.width]


def test_any_box_equals_its_crop() -> None:
    decode, cache = _Counted(_picture()), TileCache()
    for box in (*grid(SIZE, 13), Box.whole(SIZE), Box(y0=15, x0=23, y1=17, x1=49)):
        np.testing.assert_array_equal(assemble(box, SIZE, TILE, decode, cache, 0), decode.picture[box.slices])


def test_missing_tiles_and_the_outside_are_white() -> None:
    decode = _Counted(_picture(), missing=(1, 1))
    got = assemble(Box(y0=-5, x0=-5, y1=60, x1=80), SIZE, TILE, decode, TileCache(), 0)
    expected = np.full((65, 85, 3), 255, np.uint8)
    expected[5:55, 5:75] = decode.picture
    expected[5 + 16 : 5 + 32, 5 + 24 : 5 + 48] = 255
    np.testing.assert_array_equal(got, expected)
    assert (assemble(Box(y0=60, x0=0, y1=70, x1=5), SIZE, TILE, decode, TileCache(), 0) == 255).all()


def test_only_tiles_that_are_cut_are_kept() -> None:
    decode, cache = _Counted(_picture()), TileCache()
    assemble(Box(y0=0, x0=0, y1=16, x1=48), SIZE, TILE, decode, cache, 0)
    assert cache.n_bytes == 0
    assemble(Box(y0=0, x0=0, y1=8, x1=48), SIZE, TILE, decode, cache, 0)
    assert cache.n_bytes == 2 * 16 * 24 * 3
    decode.calls.clear()
    assemble(Box(y0=8, x0=0, y1=16, x1=48), SIZE, TILE, decode, cache, 0)
    assert decode.calls == []
    assemble(Box(y0=8, x0=0, y1=16, x1=48), SIZE, TILE, decode, cache, 1)  # another lattice
    assert decode.calls == [(0, 0), (0, 1)]


def test_memory_stays_bounded_under_threads() -> None:
    cache = TileCache(max_bytes=1000)
    tile = np.zeros((10, 10, 3), np.uint8)

    def work(number: int) -> None:
        cache.keep(number % 50, tile)
        cache.find((number * 7) % 50)
        assert cache.n_bytes <= 1300  # one tile may be on its way in

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(2000)))
    assert cache.n_bytes == 900
    cache.keep("huge", np.zeros((100, 100, 3), np.uint8))
    assert cache.find("huge") is None
    cache.clear()
    assert cache.n_bytes == 0


def test_the_least_recently_used_tile_goes_first() -> None:
    cache = TileCache(max_bytes=600)
    tile = np.zeros((10, 10, 3), np.uint8)
    cache.keep("a", tile)
    cache.keep("b", tile)
    cache.find("a")
    cache.keep("c", tile)
    assert cache.find("a") is not None
    assert cache.find("b") is None


def test_transparency_lies_over_white() -> None:
    samples = np.array([[[100, 50, 0, 255], [100, 50, 0, 0], [100, 50, 0, 128]]], np.uint8)
    assert to_rgb(samples).tolist() == [[[100, 50, 0], [255, 255, 255], [177, 152, 127]]]
    assert to_rgb(samples[..., :3]).tolist() == [[[100, 50, 0]] * 3]
    assert to_rgb(samples[..., 0]).tolist() == [[[100] * 3] * 3]
    assert to_rgb(samples[..., [0, 3]]).tolist() == [[[100] * 3, [255] * 3, [177] * 3]]
    with pytest.raises(ValueError, match="expected"):
        to_rgb(np.zeros((2, 2, 5), np.uint8))
