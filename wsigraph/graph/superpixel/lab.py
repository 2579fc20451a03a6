"""Eight-bit CIELAB by integer tables, smoothed by an integer kernel.

With X, Y, Z relative to the white point D65 (2 degree observer, sRGB of IEC 61966-2-1) and f the CIE curve::

    L = (116 f(Y) - 16) 255 / 100,    a = 500 (f(X) - f(Y)) + 128,    b = 200 (f(Y) - f(Z)) + 128

Both non-linear functions are tables, so the conversion is identical on every machine and in every tile, and within one
level of the exact conversion. scikit-image converts in float64, whose rounding depends on the build, and needs 24 bytes
a pixel; OpenCV's 8-bit tables are an implementation detail that may change with its version.
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
    """Return int64 (3, 256): the contribution of each value of R, G, B to X, Y and Z, packed into three 21-bit fields.

    X, Y and Z of white are 4095, with 8 fractional bits; red also carries the 1/2 that rounds the sum.
    """
    value = np.arange(256) / 255.0
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    weight = _RGB_TO_XYZ / _WHITE[:, None] * (_LINEAR_UNIT << _SPARE)  # (XYZ, RGB)
    parts = np.round(weight.T[:, :, None] * linear).astype(np.int64)  # (RGB, XYZ, 256)
    parts[0] += 1 << (_SPARE - 1)
    return np.asarray(parts[:, 0] | (parts[:, 1] << _FIELD) | (parts[:, 2] << (2 * _FIELD)))


def _curve_table() -> NDArray[np.int32]:
    """Return f of the CIE at 0 .. 4096 / 4095, int32 (4097,), in units of 1 / 16384."""
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
    """Write L, a, b of the wanted pixels: rgb uint8 (h, w, 3), wanted bool (h, w), lab uint8 (3, h, w)."""
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
            # each rounded half up; no sRGB colour leaves 0..255
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
        Pixels to convert; the others become 0. All pixels if omitted.

    Returns
    -------
    uint8 (3, h, w)
        L x 255 / 100, a + 128, b + 128.
    """
    shape = rgb.shape[0], rgb.shape[1]
    lab = np.zeros((3, *shape), np.uint8)
    _convert(rgb, np.ones(shape, np.bool_) if wanted is None else wanted, _LINEAR, _CURVE, lab)
    return lab


def smoothing_passes(sigma_um: float, mpp: float) -> int:
    """Return the number of `smooth` calls whose joint standard deviation is `sigma_um`.

    One call has a variance of 1/2 pixel squared, and variances add.
    """
    return round(2 * um_to_px_exact(sigma_um, mpp) ** 2)


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
        Smoothed planes. The outermost pixels of a window inside the slide are not exact: read one pixel more.
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
