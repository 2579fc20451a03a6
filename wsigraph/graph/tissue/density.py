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

REDUCTION = 2
"""How much coarser the halved planes are."""
OD_UNIT = 1024
"""Integer units of one optical density."""
DENSITY = np.round(-OD_UNIT * np.log10((np.arange(256) + 1) / 256.0)).astype(np.int32)
"""Optical density of each 8-bit value in units of 1/1024, int32 (256,)."""
_GLASS_MIN_FRACTION = 0.002
"""Glass must cover at least this fraction of the grid, or white is assumed."""
_GLASS_MIN_LEVEL = 120
"""Darkest channel of glass; an underexposed scan has glass of 170."""
_GLASS_MAX_RANGE = 16
"""Most that the channels of neutral glass differ by."""
_FLAT_RANGE = 6
"""Most that green varies over 3 x 3 pixels of glass; 0 is a fill that the scanner wrote where it did not scan."""
_TINT_LEVELS = 8
"""Levels in a bin of the joint histogram by which tinted glass is found."""
_TINT_MIN_LEVEL = 112
_TINT_MAX_RANGE = 72
_TINT_MIN_FRACTION = 0.05
"""Tinted glass is the commonest flat colour, this bright in its darkest channel, no more coloured than this, over at
least this fraction of the grid."""
_PINK = 51
"""Glass does not absorb green by this much more than red and blue alike, in units of 1/1024; eosin does."""
_BRIGHT_FRACTION = 0.005
_DIMMER = 20
"""No more than this fraction of the grid may be brighter than tinted glass by so many levels: tissue has gaps."""


def density_above_glass(rgb: NDArray[np.uint8], glass: NDArray[np.int64] | None = None) -> NDArray[np.int16]:
    """Return the smoothed optical density above the glass.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the low-power grid.
    glass : int64 (3,), optional
        Colour of the glass; `glass_colour` of the pixels if omitted.

    Returns
    -------
    int16 (3, h, w)
        Planes of R, G and B in units of 1/1024; glass is 0.
    """
    height, width = rgb.shape[:2]
    planes = np.empty((3, height, width), np.int16)  # (3, h, w)
    map_rows(_smooth_density, height, rgb, DENSITY, DENSITY[glass_colour(rgb) if glass is None else glass], planes)
    return planes


def glass_colour(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the commonest bright value of each channel over flat, neutral pixels, or the colour of tinted glass.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the low-power grid.

    Returns
    -------
    int64 (3,)
        R, G and B; white (255) if no pixel can be glass, as on a slide that is all tissue.
    """
    scanned, filled, tints = (
        np.sum(counts, axis=0) for counts in zip(*map_rows(_glass_counts, rgb.shape[0], rgb), strict=True)
    )
    # what the scanner did not scan is filled with one value, and counts only where nothing else can be glass
    for counts in (scanned, scanned + filled):
        if counts[0].sum() >= _GLASS_MIN_FRACTION * rgb.shape[0] * rgb.shape[1]:
            return np.asarray(counts.argmax(axis=1))
    return _tinted_glass(rgb, tints)


def _tinted_glass(rgb: NDArray[np.uint8], tints: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the colour of tinted glass from the joint histogram of flat pixels, int64 (3,); white if none is.

    A flat colour of eosin is no glass: a slide that is all pale tissue would lose it.
    """
    white = np.full(3, 255, np.int64)
    common = int(tints.argmax())
    n_pixels = rgb.shape[0] * rgb.shape[1]
    bins = 256 // _TINT_LEVELS
    colour = np.array(np.unravel_index(common, (bins, bins, bins)), np.int64) * _TINT_LEVELS + _TINT_LEVELS // 2
    if (
        tints[common] < _TINT_MIN_FRACTION * n_pixels
        or colour.min() < _TINT_MIN_LEVEL
        or colour.max() - colour.min() > _TINT_MAX_RANGE
        or np.count_nonzero(rgb[..., 1] > colour[1] + _DIMMER) > _BRIGHT_FRACTION * n_pixels
    ):
        return white
    red, green, blue = DENSITY[colour].tolist()
    if green - max(red, blue) > _PINK:
        return white
    near = np.abs(rgb.astype(np.int16) - colour.astype(np.int16)).max(axis=2) <= _TINT_LEVELS
    return np.array([np.bincount(rgb[..., channel][near]).argmax() for channel in range(3)], np.int64)


def halve_planes(density: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return planes averaged over 2 x 2 pixels, int16 (3, ceil(h / 2), ceil(w / 2)); odd ends are repeated."""
    _, height, width = density.shape
    halved = np.empty((3, -(-height // 2), -(-width // 2)), np.int16)  # (3, ceil(h / 2), ceil(w / 2))
    map_rows(_halve, halved.shape[1], density, halved)
    return halved


def enlarge_mask(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of halved planes on the low-power grid, bool `shape`."""
    return np.asarray(mask.repeat(REDUCTION, axis=0).repeat(REDUCTION, axis=1)[: shape[0], : shape[1]])


def extremes(planes: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the minimum and the maximum over three planes (3, h, w), each (h, w)."""
    first, second, third = planes
    return (
        np.minimum(np.minimum(first, second), third),
        np.maximum(np.maximum(first, second), third),
    )


@njit(nogil=True, cache=True)
def _glass_counts(
    start: int, stop: int, rgb: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the histograms of what may be glass in rows start..stop, by how much green varies over 3 x 3 pixels.

    The first, int64 (3, 256), counts R, G, B of bright neutral pixels that vary, the second, int64 (3, 256), of those
    that do not vary at all; the third, int64 (32768,), the joint colour of flat pixels that vary by at most 6.
    """
    height, width = rgb.shape[:2]
    scanned, filled = np.zeros((3, 256), np.int64), np.zeros((3, 256), np.int64)
    bins = 256 // _TINT_LEVELS
    tints = np.zeros(bins * bins * bins, np.int64)
    for y in range(start, stop):
        for x in range(width):
            red, green, blue = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            lowest, highest = min(red, green, blue), max(red, green, blue)
            if lowest < _GLASS_MIN_LEVEL:
                continue
            least, most = np.int64(255), np.int64(0)
            for other_y in range(max(y - 1, 0), min(y + 2, height)):
                for other_x in range(max(x - 1, 0), min(x + 2, width)):
                    value = np.int64(rgb[other_y, other_x, 1])
                    least, most = min(least, value), max(most, value)
            if most - least > _FLAT_RANGE:
                continue
            tints[((red // _TINT_LEVELS) * bins + green // _TINT_LEVELS) * bins + blue // _TINT_LEVELS] += 1
            if np.int64(highest) - np.int64(lowest) <= _GLASS_MAX_RANGE:
                counts = filled if most == least else scanned
                counts[0, red] += 1
                counts[1, green] += 1
                counts[2, blue] += 1
    return scanned, filled, tints


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


@njit(nogil=True, cache=True)
def _halve(start: int, stop: int, density: NDArray[np.int16], halved: NDArray[np.int16]) -> None:
    """Write rows start..stop of the planes averaged over 2 x 2 pixels, rounded: density int16 (3, h, w)."""
    _, height, width = density.shape
    for channel in range(3):
        for y in range(start, stop):
            upper, lower = density[channel, 2 * y], density[channel, min(2 * y + 1, height - 1)]
            for x in range(width // 2):
                halved[channel, y, x] = (upper[2 * x] + lower[2 * x] + upper[2 * x + 1] + lower[2 * x + 1] + 2) >> 2
            if width % 2:
                halved[channel, y, width // 2] = (2 * upper[width - 1] + 2 * lower[width - 1] + 2) >> 2
