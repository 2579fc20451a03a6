"""The scanned area of a slide, and the origin of its coordinates.

MIRAX, Leica SCN, Ventana and Trestle files place the scanned areas on a large plane that is mostly empty. OpenSlide
states the rectangle that holds all of them as ``openslide.bounds-*``. A slide here is that rectangle: it is what is
searched for tissue and measured, and its corner is pixel (0, 0). QuPath shows the same rectangle, so that outlines in
these coordinates lie where they belong. Viewers that show the whole plane (ImageScope, ASAP) need ``plane``
coordinates, which differ by `SlideInfo.origin`.

At levels below the first the corner of the rectangle may lie between two pixels. The level then begins at the nearest
whole pixel, because OpenSlide would blur it otherwise: position is right within half a pixel of the level that is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsigraph.geometry import Box, Origin, Size
from wsigraph.records import Level, SlideInfo
from wsigraph.slide.description import make_levels

_SIDES = ("x", "y", "width", "height")


def parse_bounds(properties: Mapping[str, str], plane: Size) -> tuple[Box | None, tuple[str, ...]]:
    """Return the scanned area that OpenSlide states.

    Parameters
    ----------
    properties : mapping of str to str
        OpenSlide's properties.
    plane : Size
        Level 0 of the whole plane.

    Returns
    -------
    bounds : Box or None
        Level-0 pixels of the plane; None where the file states none, or it is the whole plane.
    warnings : tuple of str
        That the file states an area that does not lie on its plane; the plane is used then.
    """
    stated = [properties.get(f"openslide.bounds-{side}") for side in _SIDES]
    if any(text is None for text in stated):
        return None, ()
    try:
        x, y, width, height = (int(text or "") for text in stated)
    except ValueError:
        x = y = width = height = -1
    bounds = Box(y0=y, x0=x, y1=y + height, x1=x + width)
    if min(x, y) < 0 or bounds.is_empty or bounds != bounds.clip(plane):
        text = ", ".join(f"{side} {value}" for side, value in zip(_SIDES, stated, strict=True))
        return None, (f"the file's scanned area ({text}) is not on its plane; the whole plane is used",)
    return (None if bounds == Box.whole(plane) else bounds), ()


def crop_levels(
    plane: Sequence[tuple[Size, Size]], bounds: Box
) -> tuple[tuple[Level, ...], tuple[tuple[int, int], ...]]:
    """Return the levels of the scanned area.

    Parameters
    ----------
    plane : sequence of (Size, Size)
        Pixels and tile of each level of the plane, the finest first.
    bounds : Box
        The area, level-0 pixels of the plane.

    Returns
    -------
    levels : tuple of Level
        Those of the area, with the downsamples of the plane.
    corners : tuple of (int, int)
        Where each level begins on its plane, (y, x) in its pixels.
    """
    levels, corners = [], []
    for level in make_levels(plane):
        y, x = (min(round(side / level.downsample), limit - 1) for side, limit in (
            (bounds.y0, level.size.height), (bounds.x0, level.size.width),
        ))  # fmt: skip
        height, width = (-(-side // level.downsample) for side in (bounds.height, bounds.width))
        size = Size(min(int(height), level.size.height - y), min(int(width), level.size.width - x))
        levels.append(Level(size=size, downsample=level.downsample, tile=level.tile))
        corners.append((y, x))
    return tuple(levels), tuple(corners)


def offset_px(info: SlideInfo, origin: Origin) -> tuple[int, int]:
    """Return what to add to a slide's level-0 pixels, (x, y), for coordinates with that origin."""
    return info.origin if origin == "plane" else (0, 0)


def describe_origin(info: SlideInfo, origin: Origin) -> dict[str, Any]:
    """Return the origin of coordinates as JSON values, for the provenance of a file.

    Parameters
    ----------
    info : SlideInfo
        The slide.
    origin : {"bounds", "plane"}
        Whether coordinates count from the corner of the scanned area or of the whole plane.

    Returns
    -------
    dict
        coordinates, the corner they count from (``bounds`` or ``plane``), and bounds_on_plane_px, (x, y) of the scanned
        area on the plane in level-0 pixels; (0, 0) where both are the same.
    """
    return {"coordinates": origin, "bounds_on_plane_px": list(info.origin)}
