"""Tiled TIFF, Aperio SVS and OME-TIFF, tile by tile as the file holds them.

tifffile reads the index once. Tiles are then read by position and decoded outside any lock, several at a time.
OpenSlide reads files whose tiles overlap or whose levels need a vendor's metadata to be placed (Ventana, Leica,
Philips, Hamamatsu), and codecs without a decoder here.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, TiffPage

from wsigraph.errors import CorruptTile, TruncatedSlide, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide import colour_tag, jpeg, objective, planes, tiff_index
from wsigraph.slide.colour import Window, apply_window, to_rgb
from wsigraph.slide.description import HOW_TO_CONVERT, HOW_TO_WINDOW, FileDescription, choose_z, make_levels
from wsigraph.slide.resample import shrink
from wsigraph.slide.series import SeriesRule
from wsigraph.slide.tile_grid import TileCache, assemble

_JPEG = 7
_CODECS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 33005: "JPEG 2000", 34712: "JPEG 2000"}
_CODECS |= {50000: "Zstandard", 50001: "WebP"}
_YCBCR, _RGB, _WHITE_IS_ZERO, _BLACK_IS_ZERO = 6, 2, 0, 1
_UNSPECIFIED, _ASSOCIATED_ALPHA = 0, 1
_TILE_PX_MAX = 2**26
_COLOUR_TILES = 4
_FULL_WINDOW = (0, 65535)
_DEEP = "samples of uint16, RGB of 16 bits"
_MACRO_NAMES = ("label", "macro")


@dataclass(frozen=True, slots=True)
class _Page:
    """What is needed to decode one level; int64 (n,) offsets and byte counts."""

    number: int
    size: Size
    tile: Size
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    tables: bytes | None
    is_jpeg: bool
    n_samples: int
    photometric: int
    decode: Any
    window: Window | None = None  # of 16-bit samples
    planes: tuple[_Page, ...] = ()  # red, green and blue where they are stored apart

    @property
    def n_columns(self) -> int:
        """Tiles a row."""
        return -(-self.size.width // self.tile.width)

    @property
    def scales(self) -> tuple[int, ...]:
        """Factors by which tiles shrink to whole pixels while they are decoded."""
        if not self.is_jpeg:
            return (1,)
        return tuple(s for s in jpeg.SCALES if self.tile.height % s == 0 and self.tile.width % s == 0)


class TiledTiffReader:
    """A TIFF of tiles.

    Parameters
    ----------
    path : Path
        The file.
    z : int, optional
        Focal plane of an OME-TIFF, from 1; the middle one where left out.
    window : tuple of int, optional
        Levels of 16-bit RGB that become 0 and 255; such a file is refused where left out.

    Raises
    ------
    TruncatedSlide
        If the file ends before the data that it indexes.
    UnreadableSlide
        If it has no such focal plane, the index is damaged, or the file is no pyramid of 8-bit grey or RGB tiles in a
        known codec.
    """

    suffixes: ClassVar[frozenset[str]] = frozenset({".qptiff", ".svs", ".tif", ".tiff"})
    series: ClassVar[tuple[SeriesRule, ...]] = ()
    takes_z: ClassVar[bool] = True
    takes_window: ClassVar[bool] = True

    def __init__(self, path: Path, z: int | None = None, window: Window | None = None) -> None:
        self._path = path
        tif = tiff_index.open_index(path)
        try:
            with tif:
                tiff_index.check_extents(path, tif)
                _check(path, tif, window)
                window = window if tiff_index.is_deep_rgb(tiff_index.pyramid_pages(tif)[0]) else None
                vendor = tiff_index.vendor_of(tif)
                n_z = planes.n_focal_planes(tif)
                z = choose_z(path, z, n_z)
                self._pages = [replace(page, window=window) for page in _read_pages(tif, z - 1, n_z)]
                stated = tiff_index.stated_mpp(tif, vendor)
                channels, icc = planes.channel_names(tif), tiff_index.icc_profile(tif)
                power = objective.power_in(tif.pages.first.description) if vendor == "aperio" else None
                associated = _associated_names(list(tiff_index.all_pages(tif))) if vendor == "aperio" else ()
        except tiff_index.MALFORMED as error:
            reason = tiff_index.first_line(error)
            raise UnreadableSlide(f"slide {str(path)!r} has a damaged TIFF index ({reason})") from None
        self._file = _Descriptor(path)
        self._cache = TileCache()
        warnings = self._follow_streams()
        self.description = FileDescription(
            vendor=vendor,
            levels=make_levels((page.size, page.tile) for page in self._pages),
            scales=tuple(page.scales for page in self._pages),
            mpp=stated.x if stated else None,
            mpp_y=stated.y if stated else None,
            mpp_source=stated.source if stated else None,
            objective_power=power,
            associated=associated,
            channels=channels,
            z=z,
            n_z=n_z,
            window=window,
            icc=icc,
            warnings=warnings,
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether a file is a tiled TIFF of a plain dialect and codec, or a TIFF too damaged to tell."""
        if not tiff_index.is_tiff(path):
            return False
        try:
            with tiff_index.open_index(path) as tif:
                return bool(_content_faults(tif)) or not _foreign_traits(tif)
        except (UnreadableSlide, *tiff_index.MALFORMED):
            return True

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of a level, shrunk by `scale` while they are decoded.

        Parameters
        ----------
        level : int
            Index into ``description.levels``.
        box : Box
            Pixels of the shrunken level; white outside it and where the file holds no tile.
        scale : int
            One of ``description.scales[level]``. Tiles that cross the level's edge are decoded whole and averaged,
            because their padding would otherwise bleed into the last pixels.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        CorruptTile
            If a tile does not decode.
        UnreadableSlide
            If the file cannot be read; a `TruncatedSlide` if it has since been cut.
        """
        page = self._pages[level]
        size = Size(-(-page.size.height // scale), -(-page.size.width // scale))
        tile = Size(page.tile.height // scale, page.tile.width // scale)
        return assemble(
            box, size, tile, lambda row, column: self._tile(page, row, column, scale), self._cache, (level, scale)
        )

    def close(self) -> None:
        """Close the file; nothing may be reading from it."""
        self._file.close()
        self._cache.clear()

    def _follow_streams(self) -> tuple[str, ...]:
        """Decode as the streams are where they contradict the tag of their colours; return a warning if so."""
        page = self._pages[-1]  # the coarsest, where glass is most likely in a few tiles
        tags = {level.photometric for level in self._pages}
        if (
            page.planes
            or page.n_samples != 3
            or tags not in ({_RGB}, {_YCBCR})
            or not all(level.is_jpeg for level in self._pages)
        ):
            return ()
        stored = np.flatnonzero(page.counts)
        chosen = stored[np.linspace(0, len(stored) - 1, min(len(stored), _COLOUR_TILES)).astype(np.int64)]
        streams = [(self._file.read(int(page.offsets[i]), int(page.counts[i])), page.tables) for i in chosen]
        try:
            reason = colour_tag.find_contradiction(streams, page.tile, is_ycbcr=page.photometric == _YCBCR)
        except tiff_index.MALFORMED:
            return ()  # a tile that does not decode is reported where it is read
        if not reason:
            return ()
        other = _RGB if page.photometric == _YCBCR else _YCBCR
        self._pages = [replace(level, photometric=other) for level in self._pages]
        return (f"its colours contradict their tag: {reason}; they are read as the streams hold them",)

    def _tile(self, page: _Page, row: int, column: int, scale: int) -> NDArray[np.uint8] | None:
        if page.planes:
            colours = [self._tile(plane, row, column, scale) for plane in page.planes]
            if any(colour is None for colour in colours):
                return None
            return np.stack([colour[..., 0] for colour in colours if colour is not None], axis=-1)
        index = row * page.n_columns + column
        if index >= len(page.counts) or page.counts[index] == 0:
            return None
        stream = self._file.read(int(page.offsets[index]), int(page.counts[index]))
        height = min(page.tile.height, page.size.height - row * page.tile.height)
        width = min(page.tile.width, page.size.width - column * page.tile.width)
        try:
            if (height, width) == (page.tile.height, page.tile.width):
                return _cut(_decode(page, index, stream, scale), height // scale, width // scale)
            return shrink(_cut(_decode(page, index, stream, 1), height, width), scale)
        except tiff_index.MALFORMED as error:
            raise CorruptTile(
                f"slide {str(self._path)!r}: tile {index} of level {page.number} does not decode "
                f"({tiff_index.first_line(error)}); copy the slide again from its source"
            ) from error


class _Descriptor:
    """Reads by position (pread), so that threads do not wait for each other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._handle = path.open("rb", buffering=0)
        except OSError as error:
            raise UnreadableSlide(f"slide {str(path)!r} cannot be read: {error.strerror}; check its rights") from None
        self.close = weakref.finalize(self, self._handle.close)

    def read(self, offset: int, n_bytes: int) -> bytes:
        """Return `n_bytes` bytes from `offset`."""
        try:
            data = self._read(offset, n_bytes)
        except OSError as error:
            raise UnreadableSlide(f"slide {str(self._path)!r} cannot be read: {error.strerror}; try again") from None
        if len(data) != n_bytes:
            raise TruncatedSlide(
                f"slide {str(self._path)!r} was cut while it was open: byte {offset + n_bytes} is missing; copy it "
                "again from its source"
            )
        return data

    def _read(self, offset: int, n_bytes: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._handle.fileno(), n_bytes, offset)
        with self._lock:
            self._handle.seek(offset)
            return self._handle.read(n_bytes)


