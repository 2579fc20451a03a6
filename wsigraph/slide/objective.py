"""The objective's magnification as a file states it. It is reported, and never used to guess a pixel size."""

from __future__ import annotations

import math
import re


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
