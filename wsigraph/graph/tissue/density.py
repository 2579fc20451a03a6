"""Optical density of the low-power grid above the glass, in integers.

All rules for tissue and artefacts read these planes::

    D_c(p) = round(-1024 log10((v + 1) / 256)), smoothed by the binomial kernel (1 2 1) x (1 2 1) / 16, minus D_c(glass)

The planes are int16 in units of 1/1024, so nothing depends on the order of arithmetic. At the slide's border the
nearest pixel is repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import map_rows

OD_UNIT = 1024
"""Integer units of one optical density."""
DENSITY = np.round(-OD_UNIT * np.log10((np.arange(256) + 1) / 256.0)).astype(np.int32)
"""Optical density of each 8-bit value in units of 1/1024, int32 (256,)."""
_GLASS_MIN_FRACTION = 0.002
"""Glass must cover at least this fraction of the grid, or white is assumed."""
_GLASS_MIN_LEVEL = 176
_GLASS_MAX_RANGE = 16
"""Glass pixels: the darkest channel is at least `_GLASS_MIN_LEVEL`, and the channels differ by at most this."""


def density_above_glass(rgb: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the smoothed optical density above the glass.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the low-power grid.

    Returns
    -------
    int16 (3, h, w)
        Planes of R, G and B in units of 1/1024; glass is 0.
    """
    height, width = rgb.shape[:2]
    planes = np.empty((3, height, width), np.int16)  # (3, h, w)
    map_rows(_smooth_density, height, rgb, DENSITY, DENSITY[glass_colour(rgb)], planes)
    return planes


def glass_colour(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the commonest bright, neutral value of each channel.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the low-power grid.

    Returns
    -------
    int64 (3,)
        R, G and B; white (255) if hardly any pixel is bright and neutral, as on a slide that is all tissue.
    """
    counts = np.sum(map_rows(_bright_neutral, rgb.shape[0], rgb), axis=0)
    if counts[0].sum() < _GLASS_MIN_FRACTION * rgb.shape[0] * rgb.shape[1]:
        return np.full(3, 255, np.int64)
    return np.asarray(counts.argmax(axis=1))


def extremes(planes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the minimum and the maximum over three planes (3, h, w), each (h, w)."""
    first, second, third = planes
    return (
        np.minimum(np.minimum(first, second), third),
        np.maximum(np.maximum(first, second), third),
    )


@njit(nogil=True, cache=True)
def _bright_neutral(start: int, stop: int, rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the histograms of R, G, B over the bright neutral pixels of rows start..stop, int64 (3, 256)."""
    counts = np.zeros((3, 256), np.int64)
    for y in range(start, stop):
        for x in range(rgb.shape[1]):
            red, green, blue = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            lowest, highest = min(red, green, blue), max(red, green, blue)
            if lowest >= _GLASS_MIN_LEVEL and np.int64(highest) - np.int64(lowest) <= _GLASS_MAX_RANGE:
                counts[0, red] += 1
                counts[1, green] += 1
                counts[2, blue] += 1
    return counts


@njit(nogil=True, cache=True)
def _smooth_density(
    start: int,
    stop: int,
    rgb: NDArray[np.uint8],
    table: NDArray[np.int32],
    glass: NDArray[np.int32],
    planes: NDArray[np.int16],
) -> None:
    """Write D for rows start..stop: ``binomial(table[rgb]) - glass``, edges replicated.

    table is int32 (256,), glass int32 (3,), planes int16 (3, h, w). The kernel is separable: `column` holds the
    vertical sums (1 2 1) of one row, padded by one.
    """
    height, width = rgb.shape[:2]
    column = np.empty(width + 2, np.int32)  # (w + 2,)
    for channel in range(3):
        for y in range(start, stop):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                column[x + 1] = (
                    table[rgb[above, x, channel]] + 2 * table[rgb[y, x, channel]] + table[rgb[below, x, channel]]
                )
            column[0], column[width + 1] = column[1], column[width]
            for x in range(width):
                total = column[x] + 2 * column[x + 1] + column[x + 2]
                planes[channel, y, x] = ((total + 8) >> 4) - glass[channel]