def _check(path: Path, tif: TiffFile, window: Window | None) -> None:
    """Raise UnreadableSlide where the file is nothing that this reader decodes exactly."""
    content = _content_faults(tif, window)
    if content and window is None and not _content_faults(tif, _FULL_WINDOW):
        raise UnreadableSlide(f"slide {str(path)!r} holds {_DEEP}; {HOW_TO_WINDOW}; or {HOW_TO_CONVERT}")
    faults = content or _foreign_traits(tif)
    if faults:
        raise UnreadableSlide(
            f"slide {str(path)!r} is no tiled TIFF that can be read: {'; '.join(faults)}; expected 8-bit grey or RGB "
            f"tiles; {HOW_TO_CONVERT}"
        )


def _foreign_traits(tif: TiffFile) -> list[str]:
    """Return the properties of a file for which another reader is needed."""
    pages = tiff_index.pyramid_pages(tif)
    first, vendor = pages[0], tiff_index.vendor_of(tif)
    codecs = sorted({int(page.compression) for page in pages} - set(_CODECS))
    is_jpeg = int(first.compression) == _JPEG
    traits = {
        f"it is of the dialect {vendor}": vendor not in tiff_index.TILED_VENDORS,
        "its pixels lie in strips, not tiles": not first.is_tiled,
        "its colour planes are stored apart": not planes.is_picture(tif) and planes.are_apart(first),
        f"its codec has number {codecs}": bool(codecs),
        "it is YCbCr without being JPEG": int(first.photometric) == _YCBCR and not is_jpeg,
        "its fourth sample is stored in JPEG": first.samplesperpixel == 4 and is_jpeg,
        "its transparency is multiplied into the colours": tuple(first.extrasamples) == (_ASSOCIATED_ALPHA,),
    }
    return [text for text, is_true in traits.items() if is_true]


