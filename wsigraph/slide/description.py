"""What a reader knows of a file before it decodes any pixel.

Values are those that the file states, unchecked. The pixel size may be missing or absurd, so that ``inspect`` can show
what ``read`` refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.records import Level

HOW_TO_CONVERT = (
    "convert the slide to a pyramidal OME-TIFF of 8-bit RGB, with QuPath (File > Export images > OME-TIFF), or with "
    "Bio-Formats: bfconvert -tilex 512 -tiley 512 -pyramid-resolutions 4 -pyramid-scale 4 IN OUT.ome.tiff"
)
"""What to do with a slide that no reader reads as it is."""
HOW_TO_WINDOW = (
    "state which levels become black and white, with --set slide.window=[LOW,HIGH] (Python: read(..., "
    "window=(LOW, HIGH))), such as [0,65535]"
)
"""What to do with 16-bit RGB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescription:
    """What a slide file states of itself.

    Attributes
    ----------
    vendor : str
        Format, e.g. ``"aperio"`` or ``"generic-tiff"``.
    levels : tuple of Level
        From the finest to the coarsest; the first has downsample 1.
    scales : tuple of tuple of int
        For each level, the whole factors by which the reader can shrink while it decodes; each starts with 1.
    mpp : float or None
        Level-0 pixel size along x in um/px as the file states it, unchecked; None where it states none.
    mpp_y : float or None
        The same along y; None where the file states one size alone.
    mpp_source : str or None
        Where `mpp` was found, e.g. ``"aperio.MPP"``.
    objective_power : float or None
        Magnification of the objective as the file states it; pixel sizes do not follow from it.
    associated : tuple of str
        Names of associated images, sorted.
    channels : tuple of str
        Names of the channels taken for red, green and blue; empty where the file names none.
    z, n_z : int
        The focal plane that is read, from 1, and how many the file holds.
    window : tuple of int or None
        The window by which 16-bit samples were read; None for 8 bits.
    icc : bytes or None
        The ICC colour profile; None where the file holds none.
    bounds : Box or None
        The scanned area on the file's plane, level-0 pixels; the levels are those of this area. None where the plane
        is all scanned.
    plane : Size or None
        Pixels of the plane at level 0; None where `bounds` is.
    warnings : tuple of str
        Warnings for the user.
    """

    vendor: str
    levels: tuple[Level, ...]
    scales: tuple[tuple[int, ...], ...]
    mpp: float | None = None
    mpp_y: float | None = None
    mpp_source: str | None = None
    objective_power: float | None = None
    associated: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    z: int = 1
    n_z: int = 1
    window: tuple[int, int] | None = None
    icc: bytes | None = None
    bounds: Box | None = None
    plane: Size | None = None
    warnings: tuple[str, ...] = ()


def level_downsample(finest: Size, size: Size) -> Fraction:
    """Return how many level-0 pixels one pixel of a level spans.

    Parameters
    ----------
    finest, size : Size
        Pixels of level 0 and of the level.

    Returns
    -------
    Fraction
        The nearest whole number where both sides of level 0, divided by it, are within one pixel of the level's
        sides (scanners round); else the exact quotient of the widths.
    """
    quotient = Fraction(finest.width, size.width)
    whole = max(1, round(quotient))
    sides = ((finest.width, size.width), (finest.height, size.height))
    if all(abs(Fraction(long, whole) - short) <= 1 for long, short in sides):
        return Fraction(whole)
    return quotient


def make_levels(sizes: Iterable[tuple[Size, Size]]) -> tuple[Level, ...]:
    """Return levels from (pixels, native tile) pairs, the finest first."""
    pairs = list(sizes)
    finest = pairs[0][0]
    return tuple(Level(size=size, downsample=level_downsample(finest, size), tile=tile) for size, tile in pairs)


def choose_z(path: Path, z: int | None, n_z: int) -> int:
    """Return the focal plane to read, from 1: the middle one, the later of two, where none is asked for.

    Raises
    ------
    UnreadableSlide
        If the slide has no such plane.
    """
    if z is not None and not 1 <= z <= n_z:
        planes = "one focal plane" if n_z == 1 else f"focal planes 1 to {n_z}"
        raise UnreadableSlide(f"slide {str(path)!r} has {planes}, and plane {z} was asked for with --z")
    return n_z // 2 + 1 if z is None else z
