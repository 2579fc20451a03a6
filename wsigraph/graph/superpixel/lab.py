"""Eight-bit CIELAB by integer tables, smoothed by an integer kernel.

Integers make the conversion identical on every machine and in every tile. Against the exact conversion it is within
one level (D65, 2 degree observer, sRGB of IEC 61966-2-1). L is scaled by 255/100; a and b are offset by 128.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import um_to_px_exact
from wsigraph.kernels import njit

_LINEAR_UNIT = 4095
_CURVE_SHIFT = 14
_CURVE_UNIT = 1 << _CURVE_SHIFT
_SPARE = 8
_FIELD = 21
_WHITE = np.array([0.95047, 1.0, 1.08883])
_RGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])


def _linear_table() -> NDArray[np.int64]:
    """Return (3, 256): what each value of each channel adds to X, Y and Z, in three fields of 21 bits of one word.

    X, Y and Z of white are 4095 with 8 spare bits below; red carries the half that rounds the sum.
    """
    value = np.arange(256) / 255.0
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    share = _RGB_TO_XYZ / _WHITE[:, None] * (_LINEAR_UNIT << _SPARE)  # (XYZ, RGB)
    parts = np.round(share.T[:, :, None] * linear).astype(np.int64)  # (RGB, XYZ, 256)
    parts[0] += 1 << (_SPARE - 1)
    return np.asarray(parts[:, 0] | (parts[:, 1] << _FIELD) | (parts[:, 2] << (2 * _FIELD)))


def _curve_table() -> NDArray[np.int32]:
    ratio = np.arange(_LINEAR_UNIT + 2) / _LINEAR_UNIT
    curve = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16.0 / 116.0)
    return np.round(curve * _CURVE_UNIT).astype(np.int32)


_LINEAR = _linear_table()
_CURVE = _curve_table()
# L x 255 / 100 with L = 116 f - 16, in 1/16 of the curve's units
_SLOPE = round(116 * 2.55 * 16)
_LEVEL_SHIFT = 18
_OFFSET = round(16 * 2.55 * (1 << _LEVEL_SHIFT)) - (1 << (_LEVEL_SHIFT - 1))
_MIDDLE = 128 * _CURVE_UNIT + _CURVE_UNIT // 2


@njit(nogil=True, cache=True)
def _convert(
    rgb: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    linear: NDArray[np.int64],
    curve: NDArray[np.int32],
    lab: NDArray[np.uint8],
) -> None:
    red, green, blue = linear[0], linear[1], linear[2]
    mask = (1 << (_FIELD - _SPARE)) - 1
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            if not wanted[y, x]:
                continue
            word = red[rgb[y, x, 0]] + green[rgb[y, x, 1]] + blue[rgb[y, x, 2]]
            fx = curve[(word >> _SPARE) & mask]
            fy = curve[(word >> (_SPARE + _FIELD)) & mask]
            fz = curve[(word >> (_SPARE + 2 * _FIELD)) & mask]
            # a = 500 (fx - fy); b = 200 (fy - fz); each rounded half up; no sRGB colour leaves 0..255
            lab[0, y, x] = (_SLOPE * fy - _OFFSET) >> _LEVEL_SHIFT
            lab[1, y, x] = (500 * (fx - fy) + _MIDDLE) >> _CURVE_SHIFT
            lab[2, y, x] = (200 * (fy - fz) + _MIDDLE) >> _CURVE_SHIFT


def rgb_to_lab(rgb: NDArray[np.uint8], wanted: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Return 8-bit CIELAB planes.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        sRGB pixels.
    wanted : bool (h, w), optional
        Pixels to convert; the others are 0. All where left out.

    Returns
    -------
    uint8 (3, h, w)
        L x 255 / 100, a + 128, b + 128.
    """
    shape = rgb.shape[0], rgb.shape[1]
    lab = np.zeros((3, *shape), np.uint8)
    _convert(rgb, np.ones(shape, np.bool_) if wanted is None else wanted, _LINEAR, _CURVE, lab)
    return lab


def smoothing_passes(spread_um: float, mpp: float) -> int:
    """Return how many passes of `smooth` spread a point by `spread_um`: one pass has a variance of half a pixel."""
    return round(2 * um_to_px_exact(spread_um, mpp) ** 2)


@njit(nogil=True, cache=True)
def smooth(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the planes under the binomial kernel (1 2 1) x (1 2 1) / 16, rounded half up, edges replicated.

    Parameters
    ----------
    planes : uint8 (3, h, w)
        Planes to smooth.

    Returns
    -------
    uint8 (3, h, w)
        Smoothed planes; rows and columns at the window's own border are exact only at the slide's border.
    """
    n_planes, height, width = planes.shape
    result = np.empty_like(planes)
    column = np.empty(width, np.int32)
    for plane in range(n_planes):
        for y in range(height):
            above, below = max(y - 1, 0), min(y + 1, height - 1)
            for x in range(width):
                column[x] = (
                    np.int32(planes[plane, above, x])
                    + 2 * np.int32(planes[plane, y, x])
                    + np.int32(planes[plane, below, x])
                )
            last = width - 1
            result[plane, y, 0] = (3 * column[0] + column[min(1, last)] + 8) >> 4
            for x in range(1, last):
                result[plane, y, x] = (column[x - 1] + 2 * column[x] + column[x + 1] + 8) >> 4
            result[plane, y, last] = (column[max(last - 1, 0)] + 3 * column[last] + 8) >> 4
    return result
