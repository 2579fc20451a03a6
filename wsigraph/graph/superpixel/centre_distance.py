"""Distances of pixels to centres in 16-bit integers, 32 pixels a vector.

Colour and place are counted in units of which the upper 16 bits of a square are kept, so that a distance is a sum of
five 16-bit numbers: the same on every machine, and twice as many at once as with 32 bits. One unit of a
distance is four squared Lab levels where compactness is at most 64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

LAST_COMPACTNESS = 0.5
"""Compactness of the last assignment over that of the moves."""
PIXEL = 16
"""Fixed-point units of a centre's place in one pixel."""
_LEVEL = 128
_REACH = 8192
_STEP_SHIFT = 12


@dataclass(frozen=True, slots=True)
class Units:
    """Fixed-point units of distance.

    Attributes
    ----------
    level : int
        Units of one 8-bit Lab level.
    step : int
        Units of one pixel, times 4096.
    """

    level: int
    step: int


def units_of(compactness: float, spacing_px: int, *, last: bool = False) -> Units:
    """Return the finest units of 16 bits in which one spacing weighs as much as `compactness` levels.

    Parameters
    ----------
    compactness : float
        8-bit Lab levels that weigh as much as a spacing.
    spacing_px : int
        Side of a cell.
    last : bool, optional
        Whether for the last assignment, with the same units of colour and `LAST_COMPACTNESS` of the weight.

    Returns
    -------
    Units
        Positions within a cell stay below 8192 units, so that differences over three cells fit.
    """
    level = _LEVEL
    while level > 1 and compactness * level > _REACH:
        level //= 2
    weight = compactness * LAST_COMPACTNESS if last else compactness
    return Units(level, max(1, round(weight * level / spacing_px * (1 << _STEP_SHIFT))))


@njit(nogil=True, cache=True)
def padded(n: int) -> int:
    """Return the next whole number of vectors that holds n.

    Parameters
    ----------
    n : int
        Pixels.

    Returns
    -------
    int
        A multiple of 32.
    """
    return (n + 31) // 32 * 32


@njit(nogil=True, cache=True)
def scaled(offset: int, step: int) -> int:
    """Return pixels in units of distance.

    Parameters
    ----------
    offset : int
        Pixels.
    step : int
        `Units.step`.

    Returns
    -------
    int
        The nearest whole number of units.
    """
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
    """Collect the centres homed in the 3 x 3 cells around a cell, in raster order, and return how many there are.

    Places are counted from the cell's corner; a centre further off than two reaches counts as that far.

    Parameters
    ----------
    centres : int32 (rows, columns, 6)
        L, a, b in units of distance, y, x in 1/16 pixel from the window's corner, and whether there is one.
    row, column : int
        The cell.
    side : int
        Pixels a cell.
    step : int
        `Units.step`.
    candidates : int16 (9, 5)
        Takes L, a, b, y, x in units of distance, and after the last the first again up to a multiple of three.
    homes : int64 (9,)
        Takes the raster index of each home cell.

    Returns
    -------
    int
        How many there are.
    """
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    found = 0
    for r in range(max(row - 1, 0), min(row + 2, n_rows)):
        for c in range(max(column - 1, 0), min(column + 2, n_columns)):
            if centres[r, c, 5] == 0:
                continue
            for k in range(3):
                candidates[found, k] = centres[r, c, k]
            y = scaled(centres[r, c, 3] - PIXEL * row * side, step) // PIXEL
            x = scaled(centres[r, c, 4] - PIXEL * column * side, step) // PIXEL
            candidates[found, 3] = min(max(y, -2 * _REACH), 2 * _REACH)
            candidates[found, 4] = min(max(x, -2 * _REACH), 2 * _REACH)
            homes[found] = r * n_columns + c
            found += 1
    # three are compared at a time: the first once more, which loses every tie
    for spare in range(found, (found + 2) // 3 * 3):
        for k in range(5):
            candidates[spare, k] = candidates[0, k]
    return found


@njit(nogil=True, cache=True, inline="always")
def _square(value: int, centre: int) -> int:
    """Return the upper 16 bits of the squared difference of two 16-bit numbers."""
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
    """Write to `choice` the row of the nearest candidate of n pixels, the first of equals; 0 where there is none.

    Every operation is one of 16-bit lanes, and three candidates share what is read and written. Where n is a whole
    number of vectors no pixel is left to a scalar remainder.

    Parameters
    ----------
    values : int16 (5, >= n)
        L, a, b, y, x in units of distance, place counted from the cell's corner.
    n : int
        Pixels.
    candidates : int16 (9, 5)
        As `gather_candidates` leaves them.
    n_candidates : int
        How many.
    best : uint16 (>= n,)
        Takes the distances.
    choice : int16 (>= n,)
        Takes the rows.
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