def _content_faults(tif: TiffFile, window: Window | None = None) -> list[str]:
    """Return why a tiled file of a plain dialect holds no picture in RGB or grey, for any reader."""
    pages = tiff_index.pyramid_pages(tif)
    first = pages[0]
    if not first.is_tiled or tiff_index.vendor_of(tif) not in tiff_index.TILED_VENDORS:
        return []
    photometrics = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR)
    tile_px = [_tile_size(page).area for page in pages]
    is_windowed = window is not None and all(tiff_index.is_deep_rgb(page) for page in pages)
    faults = {
        "it holds no pixel": min(*(page.imagewidth * page.imagelength for page in pages), *tile_px) < 1,
        f"it holds samples of {first.dtype}": (first.dtype != np.uint8 or first.bitspersample != 8) and not is_windowed,
        f"it holds {first.samplesperpixel} samples a pixel": first.samplesperpixel not in (1, 3, 4),
        planes.fault(tif): bool(planes.fault(tif)),
        "it is a volume": first.imagedepth > 1,
        f"its colours are {tiff_index.colours_of(first)}": int(first.photometric) not in photometrics,
        "its tiles are too large": max(tile_px) > _TILE_PX_MAX,
    }
    return [text for text, is_fault in faults.items() if is_fault]


def _read_page(number: int, page: TiffPage) -> _Page:
    offsets, counts = tiff_index.extents(page)
    page.init_decode()
    return _Page(
        number=number,
        size=Size(page.imagelength, page.imagewidth),
        tile=_tile_size(page),
        offsets=offsets,
        counts=counts,
        tables=page.jpegtables,
        is_jpeg=int(page.compression) == _JPEG,
        n_samples=3 if tuple(page.extrasamples) == (_UNSPECIFIED,) else page.samplesperpixel,
        photometric=int(page.photometric),
        decode=page.decode,
    )


