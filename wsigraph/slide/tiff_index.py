"""The index of a TIFF: whether it is whole, which of its pages make the pyramid, what pixel size it states.

A TIFF that was cut short often still opens, because its index may be at the front, and then gives grey tiles late in
the work. Every directory, and every tile or strip that a directory names, must therefore end inside the file.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import PHOTOMETRIC, TiffFile, TiffFrame, TiffPage

from wsigraph.errors import TruncatedSlide, UnreadableSlide
from wsigraph.slide import mpp
from wsigraph.slide.mpp import StatedMpp

TILED_VENDORS = ("aperio", "ome", "generic-tiff")
"""Vendors whose tiles lie edge to edge in plain TIFF pages."""
MALFORMED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
)
"""What parsing or decoding a damaged file may raise."""

_HEADERS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIG_TIFF, _ICC_TAG = 43, 34675
_ENTRY_BYTES = {False: 12, True: 20}

# faults are raised as errors; the log of the library would print them a second time
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def is_tiff(path: Path) -> bool:
    """Return whether a file begins like a TIFF or BigTIFF.

    Parameters
    ----------
    path : Path
        File to look into.

    Returns
    -------
    bool
        False for a file that cannot be read, too.
    """
    try:
        with path.open("rb") as handle:
            return handle.read(4) in _HEADERS
    except OSError:
        return False


def open_index(path: Path) -> TiffFile:
    """Open a TIFF whose directories all lie inside the file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    TiffFile
        Open; the caller closes it.

    Raises
    ------
    TruncatedSlide
        If a directory lies beyond the end of the file.
    UnreadableSlide
        If the index is damaged or the file cannot be read.
    """
    try:
        _check_directories(path)
        return TiffFile(path)
    except MALFORMED as error:
        raise UnreadableSlide(f"slide {str(path)!r} has a damaged TIFF index ({first_line(error)})") from None


def vendor_of(tif: TiffFile) -> str:
    """Return the vendor of a TIFF, one of `TILED_VENDORS` or the name of a dialect."""
    dialects = {
        "hamamatsu": tif.is_ndpi,
        "ventana": tif.is_bif,
        "leica": tif.is_scn,
        "philips": tif.is_philips,
        "aperio": tif.is_svs,
        "ome": tif.is_ome,
    }
    return next((name for name, is_it in dialects.items() if is_it), "generic-tiff")


def check_extents(path: Path, tif: TiffFile) -> None:
    """Check that every tile and strip ends inside the file.

    Parameters
    ----------
    path : Path
        Name in messages.
    tif : TiffFile
        Its index.

    Raises
    ------
    TruncatedSlide
        If one ends beyond it.
    """
    size = tif.filehandle.size
    for number, page in enumerate(all_pages(tif)):
        offsets, counts = extents(page)
        stop = int((offsets + counts)[counts > 0].max(initial=0))
        if stop > size:
            raise TruncatedSlide(
                f"slide {str(path)!r} is cut short: page {number} names data up to byte {stop}, the file ends at "
                f"{size}; copy it again from its source"
            )


def extents(page: TiffPage) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Return where a page's tiles or strips lie: offsets and lengths in bytes, int64 (n,); length 0 where missing."""
    n = min(len(page.dataoffsets), len(page.databytecounts))
    offsets = np.asarray(page.dataoffsets[:n], dtype=np.int64)
    counts = np.asarray(page.databytecounts[:n], dtype=np.int64)
    return offsets, np.where(offsets > 0, counts, 0)


def all_pages(tif: TiffFile) -> Iterator[TiffPage]:
    """Yield every page with the pages below it."""
    for page in tif.pages:
        full = _full(page)
        yield full
        yield from (_full(sub) for sub in full.pages or ())


def is_deep_rgb(page: TiffPage) -> bool:
    """Return whether a page holds red, green and blue of 16 bits side by side."""
    is_rgb = int(page.photometric) == PHOTOMETRIC.RGB and page.samplesperpixel in (3, 4) and int(page.planarconfig) == 1
    return bool(page.dtype == np.uint16 and page.bitspersample == 16 and is_rgb)


