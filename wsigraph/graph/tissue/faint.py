"""Faint tissue: fat, pale and faded sections, mucin, found by a mean over a window and the noise of the glass.

Hematoxylin, eosin and most other stains absorb green more than red or more than blue; glass, dust, shadows and the
edges of the slide absorb the three alike. With D the optical density above the glass, two signals are averaged over a
window of 60 um, in which the noise of single pixels and the empty inside of a fat cell average out::

    c1 = mean of clip(D_green - D_red),    c2 = mean of clip(D_green - D_blue)

The threshold of each is the slide's own: the commonest value on the glass, plus `noise_factor` times the median
distance of the values below it, from which tissue, that has more, is absent. A window is faint tissue where either
signal is above its threshold and is not small beside the mean density, as it is at grey dirt, and where the density
varies from pixel to pixel by twice what it varies on the glass: between stitched fields the glass changes its tint, but
it has no membranes and nuclei. A window that only touches strong tissue is above the thresholds too, so the mask is
eroded by half a window.

Sums are integers, so nothing depends on tiling. A box filter of scipy would sum in floating point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import TissueConfig
from wsigraph.geometry import um2_to_px, um_to_px
from wsigraph.graph.tissue.density import OD_UNIT, REDUCTION
from wsigraph.graph.tissue.section import fill_holes
from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import map_rows

WINDOW_UM = 60.0
"""Side of the window."""
_FLOOR, _CEILING = -64, 128
"""What one pixel may add to a mean, in units of 1/1024: a speck may not stand for a window."""
_MOST_VARIATION = 9 * 128
_GLASS_REACH = 16
"""Glass differs from its commonest colour by less than this in both signals, units of 1/1024."""
_BIN = 4
"""Parts of a unit in which a mean is counted."""
_ROUGH = 2
"""Tissue varies from pixel to pixel by at least this multiple of what the glass does."""
_LEAST_ROUGH = 1.0
"""And by at least this, units of 1/1024: a painted or smoothed glass does not vary at all."""
_GREY = 12
"""A signal of less than one over this of the mean density is grey."""
_GAP_UM2 = 6000.0
"""Gaps between the windows of this size are bridged: an empty fat cell or two."""
_LEAST_GLASS = 0.002
"""Without glass on this fraction of the grid there is no noise to refer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaintTissue:
    """Where faint tissue may be, and how it differs from the glass.

    Attributes
    ----------
    mask : bool (h, w)
        Faint tissue, on the halved grid.
    thresholds : tuple of float
        Optical density from which the two signals are tissue.
    noise : tuple of float
        Median deviation of the two signals on the glass, optical density.
    doubtful : bool (h, w)
        Windows below the threshold and above half of it.
    """

    mask: NDArray[np.bool_]
    thresholds: tuple[float, float]
    noise: tuple[float, float]
    doubtful: NDArray[np.bool_]


def find_faint(density: NDArray[np.int16], excluded: NDArray[np.bool_], config: TissueConfig) -> FaintTissue:
    """Return faint tissue, with the threshold and the noise.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero, halved (`halve_planes`).
    excluded : bool (h, w)
        Pixels that count as glass, because they are ink.
    config : TissueConfig
        Spacing of the grid, least signal and multiple of the noise.

    Returns
    -------
    FaintTissue
        The mask, thresholds and noise.
    """
    mpp = config.mpp * REDUCTION
    half = max(um_to_px(WINDOW_UM / 2, mpp), 1)
    n_window = (2 * half + 1) ** 2
    signals = _signals(density, excluded, half)  # (4, h, w), sums over the window
    rough = signals[3] > math.ceil(max(_ROUGH * _glass_roughness(signals, n_window), _LEAST_ROUGH) * 9 * n_window)
    least = config.min_saturation * OD_UNIT
    mask, doubtful = np.zeros(excluded.shape, bool), np.zeros(excluded.shape, bool)
    thresholds, noises = [], []
    for plane in signals[:2]:
        mode, noise = glass_noise(plane, n_window)
        span = max(least, config.noise_factor * noise)
        threshold = max(mode, 0.0) + span
        coloured = rough & (_GREY * plane.astype(np.int64) > signals[2])
        mask |= (plane > math.floor(threshold * n_window)) & coloured
        doubtful |= (plane > math.floor((max(mode, 0.0) + span / 2) * n_window)) & coloured
        thresholds.append(threshold / OD_UNIT)
        noises.append(noise / OD_UNIT)
    mask = fill_holes(mask, um2_to_px(_GAP_UM2, mpp))
    whole = _erode(mask, half)
    return FaintTissue(
        mask=whole & ~excluded,
        thresholds=(thresholds[0], thresholds[1]),
        noise=(noises[0], noises[1]),
        doubtful=_erode(doubtful, half) & ~mask,
    )


