"""A slide as a lazy array."""

from __future__ import annotations

from typing import Any, Protocol, cast

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size
from wsigraph.records import SlideInfo

_CHUNK_PX = 2048


class _Readable(Protocol):
    @property
    def info(self) -> SlideInfo: ...

    def size(self, mpp: float | None = None) -> Size: ...

    def read(self, box: Box, mpp: float | None = None) -> NDArray[np.uint8]: ...


class LazyPixels:
    """A slide at one pixel size that is read when it is indexed.

    Parameters
    ----------
    slide : Slide
        The slide.
    mpp : float
        um/px.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, slide: _Readable, mpp: float) -> None:
        self._slide = slide
        self._mpp = mpp
        size = slide.size(mpp)
        self.shape = (size.height, size.width, 3)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Return the indexed part; the slices must be plain and without steps."""
        rows, columns, channels = index
        (y0, y1, _), (x0, x1, _) = rows.indices(self.shape[0]), columns.indices(self.shape[1])
        return self._slide.read(Box(y0=y0, x0=x0, y1=y1, x1=x1), self._mpp)[:, :, channels]

    def to_dask(self, chunk_px: int | None, tile: Size) -> da.Array:
        """Return a dask array of chunks of `chunk_px`, or near 2048 px in whole multiples of `tile` where None."""
        chunk = (chunk_px, chunk_px) if chunk_px is not None else (_whole_tiles(tile.height), _whole_tiles(tile.width))
        info = self._slide.info
        name = f"pixels-{info.sha256[:16]}-{info.reader}-{info.mpp!r}-{self._mpp!r}-{chunk[0]}x{chunk[1]}"
        from_array: Any = da.from_array
        return cast(da.Array, from_array(self, chunks=(*chunk, 3), name=name, asarray=False, lock=False))


def _whole_tiles(tile_px: int) -> int:
    return max(1, _CHUNK_PX // tile_px) * tile_px
