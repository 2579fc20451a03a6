"""The objective's magnification as a file states it.

It is reported and compared with the pixel size. It is never used to guess one.
"""

from __future__ import annotations

import math
import re

UM_MIN, UM_MAX = 4.5, 20.0
"""Pixel size times magnification that scanners have: a camera's pixel, um. Common values are 9 to 10 um.

3DHISTECH scanners have 0.2325 um/px at 20 x, which is 4.65 um, so the lower limit is 10 % below the usual 5 um.
"""
_ROUNDING = 1e-9


def power_in(description: str) -> float | None:
    """Return the ``AppMag = ...`` of an Aperio image description, or None.

    Parameters
    ----------
    description : str
        The TIFF tag ImageDescription.

    Returns
    -------
    float or None
        Magnification, e.g. 20.
    """
    match = re.search(r"\|\s*AppMag\s*=\s*([^|\s]+)", description)
    return parse_power(match.group(1)) if match else None


def parse_power(text: str | None) -> float | None:
    """Return a magnification, or None where the text is no positive number."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def contradiction(power: float | None, mpp: float) -> tuple[str, ...]:
    """Return a warning if a pixel size does not fit the objective, else nothing.

    Parameters
    ----------
    power : float or None
        Magnification; None where the file states none.
    mpp : float
        Pixel size at full resolution, um/px.

    Returns
    -------
    tuple of str
        At most one warning, with both values.
    """
    if power is None or UM_MIN * (1 - _ROUNDING) <= mpp * power <= UM_MAX * (1 + _ROUNDING):
        return ()
    return (
        f"the pixel size of {mpp:g} um/px does not fit the objective of {power:g} x: it is {mpp * power:g} um times "
        f"magnification, expected {UM_MIN:g} to {UM_MAX:g}; check it, because every area and distance follows from it",
    )