def glass_noise(sums: NDArray[np.int32], n_window: int) -> tuple[float, float]:
    """Return the commonest mean on the glass and the median distance of the means below it.

    Parameters
    ----------
    sums : int32 (h, w)
        Sums of a signal over windows, units of 1/1024.
    n_window : int
        Pixels of a window.

    Returns
    -------
    mode, noise : float
        Units of 1/1024; both 0 if there is hardly any glass.
    """
    reach = _GLASS_REACH * _BIN
    level = (sums.astype(np.int64) * _BIN) // n_window
    # windows that sum to 0 exactly are a fill, not glass that was scanned
    near = level[(np.abs(level) < reach) & (sums != 0)]
    if len(near) < _LEAST_GLASS * sums.size:
        return 0.0, 0.0
    counts = np.bincount(near + reach, minlength=2 * reach)
    peak = int(np.convolve(counts, np.array([1, 2, 1]), "same").argmax())
    below = np.cumsum(counts[: peak + 1][::-1])
    distance = int(np.searchsorted(below, (below[-1] + 1) // 2))
    return (peak - reach + 0.5) / _BIN, (distance + 0.5) / _BIN


def _glass_roughness(signals: NDArray[np.int32], n_window: int) -> float:
    """Return the commonest variation from pixel to pixel on the glass, units of 1/1024; 0 if there is no glass."""
    reach = _GLASS_REACH * n_window
    near = (np.abs(signals[0]) < reach) & (np.abs(signals[1]) < reach) & (signals[3] > 0)
    level = np.minimum(signals[3][near] * _BIN // (9 * n_window), _GLASS_REACH * _BIN)
    if len(level) < _LEAST_GLASS * near.size:
        return 0.0
    return (int(np.bincount(level).argmax()) + 0.5) / _BIN


def _signals(density: NDArray[np.int16], excluded: NDArray[np.bool_], half: int) -> NDArray[np.int32]:
    """Return sums of c1, c2, the mean density and 9 times its variation, int32 (4, h, w); the border is repeated."""
    _, height, width = density.shape
    rows = np.empty((4, height, width), np.int32)
    sums = np.empty((4, height, width), np.int32)
    map_rows(_sum_across, height, density, excluded, half, rows)
    map_rows(_sum_down, width, rows, half, sums)
    return sums


@njit(nogil=True, cache=True)
def _sum_across(
    start: int,
    stop: int,
    density: NDArray[np.int16],
    excluded: NDArray[np.bool_],
    half: int,
    sums: NDArray[np.int32],
) -> None:
    """Write running sums of rows start..stop: density int16 (3, h, w), excluded bool (h, w), sums int32 (4, h, w)."""
    _, height, width = density.shape
    values = np.empty((4, width), np.int64)  # (signal, x)
    for y in range(start, stop):
        for x in range(width):
            red, green, blue = np.int64(density[0, y, x]), np.int64(density[1, y, x]), np.int64(density[2, y, x])
            is_out = excluded[y, x]
            values[0, x] = 0 if is_out else min(max(int(green - red), _FLOOR), _CEILING)
            values[1, x] = 0 if is_out else min(max(int(green - blue), _FLOOR), _CEILING)
            values[2, x] = 0 if is_out else max(int(red + green + blue), 0) // 3
            around = np.int64(0)  # sum of R + G + B over 3 x 3 pixels
            for other_y in range(max(y - 1, 0), min(y + 2, height)):
                for other_x in range(max(x - 1, 0), min(x + 2, width)):
                    for channel in range(3):
                        around += density[channel, other_y, other_x]
            inside = 0 < y < height - 1 and 0 < x < width - 1
            variation = int(abs(9 * (red + green + blue) - around)) // 3
            values[3, x] = min(variation, _MOST_VARIATION) if inside and not is_out else 0
        for signal in range(4):
            total = np.int64(0)
            for x in range(-half, half + 1):
                total += values[signal, min(max(x, 0), width - 1)]
            for x in range(width):
                sums[signal, y, x] = total
                total += values[signal, min(x + half + 1, width - 1)] - values[signal, max(x - half, 0)]


@njit(nogil=True, cache=True)
def _sum_down(start: int, stop: int, rows: NDArray[np.int32], half: int, sums: NDArray[np.int32]) -> None:
    """Write running sums down columns start..stop: rows and sums int32 (4, h, w)."""
    height = rows.shape[1]
    total = np.empty(stop - start, np.int64)  # (x,)
    for signal in range(4):
        total[:] = 0
        for y in range(-half, half + 1):
            for x in range(start, stop):
                total[x - start] += rows[signal, min(max(y, 0), height - 1), x]
        for y in range(height):
            entering, leaving = min(y + half + 1, height - 1), max(y - half, 0)
            for x in range(start, stop):
                sums[signal, y, x] = total[x - start]
                total[x - start] += np.int64(rows[signal, entering, x]) - np.int64(rows[signal, leaving, x])


def _erode(mask: NDArray[np.bool_], half: int) -> NDArray[np.bool_]:
    """Return the erosion by a square of 2 half + 1 pixels; beyond the border the mask continues."""
    padded = np.pad(mask, half, mode="edge")
    eroded = mask
    for axis in (0, 1):
        total = np.cumsum(padded, axis=axis, dtype=np.int32)
        total = np.insert(total, 0, 0, axis=axis)
        n = padded.shape[axis] - 2 * half
        upper = np.take(total, range(2 * half + 1, 2 * half + 1 + n), axis=axis)
        lower = np.take(total, range(n), axis=axis)
        padded = upper - lower == 2 * half + 1
        eroded = padded
    return np.asarray(eroded)
