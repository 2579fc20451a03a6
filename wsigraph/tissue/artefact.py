"""What is on a slide and is not tissue to analyse: reason codes and the rules that find them.

Pen ink is told by colour: hematoxylin and eosin both absorb green most, so paint that absorbs red more than green
(blue, green), blue almost as much as green while red passes (red), or all three alike and much (black) is no stain.
Rules work on integer optical density of the low-power lattice. Not optimal for brown or purple markers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ARTEFACT_NONE = 0
ARTEFACT_INK = 1
ARTEFACTS: dict[int, str] = {ARTEFACT_NONE: "none", ARTEFACT_INK: "pen ink"}
"""Reason of each artefact code."""
_EIGHT = np.ones((3, 3), bool)


def extremes(planes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the least and the greatest of three planes (3, h, w), each (h, w)."""
    first, second, third = planes
    return (
        np.minimum(np.minimum(first, second), third),
        np.maximum(np.maximum(first, second), third),
    )


def find_ink(density: NDArray[np.int32], *, min_area_px: int, margin_px: int) -> NDArray[np.bool_]:
    """Return where pen ink lies.

    Parameters
    ----------
    density : int32 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    min_area_px : int
        Smaller spots are not ink, lattice pixels.
    margin_px : int
        Ink is widened by this much, lattice pixels.

    Returns
    -------
    bool (h, w)
        True on ink.
    """
    red, green, blue = density
    lowest, highest = extremes(density)
    cold = (red > green + green // 8 + 60) & (red > 150)
    warm = (4 * blue > 3 * green) & (3 * red < green) & (green > 300)
    black = (lowest > 560) & (4 * (highest - lowest) < highest)
    ink = ndimage.binary_opening(cold | warm | black, structure=np.ones((2, 2), bool))
    labels, n_spots = ndimage.label(ink, structure=_EIGHT)
    if n_spots == 0:
        return np.zeros(ink.shape, bool)
    large = np.bincount(labels.ravel()) >= min_area_px
    large[0] = False
    ink = large[labels]
    if margin_px > 0 and ink.any():
        # the faint rim of a stroke still absorbs more red than green; tissue away from strokes is never asked
        rim = ndimage.binary_dilation(ink, structure=_EIGHT, iterations=4 * margin_px)
        ink |= rim & (red > green + green // 16 + 20)
        ink = ndimage.binary_dilation(ink, structure=_EIGHT, iterations=margin_px)
    return np.asarray(ink)
