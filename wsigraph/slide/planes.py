"""Colour planes that a TIFF stores apart: three 8-bit channels of an OME-TIFF, or planar RGB.

raw2ometiff, Bio-Formats and many pipelines write red, green and blue as three channels of one sample each. They are a
picture if there are three of 8 bits. Names that say which is which are followed; other names are kept, so that a
fluorescence image is recognised by them (`wsigraph.graph.tissue.suitability`).

Pages are taken by their number in this file alone. The OME-XML may say that a plane is in another file; such a slide is
refused, because a file that is read must not decide which others are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPage

from wsigraph.slide import tiff_index
from wsigraph.slide.ome_xml import OmePlanes, parse_planes

_COLOURS = ("red", "green", "blue")
_BLACK_IS_ZERO, _RGB = 1, 2


def are_apart(page: TiffPage) -> bool:
    """Return whether a page stores its samples in one plane after the other."""
    return bool(page.samplesperpixel > 1 and int(page.planarconfig) != 1)


def is_picture(tif: TiffFile) -> bool:
    """Return whether a tiled file holds red, green and blue of 8 bits apart, in planes of this file."""
    first = tiff_index.pyramid_pages(tif)[0]
    if first.dtype != np.uint8 or not first.is_tiled or not tif.ome_metadata:
        return False  # OpenSlide reads other planar files, and loses only an OME-TIFF's pixel size
    if are_apart(first):
        return bool(first.samplesperpixel == 3 and int(first.photometric) == _RGB)
    if first.samplesperpixel != 1 or int(first.photometric) != _BLACK_IS_ZERO:
        return False
    return _n_channels(tif) == 3 and not fault(tif)


def fault(tif: TiffFile) -> str:
    """Return why the planes of an OME-TIFF are no picture; empty where they are, or the file has one page a plane."""
    if not tif.ome_metadata:
        return ""
    try:
        planes = _parse(tif)
        pages = planes.pages()
    except ValueError as error:
        return str(error)
    n_channels = len(planes.channels) or planes.n_c
    other = planes.other_file
    if other and n_channels > 1 and Path(other).name != Path(tif.filehandle.path).name:
        return f"its OME-XML places planes in the file {other!r}, and no other file is opened"
    if n_channels not in (1, 3):
        return f"it holds {n_channels} channels apart"
    if n_channels * planes.n_z > 1 and max(pages.values()) >= len(tif.pages):
        return f"its OME-XML places a plane on page {max(pages.values())}, and it has {len(tif.pages)}"
    return ""


def n_focal_planes(tif: TiffFile) -> int:
    """Return how many focal planes a tiled OME-TIFF holds; 1 for all others."""
    if not tif.ome_metadata or fault(tif):
        return 1
    return _parse(tif).n_z


def focal_plane(tif: TiffFile, z: int) -> list[TiffPage]:
    """Return the pyramid of one focal plane, `z` from 0, of a file whose pages hold all colours."""
    return tiff_index.plane_pages(tif, _parse(tif).pages()[0, z, 0])


def channel_names(tif: TiffFile) -> tuple[str, ...]:
    """Return the names of channels that are stored apart; empty where the file names none."""
    if not is_picture(tif) or not tif.ome_metadata:
        return ()
    names = [name for name, _ in _parse(tif).channels]
    return tuple(name for name in names if name)


def colour_planes(tif: TiffFile, z: int) -> list[tuple[TiffPage, ...]]:
    """Return red, green and blue of every level of focal plane `z`, from 0; the same page where it holds all.

    Raises
    ------
    ValueError
        If the planes differ in size.
    """
    first = tiff_index.pyramid_pages(tif)[0]
    if are_apart(first):
        pyramid = focal_plane(tif, z) if n_focal_planes(tif) > 1 else tiff_index.pyramid_pages(tif)
        return [(page,) * 3 for page in pyramid if are_apart(page)]
    planes = _parse(tif)
    pages = planes.pages()
    order = _order([name for name, _ in planes.channels])
    columns = [tiff_index.plane_pages(tif, pages[channel, z, 0]) for channel in order]
    sizes = [[(page.imagelength, page.imagewidth) for page in column] for column in columns]
    n_levels = min(len(column) for column in columns)
    if any(size[:n_levels] != sizes[0][:n_levels] for size in sizes):
        raise ValueError("its colour planes differ in size")
    return [tuple(column[level] for column in columns) for level in range(n_levels)]


def _order(names: list[str]) -> list[int]:
    """Return which channel is red, green and blue: by name where all three are named so, else as they are stored."""
    lower = [name.strip().lower() for name in names]
    return [lower.index(colour) for colour in _COLOURS] if sorted(lower) == sorted(_COLOURS) else [0, 1, 2]


def _n_channels(tif: TiffFile) -> int:
    try:
        planes = _parse(tif)
    except ValueError:
        return 0
    return len(planes.channels) or planes.n_c


def _parse(tif: TiffFile) -> OmePlanes:
    return parse_planes(tif.ome_metadata or "")
