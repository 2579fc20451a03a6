"""Every format that OpenSlide knows: NDPI, MRXS, SCN, BIF, DICOM and more.

Two habits of OpenSlide are dealt with here. A handle is dead after its first error, so a fresh one is opened then and
the next tile has its chance. And a box that begins between two pixels of a level is interpolated, so boxes are put
together from blocks of one fixed lattice and a pixel never depends on the box it was asked for in.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide import mpp, tiff_index
from wsigraph.slide.colour import to_rgb
from wsigraph.slide.description import FileDescription, make_levels
from wsigraph.slide.lattice import TileCache, assemble
from wsigraph.slide.mpp import StatedMpp

_TILE_PX = 512
_TILE_AREA_MIN, _TILE_AREA_MAX = 64**2, 4096**2


class OpenSlideReader:
    """A slide through OpenSlide.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    TruncatedSlide
        If the file is a TIFF that ends before the data that it indexes.
    UnreadableSlide
        If OpenSlide does not open it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if tiff_index.is_tiff(path):
            _check_whole(path)
        self._handle = _open(path)
        self._reopening = threading.Lock()
        self._is_closed = False
        properties = dict(self._handle.properties)
        stated = _stated_mpp(properties)
        levels = make_levels(
            (Size(height, width), _tile_size(properties, level))
            for level, (width, height) in enumerate(self._handle.level_dimensions)
        )
        self._blocks = [Size(_block_side(level.tile.height), _block_side(level.tile.width)) for level in levels]
        self._downsamples = self._handle.level_downsamples
        self._cache = TileCache()
        self.description = FileDescription(
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            levels=levels,
            scales=((1,),) * len(levels),
            mpp=stated.x if stated else None,
            mpp_source=stated.source if stated else None,
            associated=tuple(sorted(self._handle.associated_images)),
            warnings=mpp.square_warnings(stated),
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether OpenSlide recognises a file."""
        return openslide.OpenSlide.detect_format(str(path)) is not None

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of a level.

        Parameters
        ----------
        level : int
            Index into ``description.levels``.
        box : Box
            Pixels of the level; white outside it and where the slide is transparent.
        scale : int
            1.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        UnreadableSlide
            If OpenSlide does not decode a part; the reader stays usable for others.
        """
        size, block = self.description.levels[level].size, self._blocks[level]
        return assemble(
            box, size, block, lambda row, column: self._block(level, row, column), self._cache, (level, scale)
        )

    def close(self) -> None:
        """Close the file; nothing may be reading from it."""
        self._is_closed = True
        self._handle.close()
        self._cache.clear()

    def _block(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        block, size = self._blocks[level], self.description.levels[level].size
        y0, x0 = row * block.height, column * block.width
        height, width = min(block.height, size.height - y0), min(block.width, size.width - x0)
        downsample = self._downsamples[level]
        handle = self._handle
        try:
            image = handle.read_region((round(x0 * downsample), round(y0 * downsample)), level, (width, height))
        except openslide.OpenSlideError as error:
            self._reopen(handle)
            raise UnreadableSlide(
                f"slide {str(self._path)!r}: level {level} does not decode at x {x0}, y {y0} "
                f"({tiff_index.first_line(error)}); copy the slide again from its source"
            ) from None
        return to_rgb(np.asarray(image))

    def _reopen(self, dead: openslide.OpenSlide) -> None:
        with self._reopening:
            if self._handle is dead and not self._is_closed:
                self._handle = _open(self._path)


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(str(path))
    except (openslide.OpenSlideError, OSError) as error:
        raise UnreadableSlide(
            f"slide {str(path)!r} does not open with OpenSlide ({tiff_index.first_line(error)}); check the file"
        ) from None


def _check_whole(path: Path) -> None:
    try:
        with tiff_index.open_index(path) as tif:
            tiff_index.check_extents(path, tif)
    except tiff_index.MALFORMED as error:
        raise UnreadableSlide(
            f"slide {str(path)!r} has a damaged TIFF index ({tiff_index.first_line(error)})"
        ) from None


def _stated_mpp(properties: Mapping[str, str]) -> StatedMpp | None:
    try:
        x = float(properties[openslide.PROPERTY_NAME_MPP_X])
        y = float(properties.get(openslide.PROPERTY_NAME_MPP_Y, x))
    except (KeyError, ValueError):
        return None
    return StatedMpp(mpp.round_digits(x), mpp.round_digits(y), openslide.PROPERTY_NAME_MPP_X) if x > 0 else None


def _tile_size(properties: Mapping[str, str], level: int) -> Size:
    sides = [properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("height", "width")]
    if all(side.isdigit() for side in sides):
        tile = Size(int(sides[0]), int(sides[1]))
        if _TILE_AREA_MIN <= tile.area <= _TILE_AREA_MAX:
            return tile
    return Size(_TILE_PX, _TILE_PX)


def _block_side(tile_px: int) -> int:
    """Return the side of a block: whole tiles, large enough that the cost of a call does not show."""
    return tile_px * -(-_TILE_PX // tile_px)
