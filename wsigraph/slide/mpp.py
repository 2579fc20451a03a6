"""Pixel sizes: where files state them, and which values are accepted.

A pixel size is never guessed. It comes from the format's own field, from a TIFF resolution with a real unit, or from
the user. Values outside 0.05 to 20 um/px are refused: the usual wrong ones (72, 96 or 300 dots per inch, left by a
converter) are far outside, and would make every area and distance wrong. Pixels that are not square are refused too,
and a size that does not fit the objective is a warning.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from wsigraph.errors import MissingMpp
from wsigraph.geometry import MPP_MAX, MPP_MIN
from wsigraph.slide import objective
from wsigraph.slide.description import FileDescription

GIVEN = "given"
"""Source of a pixel size that the user gave."""
MPP_TOLERANCE = 0.01
"""Relative difference of two pixel sizes above which they count as different."""
HOW_TO_STATE = "state it in the manifest's mpp column or with --mpp UM"
"""What to do about a missing pixel size. It names no number, because a number would be copied."""
_UM_PER_UNIT = {"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "um": 1.0, "nm": 1e-3, "pm": 1e-6, "in": 25400.0}
_UM_PER_TIFF_UNIT = {2: 25400.0, 3: 10000.0}  # inch and centimetre; 1 means "no absolute unit"


class StatedMpp(NamedTuple):
    """A pixel size as a file states it: um/px along x and y, and the field that states it."""

    x: float
    y: float
    source: str


def from_aperio(description: str) -> StatedMpp | None:
    """Return the ``MPP = ...`` of an Aperio image description, or None."""
    match = re.search(r"\|\s*MPP\s*=\s*([^|\s]+)", description)
    value = _number(match.group(1)) if match else None
    return None if value is None else StatedMpp(value, value, "aperio.MPP")


def from_ome(xml: str) -> StatedMpp | None:
    """Return the ``PhysicalSizeX`` and ``Y`` of the first image of an OME-XML text, or None."""
    x, y = (_ome_length(xml, axis) for axis in "XY")
    if x is None:
        return None
    return StatedMpp(x, x if y is None else y, "ome.PhysicalSizeX")


def ome_attribute(xml: str, name: str) -> str | None:
    """Return an attribute of the first ``Pixels`` element of an OME-XML text, or None."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    value = re.search(rf'\b{name}\s*=\s*["\']([^"\']+)', pixels.group()) if pixels else None
    return value.group(1) if value else None


def from_resolution(x: float, y: float, unit: int) -> StatedMpp | None:
    """Return the pixel size that TIFF resolution tags state, or None.

    Parameters
    ----------
    x, y : float
        Pixels a unit, the tags XResolution and YResolution.
    unit : int
        The tag ResolutionUnit: 2 inch, 3 centimetre; anything else is no unit of length.

    Returns
    -------
    StatedMpp or None
        None where there is no unit or no usable number. Rounded to 8 digits, because the tags are quotients of
        integers that seldom hold the scanner's decimal exactly.
    """
    um = _UM_PER_TIFF_UNIT.get(unit)
    if um is None or not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return None
    return StatedMpp(round_digits(um / x), round_digits(um / y), "tiff.XResolution")


def round_digits(value: float) -> float:
    """Return `value` rounded to 8 significant digits."""
    return float(f"{value:.8g}")


def is_square(description: FileDescription) -> bool:
    """Return whether a file's pixels are square within 1 %, or it does not state both sides."""
    x, y = description.mpp, description.mpp_y
    return x is None or y is None or abs(y - x) <= MPP_TOLERANCE * x


def find_problem(name: str, description: FileDescription) -> str | None:
    """Return why a file's pixel size cannot be used, as one sentence, or None where it can."""
    if description.mpp is None:
        return f"slide {name!r} holds no pixel size; {HOW_TO_STATE}"
    if not MPP_MIN <= description.mpp <= MPP_MAX:
        return (
            f"slide {name!r} states {description.mpp:g} um/px ({description.mpp_source}), outside the credible "
            f"{MPP_MIN:g} to {MPP_MAX:g}; measure the right one and {HOW_TO_STATE}"
        )
    if not is_square(description):
        return (
            f"slide {name!r} has pixels that are not square, {_sides(description)}, and areas would be wrong; resample "
            f"it to square pixels, or if the file is wrong and they are square, find their size and {HOW_TO_STATE}"
        )
    return None


def settle_mpp(name: str, description: FileDescription, given: float | None) -> tuple[float, str, tuple[str, ...]]:
    """Return the pixel size to work with.

    Parameters
    ----------
    name : str
        Name of the slide in messages.
    description : FileDescription
        What the file states.
    given : float or None
        What the user states, um/px; it wins.

    Returns
    -------
    tuple of (float, str, tuple of str)
        Pixel size in um/px, its source, and warnings: that it overrules the file's, that the objective contradicts it.

    Raises
    ------
    MissingMpp
        If neither states a size, the one that counts is outside 0.05 to 20 um/px, or none is given and the file's
        pixels are not square.
    """
    if given is None:
        problem = find_problem(name, description)
        if problem is not None or description.mpp is None or description.mpp_source is None:
            raise MissingMpp(problem or f"slide {name!r} holds no pixel size; {HOW_TO_STATE}")
        warnings = objective.contradiction(description.objective_power, description.mpp)
        return description.mpp, description.mpp_source, warnings
    if not MPP_MIN <= given <= MPP_MAX:
        raise MissingMpp(
            f"the pixel size given for slide {name!r} is {given:g} um/px, expected {MPP_MIN:g} to {MPP_MAX:g}; "
            "give micrometres a pixel at full resolution"
        )
    warnings = objective.contradiction(description.objective_power, given)
    stated = description.mpp
    if stated is None or (abs(stated - given) <= MPP_TOLERANCE * given and is_square(description)):
        return given, GIVEN, warnings
    file_states = f"{stated:g} ({description.mpp_source})" if is_square(description) else _sides(description)
    text = f"the given pixel size of {given:g} um/px overrules the file's {file_states}"
    return given, GIVEN, (text, *warnings)


def _sides(description: FileDescription) -> str:
    return f"{description.mpp:g} um along x and {description.mpp_y:g} along y ({description.mpp_source})"


def _ome_length(xml: str, axis: str) -> float | None:
    value = _number(ome_attribute(xml, f"PhysicalSize{axis}") or "")
    name = ome_attribute(xml, f"PhysicalSize{axis}Unit") or "um"  # the schema's default unit
    um = _UM_PER_UNIT.get(re.sub("\u00b5|\u03bc|&#181;|&#xB5;", "u", name))
    return None if value is None or um is None else round_digits(value * um)


def _number(text: str) -> float | None:
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def describe_enlargement(slide_mpp: float, working_mpp: float) -> tuple[str, ...]:
    """Return a warning if a slide is coarser than the working pixel size; else nothing."""
    warning = f"the slide's {slide_mpp:g} um/px were enlarged to the working {working_mpp:g}, so fine detail is missing"
    return (warning,) if slide_mpp > 1.05 * working_mpp else ()
