"""Any box of a level from its fixed native tiles.

A box is assembled from whole tiles of one fixed tile grid. A pixel is therefore decoded in the same way whatever box
is read. Tiles that a box cuts are cached, because the neighbouring box needs them too. Tiles that are whole inside a
box are not cached, so that the memory is spent on the seams.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from operator import attrgetter

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size
from wsigraph.slide.colour import WHITE

CACHE_BYTES = 64 * 2**20
"""Default bound on the decoded tiles that one open slide keeps."""

Pixels = NDArray[np.uint8]


class TileCache:
    """A least-recently-used cache of decoded tiles. It is safe to use from several threads.

    Parameters
    ----------
    max_bytes : int
        Largest total size of the cached tiles.
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self._tiles: LRUCache[Hashable, Pixels] = LRUCache(max_bytes, getsizeof=attrgetter("nbytes"))
        self._lock = threading.Lock()

    @property
    def n_bytes(self) -> int:
        """Total size of the cached tiles."""
        return int(self._tiles.currsize)

    def find(self, key: Hashable) -> Pixels | None:
        """Return the tile cached under `key`, or None."""
        with self._lock:
            return self._tiles.get(key)

    def keep(self, key: Hashable, tile: Pixels) -> None:
        """Cache a tile, and drop the least recently used ones if needed."""
        with self._lock:
            # the cache raises for a tile that is larger than all of it
            if key not in self._tiles and tile.nbytes <= self._tiles.maxsize:
                self._tiles[key] = tile

    def clear(self) -> None:
        """Drop every tile."""
        with self._lock:
            self._tiles.clear()


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
