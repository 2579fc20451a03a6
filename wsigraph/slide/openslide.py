"""Every format that OpenSlide knows: NDPI, MRXS, SCN, BIF, DICOM and more.

A slide is the area that the file states as scanned (`wsigraph.slide.bounds`), not the plane it lies on.

This module works around two properties of OpenSlide. A handle stays in error after its first error, so the file is
opened again before the next tile is read; a block that fails is assembled from its native tiles, so that only the
damaged ones are missing. And OpenSlide interpolates a box that begins between two pixels of a level, so boxes are
assembled from blocks of one fixed grid, and a pixel never depends on the box that is read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import openslide
from numpy.typing import NDArray

from wsigraph.errors import CorruptTile, UnreadableSlide
from wsigraph.geometry import Box, Size, grid
from wsigraph.slide import bounds, mpp, objective, tiff_index
from wsigraph.slide.colour import WHITE, to_rgb
from wsigraph.slide.description import FileDescription
from wsigraph.slide.mpp import StatedMpp
from wsigraph.slide.series import DICOM, HAMAMATSU, MIRAX, SeriesRule
from wsigraph.slide.tile_grid import TileCache, assemble

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

    suffixes: ClassVar[frozenset[str]] = frozenset(
        {".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".tif", ".tiff", ".vms", ".vmu"}
    )
    series: ClassVar[tuple[SeriesRule, ...]] = (DICOM, MIRAX, HAMAMATSU)

    def __init__(self, path: Path) -> None:
        self._path = path
        if tiff_index.is_tiff(path):
            _check_whole(path)
        self._handle = _open(path)
        self._reopening = threading.Lock()
        self._is_closed = False
        properties = dict(self._handle.properties)
        stated = _stated_mpp(properties)
        plane = [
            (Size(height, width), _tile_size(properties, level))
            for level, (width, height) in enumerate(self._handle.level_dimensions)
        ]
        area, warnings = bounds.parse_bounds(properties, plane[0][0])
        levels, self._corners = bounds.crop_levels(plane, area or Box.whole(plane[0][0]))
        self._blocks = [Size(_block_side(level.tile.height), _block_side(level.tile.width)) for level in levels]
        self._downsamples = self._handle.level_downsamples
        self._cache = TileCache()
        self._corrupt: dict[tuple[int, int, int], openslide.OpenSlideError] = {}  # by level and corner
        self.description = FileDescription(
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown"),
            levels=levels,
            scales=((1,),) * len(levels),
            mpp=stated.x if stated else None,
            mpp_y=stated.y if stated else None,
            mpp_source=stated.source if stated else None,
            objective_power=objective.parse_power(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER)),
            associated=tuple(sorted(self._handle.associated_images)),
            icc=_icc_profile(self._handle),
            bounds=area,
            plane=plane[0][0] if area else None,
            warnings=warnings,
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
        CorruptTile
            If OpenSlide does not decode a native tile that the box holds part of.
        UnreadableSlide
            If the file does not open again after that.
        """
        size, block = self.description.levels[level].size, self._blocks[level]
        pixels = assemble(
            box, size, block, lambda row, column: self._block(level, row, column), self._cache, (level, scale)
        )
        if self._corrupt:
            self._refuse_corrupt(level, box)
        return pixels

    def close(self) -> None:
        """Close the file; nothing may be reading from it."""
        self._is_closed = True
        self._handle.close()
        self._cache.clear()

    def _block(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        block, size = self._blocks[level], self.description.levels[level].size
        y0, x0 = row * block.height, column * block.width
        whole = Box(y0=y0, x0=x0, y1=y0 + block.height, x1=x0 + block.width).clip(size)
        try:
            return self._region(level, whole)
        except openslide.OpenSlideError:
            pass  # one of its tiles, found below
        pixels = np.full((whole.height, whole.width, 3), WHITE, dtype=np.uint8)
        for tile in _tiles(whole, self.description.levels[level].tile):
            try:
                pixels[tile.relative_to(whole).slices] = self._region(level, tile)
            except openslide.OpenSlideError as error:
                self._corrupt[level, tile.y0, tile.x0] = error
        return pixels

    def _region(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Return a box inside a level; after an error the handle is a fresh one."""
        downsample, handle = self._downsamples[level], self._handle
        y, x = self._corners[level]
        corner = (round((box.x0 + x) * downsample), round((box.y0 + y) * downsample))
        try:
            return to_rgb(np.asarray(handle.read_region(corner, level, (box.width, box.height))))
        except openslide.OpenSlideError:
            self._reopen(handle)
            raise

    def _refuse_corrupt(self, level: int, box: Box) -> None:
        tile = self.description.levels[level].tile
        for (of, y0, x0), error in sorted(self._corrupt.copy().items(), key=lambda item: item[0]):
            touched = box.intersect(Box(y0=y0, x0=x0, y1=y0 + tile.height, x1=x0 + tile.width))
            if of == level and not touched.is_empty:
                raise CorruptTile(
                    f"slide {str(self._path)!r}: level {level} does not decode at x {x0}, y {y0} "
                    f"({tiff_index.first_line(error)}); copy the slide again from its source"
                ) from error

    def _reopen(self, dead: openslide.OpenSlide) -> None:
        with self._reopening:
            if self._handle is dead and not self._is_closed:
                self._handle = _open(self._path)


def _tiles(block: Box, tile: Size) -> Iterator[Box]:
    """Yield the native tiles of a block, which begins with one."""
    for part in grid(Size(-(-block.height // tile.height), -(-block.width // tile.width)), 1):
        y0, x0 = block.y0 + part.y0 * tile.height, block.x0 + part.x0 * tile.width
        yield Box(y0=y0, x0=x0, y1=y0 + tile.height, x1=x0 + tile.width).intersect(block)


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(str(path))
    except (openslide.OpenSlideError, OSError) as error:
        raise UnreadableSlide(
            f"slide {str(path)!r} does not open with OpenSlide ({tiff_index.first_line(error)}); check the file"
        ) from None


def _icc_profile(handle: openslide.OpenSlide) -> bytes | None:
    """Return the ICC profile of the slide; None where it has none, or one that does not parse."""
    try:
        profile = handle.color_profile
    except (openslide.OpenSlideError, OSError):
        return None
    return None if profile is None else bytes(profile.tobytes())


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
    y = y if y > 0 else x
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
