"""Sizes, boxes and the one place where micrometres become pixels.

Points are (x, y), arrays and sizes (y, x), boxes keyword-only, so that a swapped axis is a type error or a visible
name rather than a silent transposition. All ratios between resolutions are exact fractions: a pixel grid that is
computed twice, on two machines, is the same grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

MPP_MIN = 0.05
"""Smallest credible pixel size, um/px: finer than any light microscope resolves."""
MPP_MAX = 20.0
"""Largest credible pixel size, um/px: coarser than any scanner's base level."""
Origin = Literal["bounds", "plane"]
"""What coordinates count from: the corner of the scanned area, as QuPath shows it, or of the file's whole plane."""
RATIO_DENOMINATOR_MAX = 65536
"""Bound on the denominator of a resampling ratio; keeps integer area weights within int64."""


@dataclass(frozen=True, slots=True)
class Size:
    """Height and width of an array in pixels."""

    height: int
    width: int

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open rectangle of pixels, ``[y0, y1) x [x0, x1)``, on a named grid."""

    y0: int
    x0: int
    y1: int
    x1: int

    @classmethod
    def whole(cls, size: Size) -> Box:
        """Return the box that covers an array of `size`."""
        return cls(y0=0, x0=0, y1=size.height, x1=size.width)

    @property
    def height(self) -> int:
        """Rows."""
        return self.y1 - self.y0

    @property
    def width(self) -> int:
        """Columns."""
        return self.x1 - self.x0

    @property
    def size(self) -> Size:
        """Rows and columns."""
        return Size(self.height, self.width)

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no pixel."""
        return self.height <= 0 or self.width <= 0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in its grid's array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grow(self, halo_px: int) -> Box:
        """Return the box widened by `halo_px` pixels on every side."""
        return Box(y0=self.y0 - halo_px, x0=self.x0 - halo_px, y1=self.y1 + halo_px, x1=self.x1 + halo_px)

    def intersect(self, other: Box) -> Box:
        """Return the common part of two boxes; it may be empty."""
        return Box(
            y0=max(self.y0, other.y0), x0=max(self.x0, other.x0), y1=min(self.y1, other.y1), x1=min(self.x1, other.x1)
        )

    def clip(self, size: Size) -> Box:
        """Return the part of the box inside an array of `size`."""
        return self.intersect(Box.whole(size))

    def relative_to(self, other: Box) -> Box:
        """Return the box in the pixel coordinates of `other`'s own array."""
        return Box(y0=self.y0 - other.y0, x0=self.x0 - other.x0, y1=self.y1 - other.y0, x1=self.x1 - other.x0)


def grid(size: Size, chunk_px: int) -> Iterator[Box]:
    """Yield the boxes that partition an array of `size`, in raster order.

    Parameters
    ----------
    size : Size
        The array.
    chunk_px : int
        Side of a chunk in pixels; the last row and column may be smaller.

    Yields
    ------
    Box
        Disjoint boxes whose union is the array.
    """
    for y0 in range(0, size.height, chunk_px):
        for x0 in range(0, size.width, chunk_px):
            yield Box(y0=y0, x0=x0, y1=min(y0 + chunk_px, size.height), x1=min(x0 + chunk_px, size.width))


def ratio(target_mpp: float, source_mpp: float, downsample: Fraction = Fraction(1)) -> Fraction:
    """Return how many source pixels one target pixel spans along an axis, as an exact fraction.

    Parameters
    ----------
    target_mpp : float
        Requested pixel size, um/px.
    source_mpp : float
        Pixel size of level 0, um/px.
    downsample : Fraction
        Level-0 pixels spanned by one pixel of the level that is read.

    Returns
    -------
    Fraction
        ``target / (source * downsample)`` with a denominator of at most 65536. The decimal text of both sizes is
        what counts, so that 1.0 over 0.25 is 4 and not a neighbour of 4.

    Examples
    --------
    >>> ratio(1.0, 0.25)
    Fraction(4, 1)
    >>> ratio(1.0, 0.499)
    Fraction(1000, 499)
    """
    exact = Fraction(repr(float(target_mpp))) / (Fraction(repr(float(source_mpp))) * downsample)
    return exact.limit_denominator(RATIO_DENOMINATOR_MAX)


def resampled_size(size: Size, step: Fraction) -> Size:
    """Return the size of an array of `size` read at `step` source pixels a target pixel, partial pixels included."""
    return Size(max(1, math.ceil(size.height / step)), max(1, math.ceil(size.width / step)))


def um_to_px(length_um: float, mpp: float) -> int:
    """Return a length as whole pixels, at least one."""
    return max(1, round(length_um / mpp))


def um_to_px_exact(length_um: float, mpp: float) -> float:
    """Return a length in pixels, fractions included."""
    return length_um / mpp


def um2_to_px(area_um2: float, mpp: float) -> int:
    """Return an area as whole pixels, at least one."""
    return max(1, round(area_um2 / (mpp * mpp)))


def px_to_um(length_px: float, mpp: float) -> float:
    """Return a length in micrometres."""
    return length_px * mpp


def px_to_um2(area_px: float, mpp: float) -> float:
    """Return an area in square micrometres."""
    return area_px * mpp * mpp


def px_to_mm2(area_px: float, mpp: float) -> float:
    """Return an area in square millimetres."""
    return px_to_um2(area_px, mpp) / 1e6


def crofton_um(straight: Any, diagonal: Any, mpp: float) -> Any:
    """Return the length of a boundary from the pixel pairs that cross it.

    Crofton's formula with lines in four directions: pi/8 x (straight + diagonal / sqrt 2) pixels, whatever the
    boundary's course, and additive over its parts.

    Parameters
    ----------
    straight, diagonal : int or array of int
        Pairs of side-by-side and of diagonal neighbours with different labels.
    mpp : float
        Pixel size, um/px.

    Returns
    -------
    float or array of float
        Length in um.

    References
    ----------
    Serra, "Image Analysis and Mathematical Morphology", 1982.
    """
    return px_to_um(1.0, mpp) * (math.pi / 8) * (straight + diagonal * math.sqrt(0.5))
