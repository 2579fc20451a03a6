"""A slide as pixels at any resolution.

``read`` opens a file with the first reader that recognises it and determines its pixel size. The `Slide` then gives
the pixels of any box at any um/px, as a numpy array or as a lazy dask array. A slide is pickled as its description
and opened again in the process that reads it. The same box gives the same bytes whatever was read before, in any
thread.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from cachetools import LRUCache
from numpy.typing import NDArray

from wsigraph.errors import SlideError, UnreadableSlide, WsigraphError
from wsigraph.geometry import Box, Size, grid, ratio, resampled_size
from wsigraph.records import SlideInfo
from wsigraph.slide import files
from wsigraph.slide import mpp as pixel_size
from wsigraph.slide.colour import WHITE
from wsigraph.slide.damage import MAX_BAD_TILE_FRACTION, BadTile, BadTiles, SoundReader
from wsigraph.slide.icc import IccReader, profile_name
from wsigraph.slide.lazy import LazyPixels
from wsigraph.slide.opening import SlideReader, open_reader
from wsigraph.slide.plausible_size import check_area
from wsigraph.slide.resample import Source, area_average, choose_source
from wsigraph.slide.slide_id import default_slide_id

__all__ = ["Slide", "SlideReader", "default_slide_id", "read"]

_MAX_ATTACHED = 4


class Slide:
    """A slide, open for reading.

    Parameters
    ----------
    info : SlideInfo
        What is known of it.
    reader : SlideReader, optional
        The open file; opened at the first read where left out.
    max_bad_tile_fraction : float
        Fraction of a level's tiles that may fail to decode; above it a read raises.
    """

    def __init__(
        self,
        info: SlideInfo,
        reader: SlideReader | None = None,
        *,
        max_bad_tile_fraction: float = MAX_BAD_TILE_FRACTION,
    ) -> None:
        self._info = info
        self._bad = BadTiles(info.slide_id, info.levels, max_bad_tile_fraction)
        self._reader = None if reader is None else SoundReader(reader, self._reopen, self._bad)
        self._is_closed = False
        self._opening = threading.Lock()
        self._grids: dict[float, tuple[Size, Source]] = {}

    @property
    def info(self) -> SlideInfo:
        """What is known of the slide without reading its pixels."""
        return self._info

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels taken for red, green and blue; empty where the file names none."""
        return self._open().description.channels

    def mark(self, warning: str) -> None:
        """Put a warning before all others of the slide, once.

        Parameters
        ----------
        warning : str
            What a reader of any output must know first.
        """
        if warning not in self._info.warnings:
            self._info = dataclasses.replace(self._info, warnings=(warning, *self._info.warnings))

    @property
    def bad_tiles(self) -> tuple[BadTile, ...]:
        """Tiles read so far that do not decode and were left white, sorted by level, row and column.

        Reads in other processes count once merged into `damage`; `scan_tiles` finds a level's wherever it runs.
        """
        return self._bad.tiles()

    @property
    def damage(self) -> BadTiles:
        """What `bad_tiles` lists, to merge with the bad tiles of other processes."""
        return self._bad

    def size(self, mpp: float | None = None) -> Size:
        """Return how many pixels the slide has at a pixel size.

        Parameters
        ----------
        mpp : float, optional
            um/px; that of level 0 where left out.

        Returns
        -------
        Size
            Height and width; partial pixels at the far sides count.

        Raises
        ------
        SlideError
            If `mpp` is not a positive number.
        """
        return resampled_size(self._info.levels[0].size, ratio(self._target_mpp(mpp), self._info.mpp))

    def read(self, box: Box, mpp: float | None = None) -> NDArray[np.uint8]:
        """Return the pixels of a box.

        Parameters
        ----------
        box : Box
            Pixels at `mpp`; pixel (0, 0) begins at the corner of the scanned area (``info.origin`` on the plane).
            Parts outside the slide are white.
        mpp : float, optional
            um/px; that of level 0 where left out.

        Returns
        -------
        uint8 (h, w, 3)
            RGB, the caller's own. Tiles that do not decode are white and listed in `bad_tiles`.

        Raises
        ------
        UnreadableSlide
            If the file cannot be read, or more of its tiles fail to decode than allowed.
        SlideError
            If `mpp` is not a positive number or the slide is closed.

        Notes
        -----
        The source is read in parts of at most 4096 x 4096 pixels, so memory follows the box, not the source.
        """
        target = self._target_mpp(mpp)
        reader = self._open()
        size, source = self._grid(reader, target)
        inside = box.clip(size)
        parts = [] if inside.is_empty else list(_parts(inside, source))
        if parts == [box]:
            return _read_part(reader, source, box)
        out = np.full((max(0, box.height), max(0, box.width), 3), WHITE, dtype=np.uint8)
        for part in parts:
            out[part.relative_to(box).slices] = _read_part(reader, source, part)
        return out

    def pixels(self, mpp: float | None = None, chunk_px: int | None = None) -> Any:
        """Return the slide as a lazy array; nothing is read until it is computed.

        Parameters
        ----------
        mpp : float, optional
            um/px; that of level 0 where left out.
        chunk_px : int, optional
            Side of a chunk. Where left out it is near 2048, at level 0 a whole number of native tiles.

        Returns
        -------
        dask.array.Array
            uint8 (y, x, 3). The slide must stay open while threads compute it; processes open it for themselves.

        Raises
        ------
        SlideError
            If `mpp` is not a positive number or `chunk_px` is below 1.
        """
        if chunk_px is not None and chunk_px < 1:
            raise SlideError(f"chunk_px is {chunk_px}, expected at least 1")
        target = self._target_mpp(mpp)
        tile = self._info.levels[0].tile if ratio(target, self._info.mpp) == 1 else Size(1, 1)
        return LazyPixels(self, target).to_dask(chunk_px, tile)

    def close(self) -> None:
        """Close the file. Reads that are under way in other threads must have ended."""
        with self._opening:
            if self._reader is not None:
                self._reader.close()
            self._reader = None
            self._is_closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        size = self._info.levels[0].size
        return (
            f"Slide({self._info.slide_id!r}, {size.width} x {size.height} px, {self._info.mpp:g} um/px from "
            f"{self._info.mpp_source}, reader {self._info.reader})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (self._info, self._bad.max_fraction)

    def _target_mpp(self, mpp: float | None) -> float:
        if mpp is None:
            return self._info.mpp
        if not (math.isfinite(mpp) and mpp > 0):
            raise SlideError(f"pixels of {mpp} um were asked of slide {self._info.slide_id!r}, expected more than 0")
        return float(mpp)

    def _grid(self, reader: SoundReader, mpp: float) -> tuple[Size, Source]:
        """Return the slide's size at a pixel size and the source of its pixels, computed once."""
        grid_and_source = self._grids.get(mpp)
        if grid_and_source is None:
            source = choose_source(self._info.levels, reader.description.scales, self._info.mpp, mpp)
            grid_and_source = self._grids[mpp] = (self.size(mpp), source)
        return grid_and_source

    def _open(self) -> SoundReader:
        with self._opening:
            if self._is_closed:
                raise SlideError(
                    f"slide {self._info.slide_id!r} is closed; keep it open until what reads from it has ended"
                )
            if self._reader is None:
                self._reader = SoundReader(self._reopen(), self._reopen, self._bad)
            return self._reader

    def _reopen(self) -> SlideReader:
        z = self._info.z if self._info.n_z > 1 else None
        reader = open_reader(Path(self._info.path), self._info.reader, z, self._info.window)[1]
        if self._info.is_icc_applied:
            reader = IccReader(reader, self._info.slide_id)
        if reader.description.levels != self._info.levels:
            reader.close()
            raise UnreadableSlide(f"slide {self._info.path!r} has changed since it was described; read it anew")
        return reader


def read(
    path: str | Path,
    *,
    mpp: float | None = None,
    slide_id: str | None = None,
    reader: str | None = None,
    max_bad_tile_fraction: float = MAX_BAD_TILE_FRACTION,
    icc: Literal["ignore", "apply"] = "ignore",
    z: int | None = None,
    window: tuple[int, int] | None = None,
    max_mpx: float = 0.0,
) -> Slide:
    """Open a slide.

    Parameters
    ----------
    path : str or Path
        Slide file, an OME-Zarr folder, or a folder that holds one DICOM series.
    mpp : float, optional
        Level-0 pixel size in um/px; wins over what the file states, and a difference over 1 % becomes a warning.
    slide_id : str, optional
        Name of the slide in outputs; the file's name without suffix where left out.
    reader : str, optional
        Reader plugin to use; the first that knows the file where left out.
    max_bad_tile_fraction : float, optional
        Fraction of a level's tiles that may fail to decode, 0 to 1. These are white and reported; more is an error.
    icc : {"ignore", "apply"}
        Whether pixels are converted to sRGB by the file's ICC profile, where it has one.
    z : int, optional
        Focal plane to read, from 1; the middle one where left out.
    window : tuple of int, optional
        Levels of a file of 16-bit RGB that become 0 and 255; such a file is refused where left out.
    max_mpx : float
        Largest number of pixels of level 0, Mpx; 0 is unlimited.

    Returns
    -------
    Slide
        Open; a context manager closes it.

    Raises
    ------
    UnreadableSlide
        If there is no such file or no reader opens it; a `TruncatedSlide` if it ends before the data that it indexes.
    MissingMpp
        If neither the file nor `mpp` gives a pixel size from 0.05 to 20 um.
    SlideError
        If `slide_id` cannot name a directory.
    TooLarge
        If it has more pixels than `max_mpx`.
    PluginError
        If `reader` is unknown or does not load.

    Notes
    -----
    The whole file is read once for its digest.
    """
    named = Path(path)
    name = default_slide_id(named) if slide_id is None else slide_id
    if name in ("", ".", "..") or any(sign in name for sign in "/\\\0"):
        raise SlideError(f"slide id {name!r} cannot name a directory; give letters, digits, '-', '_' and '.'")
    path = files.locate(named)
    reader_name, slide_reader = open_reader(path, reader, z, window)
    try:
        description = slide_reader.description
        check_area(named, description, max_mpx)
        is_icc_applied = icc == "apply" and description.icc is not None
        if is_icc_applied:
            slide_reader = IccReader(slide_reader, str(named))
        settled, source, warnings = pixel_size.settle_mpp(str(named), description, mpp)
        info = SlideInfo(
            slide_id=name,
            path=os.path.abspath(path),  # noqa: PTH100 - a link keeps its own name, and with it its DICOM neighbours
            sha256=files.slide_digest(path),
            vendor=description.vendor,
            reader=reader_name,
            mpp=settled,
            mpp_source=source,
            file_mpp=description.mpp,
            levels=description.levels,
            associated=description.associated,
            warnings=description.warnings + warnings,
            origin=(0, 0) if description.bounds is None else (description.bounds.x0, description.bounds.y0),
            plane=description.plane,
            z=description.z,
            n_z=description.n_z,
            window=description.window,
            icc=profile_name(description.icc),
            is_icc_applied=is_icc_applied,
        )
    except WsigraphError:
        slide_reader.close()
        raise
    return Slide(info, slide_reader, max_bad_tile_fraction=max_bad_tile_fraction)


def _read_part(reader: SoundReader, source: Source, part: Box) -> NDArray[np.uint8]:
    window = source.window(part)
    return area_average(reader.read_level(source.level, window, source.scale), window, part, source)


def _parts(box: Box, source: Source) -> Iterator[Box]:
    """Yield the boxes into which a box is cut, so that each covers a bounded part of the source."""
    side = source.part_px
    if box.height * box.width <= side * side:
        yield box
        return
    for part in grid(box.size, side):
        yield Box(y0=part.y0 + box.y0, x0=part.x0 + box.x0, y1=part.y1 + box.y0, x1=part.x1 + box.x0)


_attached: LRUCache[tuple[Any, ...], Slide] = LRUCache(_MAX_ATTACHED)
_attaching = threading.Lock()


def _attach(info: SlideInfo, max_bad_tile_fraction: float) -> Slide:
    """Return the process's own slide for a description that arrived from elsewhere.

    A worker gets the slide anew with every task; opening it each time would parse its index each time.
    """
    name = (info.path, info.sha256, info.reader, info.slide_id)
    key = (*name, info.mpp, info.mpp_source, info.is_icc_applied, info.z, info.window, max_bad_tile_fraction)
    with _attaching:
        slide = _attached.get(key)
        if slide is None or slide._is_closed:
            slide = _attached[key] = Slide(info, max_bad_tile_fraction=max_bad_tile_fraction)
        return slide
