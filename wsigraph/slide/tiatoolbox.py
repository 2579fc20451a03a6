"""Slides through tiatoolbox's WSIReader, for formats that only it knows, or to compare.

Importing tiatoolbox takes many seconds and it caps the versions of torch, so it is an extra of its own and imported
when a file is opened. It claims JPEG 2000 files alone, which no other reader opens; for any other file name it:
``read(path, reader="tiatoolbox")``. Boxes are assembled from blocks of one fixed grid, because a box that begins
between two pixels of a level would be interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import CorruptTile, PluginError, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide import mpp, tiff_index
from wsigraph.slide.colour import WHITE, to_rgb
from wsigraph.slide.description import FileDescription, make_levels
from wsigraph.slide.mpp import StatedMpp
from wsigraph.slide.series import SeriesRule
from wsigraph.slide.tile_grid import TileCache, assemble

_BLOCK_PX = 512


class TiatoolboxReader:
    """A slide through tiatoolbox.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed or does not import.
    UnreadableSlide
        If tiatoolbox does not open the file.
    """

    suffixes: ClassVar[frozenset[str]] = frozenset({".jp2"})
    series: ClassVar[tuple[SeriesRule, ...]] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        readers = _tiatoolbox()
        try:
            self._wsi: Any = readers.WSIReader.open(path, post_proc=None)
            info = self._wsi.info
            sizes = [Size(int(height), int(width)) for width, height in info.level_dimensions]
            stated = _stated_mpp(info.mpp)
        except Exception as error:  # noqa: BLE001 - whatever the libraries behind it raise
            raise UnreadableSlide(
                f"slide {str(path)!r} does not open with tiatoolbox ({tiff_index.first_line(error)}); check the file"
            ) from None
        self._cache = TileCache()
        self.description = FileDescription(
            vendor=str(info.vendor or "unknown"),
            levels=make_levels((size, Size(_BLOCK_PX, _BLOCK_PX)) for size in sizes),
            scales=((1,),) * len(sizes),
            mpp=stated.x if stated else None,
            mpp_y=stated.y if stated else None,
            mpp_source=stated.source if stated else None,
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether a file is one that only tiatoolbox reads, where it is installed."""
        return path.suffix.lower() in cls.suffixes and find_spec("tiatoolbox") is not None

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of a level.

        Parameters
        ----------
        level : int
            Index into ``description.levels``.
        box : Box
            Pixels of the level; white outside it.
        scale : int
            1.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        CorruptTile
            If tiatoolbox does not decode a part.
        """
        geometry = self.description.levels[level]
        return assemble(
            box, geometry.size, geometry.tile, lambda row, column: self._block(level, row, column), self._cache,
            (level, scale),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the file."""
        self._wsi = None
        self._cache.clear()

    def _block(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        geometry = self.description.levels[level]
        y0, x0 = row * geometry.tile.height, column * geometry.tile.width
        box = Box(y0=y0, x0=x0, y1=y0 + geometry.tile.height, x1=x0 + geometry.tile.width).clip(geometry.size)
        try:
            pixels = self._wsi.read_rect(
                location=(x0, y0),
                size=(box.width, box.height),
                resolution=level,
                units="level",
                coord_space="resolution",
                pad_constant_values=WHITE,
            )
        except Exception as error:
            raise CorruptTile(
                f"slide {str(self._path)!r}: level {level} does not decode at x {x0}, y {y0} "
                f"({tiff_index.first_line(error)}); copy the slide again from its source"
            ) from error
        return to_rgb(np.asarray(pixels, dtype=np.uint8))


def _tiatoolbox() -> Any:
    try:
        return import_module("tiatoolbox.wsicore.wsireader")
    except ImportError as error:
        raise PluginError(
            f"reader 'tiatoolbox' needs the package tiatoolbox ({error}); install it in an environment of its own "
            "with: pip install 'wsigraph[tiatoolbox]'"
        ) from None


def _stated_mpp(sides: Sequence[float] | None) -> StatedMpp | None:
    if sides is None or not all(float(side) > 0 for side in sides):
        return None
    return StatedMpp(mpp.round_digits(float(sides[0])), mpp.round_digits(float(sides[1])), "tiatoolbox.mpp")
