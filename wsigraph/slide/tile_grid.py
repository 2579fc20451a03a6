"""Any box of a level from its fixed native tiles.

A box is assembled from whole tiles of one fixed tile grid. A pixel is therefore decoded in the same way whatever box
is read. Tiles that a box cuts are cached, because the neighbouring box needs them too. Tiles that are whole inside a
box are not cached, so that the memory is spent on the seams.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size
from wsigraph.slide.colour import WHITE

CACHE_BYTES = 64 * 2**20
"""Default bound on the decoded tiles that one open slide keeps."""

Pixels = NDArray[np.uint8]


class TileCache:
    """Decoded tiles, the least recently used dropped first; safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Bound on the pixels held.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._n_bytes = 0
        self._tiles: OrderedDict[Hashable, Pixels] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Bytes of pixels held."""
        return self._n_bytes

    def find(self, key: Hashable) -> Pixels | None:
        """Return the tile kept under `key`, or None."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def keep(self, key: Hashable, tile: Pixels) -> None:
        """Keep a tile, and drop others until the bound holds."""
        with self._lock:
            if key in self._tiles or tile.nbytes > self._max_bytes:
                return
            self._tiles[key] = tile
            self._n_bytes += tile.nbytes
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._tiles.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Drop every tile."""
        with self._lock:
            self._tiles.clear()
            self._n_bytes = 0


def assemble(
    box: Box,
    size: Size,
    tile: Size,
    decode: Callable[[int, int], Pixels | None],
    cache: TileCache,
    key: Hashable,
) -> Pixels:
    """Return the pixels of a box.

    Parameters
    ----------
    box : Box
        What to return, in pixels of the tile grid; parts outside the level are white.
    size, tile : Size
        Pixels of the level and of one tile.
    decode : callable
        Takes a tile's row and column in the tile grid and returns its pixels, uint8 (h, w, 3), cut at the level's edge
        or not; None where the file holds none, which is white.
    cache : TileCache
        Where tiles that the box cuts are looked up and kept.
    key : hashable
        Name of the tile grid in the cache.

    Returns
    -------
    uint8 (h, w, 3)
        RGB.

    Raises
    ------
    UnreadableSlide
        Whatever `decode` raises.
    """
    inside = box.clip(size)
    if inside.is_empty:
        return np.full((box.height, box.width, 3), WHITE, dtype=np.uint8)
    out = np.empty((box.height, box.width, 3), dtype=np.uint8)
    if inside != box:
        out.fill(WHITE)
    # plain integers: creating boxes would cost as much as copying a small tile
    for row in range(inside.y0 // tile.height, -(-inside.y1 // tile.height)):
        top, bottom = row * tile.height, min((row + 1) * tile.height, size.height)
        y0, y1 = max(top, inside.y0), min(bottom, inside.y1)
        for column in range(inside.x0 // tile.width, -(-inside.x1 // tile.width)):
            left, right = column * tile.width, min((column + 1) * tile.width, size.width)
            x0, x1 = max(left, inside.x0), min(right, inside.x1)
            pixels = cache.find((key, row, column))
            part = out[y0 - box.y0 : y1 - box.y0, x0 - box.x0 : x1 - box.x0]
            if pixels is None:
                pixels = decode(row, column)
                if pixels is None:
                    part.fill(WHITE)
                    continue
                if (y0, y1, x0, x1) != (top, bottom, left, right):
                    cache.keep((key, row, column), pixels)
            part[:] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
