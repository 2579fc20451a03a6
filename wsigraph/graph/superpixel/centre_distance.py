"""Distances of pixels to SLIC centres in 16-bit integers, 32 pixels a vector.

With v_k and c_k the five coordinates (L, a, b, y, x) of a pixel and a centre, as 16-bit integers::

    d(v, c) = sum over k of ((v_k - c_k)**2 >> 16)

Coordinates are scaled so that the upper 16 bits of a square are enough: a distance is a sum of five 16-bit numbers. It
is the same on every machine, and a vector register holds twice as many as with 32 bits. One unit of distance is four
squared Lab levels while compactness is at most 64. ``scipy.spatial.distance.cdist`` and BLAS compute in float64, need
all distances in memory at once, and their rounding depends on the build.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

LAST_COMPACTNESS = 0.5
"""Compactness of the last assignment, as a multiple of the compactness while centres move."""
PIXEL = 16
"""Fixed-point units of a centre's position in one pixel."""
_LEVEL = 128
"""Most units of one 8-bit Lab level: 255 levels then fit 16 bits with a sign."""
_REACH = 8192
"""Most units of one spacing: differences over three cells then fit 16 bits with a sign."""
_STEP_SHIFT = 12


@dataclass(frozen=True, slots=True)
class Units:
    """Fixed-point units of distance.

    Attributes
    ----------
    level : int
        Units of one 8-bit Lab level.
    step : int
        Units of one pixel of position, times 4096.
    """

    level: int
    step: int


def units_of(compactness: float, spacing_px: int, *, last: bool = False) -> Units:
    """Return the finest 16-bit units in which one spacing weighs as much as `compactness` Lab levels.

    Parameters
    ----------
    compactness : float
        8-bit Lab levels that weigh as much as one spacing.
    spacing_px : int
        Side of a cell, pixels.
    last : bool, optional
        Units of the last assignment: the same units of colour, compactness times `LAST_COMPACTNESS`.

    Returns
    -------
    Units
        One spacing has at most 8192 units, so differences over three cells fit 16 bits.
    """
    level = _LEVEL
    while level > 1 and compactness * level > _REACH:
        level //= 2
    weight = compactness * LAST_COMPACTNESS if last else compactness
    return Units(level, max(1, round(weight * level / spacing_px * (1 << _STEP_SHIFT))))


@njit(nogil=True, cache=True)
def padded(n: int) -> int:
    """Return n rounded up to a multiple of 32, the pixels of one vector."""
    return (n + 31) // 32 * 32


@njit(nogil=True, cache=True)
def scaled(offset: int, step: int) -> int:
    """Return an offset in pixels converted to units of distance, rounded; `step` is that of `Units`."""
    return (offset * step + (1 << (_STEP_SHIFT - 1))) >> _STEP_SHIFT