def _read_pages(tif: TiffFile, z: int, n_z: int) -> list[_Page]:
    """Return the levels of a focal plane, from 0, each with its colour planes where they are stored apart."""
    if not planes.is_picture(tif):
        pyramid = planes.focal_plane(tif, z) if n_z > 1 else tiff_index.pyramid_pages(tif)
        return [_read_page(number, page) for number, page in enumerate(pyramid)]
    levels = []
    for number, colours in enumerate(planes.colour_planes(tif, z)):
        parts = []
        for colour, page in enumerate(colours):
            part = _read_page(number, page)
            if planes.are_apart(page):  # one directory with the tiles of one plane after those of the other
                n_tiles = len(part.offsets) // len(colours)
                own = slice(colour * n_tiles, (colour + 1) * n_tiles)
                part = replace(part, offsets=part.offsets[own], counts=part.counts[own], n_samples=1)
            parts.append(part)
        levels.append(replace(parts[0], planes=tuple(parts)))
    return levels


def _tile_size(page: TiffPage) -> Size:
    return Size(page.tilelength, page.tilewidth)


def _decode(page: _Page, index: int, stream: bytes, scale: int) -> NDArray[np.uint8]:
    """Return a tile as RGB, shrunk if it is JPEG; tiles of other codecs come whole."""
    if page.is_jpeg:
        complete = jpeg.complete(stream, page.tables, page.photometric == _YCBCR)
        pixels = jpeg.decode(complete, page.tile, scale)
    else:
        decoded = page.decode(stream, index)[0][0]  # without the axis of depth
        if page.window is not None and decoded.dtype == np.uint16:
            decoded = apply_window(decoded, page.window)
        if decoded.dtype != np.uint8:
            raise ValueError(f"it holds {decoded.dtype}, expected uint8")
        pixels = to_rgb(decoded[..., : page.n_samples])
    return 255 - pixels if page.photometric == _WHITE_IS_ZERO else pixels


def _cut(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a tile without its padding."""
    if pixels.shape[0] < height or pixels.shape[1] < width:
        raise ValueError(f"it holds {pixels.shape[1]} x {pixels.shape[0]} pixels, expected {width} x {height}")
    return pixels[:height, :width]


def _associated_names(pages: list[TiffPage]) -> tuple[str, ...]:
    """Return the names of an Aperio file's pages in strips: the second is the thumbnail, others name themselves."""
    names = set()
    for number, page in enumerate(pages):
        words = page.description.partition("\n")[2].split()
        if page.is_tiled:
            continue
        if words and words[0] in _MACRO_NAMES:
            names.add(words[0])
        elif number == 1:
            names.add("thumbnail")
    return tuple(sorted(names))