def pyramid_pages(tif: TiffFile) -> list[TiffPage]:
    """Return the pages of the pyramid that begins with the first page, from the finest to the coarsest.

    Parameters
    ----------
    tif : TiffFile
        Index of a file whose first page is tiled.

    Returns
    -------
    list of TiffPage
        The first page, and each smaller tiled page of the same samples and shape of field: its sub-pages where it
        has any, else the pages after it. Label and macro images have another shape.
    """
    first = _full(tif.pages.first)
    below = list(first.pages or ()) or list(tif.pages)[1:]
    chosen = [first]
    for page in sorted((_full(page) for page in below), key=lambda page: -page.imagewidth):
        if page.is_tiled and page.imagewidth < chosen[-1].imagewidth and _is_reduction(first, page):
            chosen.append(page)
    return chosen


def plane_pages(tif: TiffFile, number: int) -> list[TiffPage]:
    """Return the pyramid of one page of several: the page, and each smaller tiled page below it."""
    first = _full(tif.pages[number])
    chosen = [first]
    for page in sorted((_full(page) for page in first.pages or ()), key=lambda page: -page.imagewidth):
        if page.is_tiled and page.imagewidth < chosen[-1].imagewidth and _is_reduction(first, page):
            chosen.append(page)
    return chosen


def stated_mpp(tif: TiffFile, vendor: str) -> StatedMpp | None:
    """Return the pixel size that a TIFF states, or None.

    Parameters
    ----------
    tif : TiffFile
        Index.
    vendor : str
        From `vendor_of`. Aperio files state it in their description alone: their resolution tags are not real.

    Returns
    -------
    StatedMpp or None
        um/px of the first page.
    """
    page = _full(tif.pages.first)
    if vendor == "aperio":
        return mpp.from_aperio(page.description)
    stated = mpp.from_ome(tif.ome_metadata or "") if vendor == "ome" else None
    if stated is not None or not {"XResolution", "YResolution"} <= {tag.name for tag in page.tags}:
        return stated
    x, y = page.resolution
    return mpp.from_resolution(float(x), float(y), int(page.resolutionunit))


def icc_profile(tif: TiffFile) -> bytes | None:
    """Return the ICC colour profile of the first page, or None."""
    tag = _full(tif.pages.first).tags.get(_ICC_TAG)
    return bytes(tag.value) if tag is not None and isinstance(tag.value, bytes) else None


def colours_of(page: TiffPage) -> str:
    """Return the colour space of a page's samples, e.g. ``"RGB"``."""
    try:
        return PHOTOMETRIC(page.photometric).name
    except ValueError:
        return f"photometric {page.photometric}"


def first_line(error: BaseException) -> str:
    """Return an error's message on one line, or its class if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _full(page: TiffPage | TiffFrame) -> TiffPage:
    return page if isinstance(page, TiffPage) else page.aspage()


def _is_reduction(first: TiffPage, page: TiffPage) -> bool:
    """Return whether a page shows the same field smaller, each side rounded by at most a pixel."""
    skew = abs(first.imagelength * page.imagewidth - first.imagewidth * page.imagelength)
    same_samples = (page.samplesperpixel, page.bitspersample) == (first.samplesperpixel, first.bitspersample)
    return same_samples and skew <= first.imagewidth + first.imagelength


def _check_directories(path: Path) -> None:
    """Follow the chain of directories; the TIFF library stops without an error at the first that is out of reach."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        header = handle.read(16)
        order = "<" if header[:2] == b"II" else ">"
        is_big = struct.unpack_from(f"{order}H", header, 2)[0] == _BIG_TIFF
        if path.suffix.lower() == ".ndpi":
            return  # that dialect has 64-bit links in a 32-bit file
        count, link = (f"{order}Q", f"{order}Q") if is_big else (f"{order}H", f"{order}I")
        offset = struct.unpack_from(link, header, 8 if is_big else 4)[0]
        visited: set[int] = set()
        while offset:
            if offset in visited:
                raise ValueError("its directories form a circle")
            visited.add(offset)
            handle.seek(offset)
            n = handle.read(struct.calcsize(count))
            n_entries = struct.unpack(count, n)[0] if len(n) == struct.calcsize(count) else 0
            stop = offset + struct.calcsize(count) + n_entries * _ENTRY_BYTES[is_big] + struct.calcsize(link)
            if stop > size:
                raise TruncatedSlide(
                    f"slide {str(path)!r} is cut short: its index names byte {stop}, the file ends at {size}; "
                    "copy it again from its source"
                )
            handle.seek(stop - struct.calcsize(link))
            offset = struct.unpack(link, handle.read(struct.calcsize(link)))[0]
