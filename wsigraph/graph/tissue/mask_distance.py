"""Pixels within a distance of a mask, exact and in linear time.

Two passes in integers: down and up each column for the nearest masked pixel of that column; then along each row, where
every column that is near enough covers an interval whose half width the circle gives. The union of intervals is a
running sum, so the radius may be large: cost does not depend on it. It tells near from far, not how far.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import map_rows


def within(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the pixels whose centre lies within a distance of a masked pixel's centre.

    Parameters
    ----------
    mask : bool (h, w)
        Pixels to measure from.
    radius : int
        Greatest distance, pixels.

    Returns
    -------
    bool (h, w)
        True where the nearest masked pixel is at most `radius` away.
    """
    height, width = mask.shape
    away = np.empty((height, width), np.int32)
    near = np.empty((height, width), np.bool_)
    map_rows(_measure_columns, width, mask, radius + 1, away)
    map_rows(_cover_rows, height, away, radius, near)
    return near


@njit(nogil=True, cache=True)
def _measure_columns(start: int, stop: int, mask: NDArray[np.bool_], far: int, away: NDArray[np.int32]) -> None:
    """Write the distance to the nearest masked pixel of the same column, at most `far`, for some columns."""
    height = mask.shape[0]
    for y in range(height):
        for x in range(start, stop):
            above = away[y - 1, x] if y > 0 else far
            away[y, x] = 0 if mask[y, x] else min(above + 1, far)
    for y in range(height - 2, -1, -1):
        for x in range(start, stop):
            away[y, x] = min(away[y, x], away[y + 1, x] + 1)


@njit(nogil=True, cache=True)
def _cover_rows(start: int, stop: int, away: NDArray[np.int32], radius: int, near: NDArray[np.bool_]) -> None:
    """Mark the pixels of some rows that lie within the radius."""
    width = away.shape[1]
    far = radius + 1
    reach = np.empty(far, np.int32)
    for depth in range(far):
        reach[depth] = int(np.sqrt(radius * radius - depth * depth))
    limit = np.empty(width + 1, np.int32)
    for y in range(start, stop):
        # each column that is near enough covers an interval of the row; intervals are summed as a difference
        limit[:] = 0
        for x in range(width):
            if away[y, x] < far:
                limit[max(x - reach[away[y, x]], 0)] += 1
                limit[min(x + reach[away[y, x]] + 1, width)] -= 1
        depth = 0
        for x in range(width):
            depth += limit[x]
            near[y, x] = depth > 0