@njit(nogil=True, cache=True)
def gather_candidates(
    centres: NDArray[np.int32],
    row: int,
    column: int,
    side: int,
    step: int,
    candidates: NDArray[np.int16],
    homes: NDArray[np.int64],
) -> int:
    """Write the centres whose home is one of the 3 x 3 cells around a cell, in raster order, and return their number.

    Positions are relative to the cell's corner. They are clipped to two spacings, so that a centre far away cannot
    overflow 16 bits.

    Parameters
    ----------
    centres : int32 (rows, columns, 6)
        L, a, b in units of distance; y, x in 1/16 pixel from the window's corner; 1 if the centre exists, else 0.
    row, column : int
        Row and column of the cell.
    side : int
        Side of a cell, pixels.
    step : int
        Units of one pixel times 4096, from `Units`.
    candidates : int16 (9, 5)
        Written: L, a, b, y, x of each centre in units of distance. The first is repeated behind the last up to a
        multiple of three.
    homes : int64 (9,)
        Written: raster index of each centre's home cell.

    Returns
    -------
    int
        Number of centres, 0 to 9.
    """
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    n_centres = 0
    for r in range(max(row - 1, 0), min(row + 2, n_rows)):
        for c in range(max(column - 1, 0), min(column + 2, n_columns)):
            if centres[r, c, 5] == 0:
                continue
            for k in range(3):
                candidates[n_centres, k] = centres[r, c, k]
            y = scaled(centres[r, c, 3] - PIXEL * row * side, step) // PIXEL
            x = scaled(centres[r, c, 4] - PIXEL * column * side, step) // PIXEL
            candidates[n_centres, 3] = min(max(y, -2 * _REACH), 2 * _REACH)
            candidates[n_centres, 4] = min(max(x, -2 * _REACH), 2 * _REACH)
            homes[n_centres] = r * n_columns + c
            n_centres += 1
    # `choose_nearest` compares three at a time: fill up with the first candidate, which loses every tie
    for spare in range(n_centres, (n_centres + 2) // 3 * 3):
        for k in range(5):
            candidates[spare, k] = candidates[0, k]
    return n_centres


@njit(nogil=True, cache=True, inline="always")
def _square(value: int, centre: int) -> int:
    """Return the upper 16 bits of the squared difference of two 16-bit numbers, as uint16."""
    difference = np.int32(np.int16(value - centre))
    return np.uint16(np.int32(difference * difference) >> 16)  # type: ignore[return-value]


@njit(nogil=True, cache=True)
def choose_nearest(
    values: NDArray[np.int16],
    n: int,
    candidates: NDArray[np.int16],
    n_candidates: int,
    best: NDArray[np.uint16],
    choice: NDArray[np.int16],
) -> None:
    """Write the row of the nearest candidate of each of n pixels: argmin over k of d(v, c_k), ties to the lower k.

    All operations are 16-bit, so LLVM vectorises the loop over pixels; three candidates share one read and write of
    the running minimum. If n is a multiple of 32 no pixel is left to a scalar remainder loop.

    Parameters
    ----------
    values : int16 (5, >= n)
        L, a, b, y, x of the pixels in units of distance, positions relative to the cell's corner.
    n : int
        Number of pixels.
    candidates : int16 (9, 5)
        Centres as `gather_candidates` writes them.
    n_candidates : int
        Number of centres; with 0, `choice` is 0.
    best : uint16 (>= n,)
        Written: the least distances.
    choice : int16 (>= n,)
        Written: the rows of the nearest candidates.
    """
    p0, p1, p2, p3, p4 = values[0], values[1], values[2], values[3], values[4]
    best[:n] = 65535
    choice[:n] = 0
    for k in range(0, n_candidates, 3):
        a, b, c = candidates[k], candidates[k + 1], candidates[k + 2]
        a0, a1, a2, a3, a4 = a[0], a[1], a[2], a[3], a[4]
        b0, b1, b2, b3, b4 = b[0], b[1], b[2], b[3], b[4]
        c0, c1, c2, c3, c4 = c[0], c[1], c[2], c[3], c[4]
        for i in range(n):
            v0, v1, v2, v3, v4 = p0[i], p1[i], p2[i], p3[i], p4[i]
            least, row = best[i], choice[i]
            d = np.uint16(_square(v0, a0) + _square(v1, a1) + _square(v2, a2) + _square(v3, a3) + _square(v4, a4))
            row, least = np.int16(k) if d < least else row, d if d < least else least
            d = np.uint16(_square(v0, b0) + _square(v1, b1) + _square(v2, b2) + _square(v3, b3) + _square(v4, b4))
            row, least = np.int16(k + 1) if d < least else row, d if d < least else least
            d = np.uint16(_square(v0, c0) + _square(v1, c1) + _square(v2, c2) + _square(v3, c3) + _square(v4, c4))
            row, least = np.int16(k + 2) if d < least else row, d if d < least else least
            best[i], choice[i] = least, row
