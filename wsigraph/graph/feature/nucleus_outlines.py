"""Outlines and convex areas of the nuclei of a window, in compiled passes.

The outline follows the cracks between pixels with the nucleus on its right, from the first pixel in raster order, and
turns right wherever it can, so that it never crosses a corner to a diagonal neighbour. Its points are the middles of
the cracks, which cuts the corners of the stairs. ``skimage.measure.find_contours`` walks the whole image once for each
nucleus.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit


@njit(nogil=True, cache=True)
def trace_outlines(instances: NDArray[np.int32], n: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the outline of every nucleus.

    Parameters
    ----------
    instances : int32 (h, w)
        Nuclei 1..n; 0 is background.
    n : int
        Number of nuclei.

    Returns
    -------
    points : int32 (P, 2)
        Points (x, y) of one outline after another, in half pixels; the first is not repeated.
    start : int64 (n + 1,)
        Start of each outline in `points`; a nucleus without a pixel has none.
    """
    height, width = instances.shape
    first = np.full(n, -1, np.int64)
    length = np.int64(0)
    for y in range(height):
        for x in range(width):
            nucleus = instances[y, x]
            if nucleus == 0:
                continue
            length += 4
            if first[nucleus - 1] < 0:
                first[nucleus - 1] = y * width + x
    points, start = np.empty((length, 2), np.int32), np.zeros(n + 1, np.int64)
    used = 0
    for number in range(n):
        if first[number] >= 0:
            used = _trace(instances, number + 1, first[number] % width, first[number] // width, points, used)
        start[number + 1] = used
    return points[:used].copy(), start


@njit(nogil=True, cache=True)
def _trace(instances: NDArray[np.int32], nucleus: int, x0: int, y0: int, points: NDArray[np.int32], used: int) -> int:
    """Write the outline that starts at the upper left corner of pixel (x0, y0); return the number of points so far."""
    x, y, heading, before = x0, y0, 0, -1
    while True:
        # heading 0 east, 1 south, 2 west, 3 north
        dx, dy = (1, 0, -1, 0)[heading], (0, 1, 0, -1)[heading]
        if before != heading or not _inside(instances, nucleus, x + dx, y + dy, heading, straight=True):
            points[used, 0], points[used, 1] = 2 * x + dx, 2 * y + dy
            used += 1
        before = heading
        x, y = x + dx, y + dy
        if not _inside(instances, nucleus, x, y, heading, straight=False):
            heading = (heading + 1) % 4
        elif not _inside(instances, nucleus, x, y, heading, straight=True):
            heading = (heading + 3) % 4
        if x == x0 and y == y0 and heading == 0:
            return used


@njit(nogil=True, cache=True)
def _inside(instances: NDArray[np.int32], nucleus: int, x: int, y: int, heading: int, straight: bool) -> bool:
    """Return whether the pixel ahead on the right of a corner is of the nucleus, or if `straight` that the way goes on.

    The way goes on straight where the pixel ahead on the right is of the nucleus and the one on the left is not.
    """
    right_x, right_y = x + (0, -1, -1, 0)[heading], y + (0, 0, -1, -1)[heading]
    height, width = instances.shape
    right = 0 <= right_x < width and 0 <= right_y < height and instances[right_y, right_x] == nucleus
    if not straight or not right:
        return bool(right)
    left_x, left_y = x + (0, 0, -1, -1)[heading], y + (-1, 0, 0, -1)[heading]
    return not bool(0 <= left_x < width and 0 <= left_y < height and instances[left_y, left_x] == nucleus)


@njit(nogil=True, cache=True)
def convex_areas(points: NDArray[np.int32], start: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return area and convex area of every outline.

    Parameters
    ----------
    points : int32 (P, 2)
        Points of `trace_outlines`.
    start : int64 (n + 1,)
        Start of each outline.

    Returns
    -------
    float64 (n, 2)
        Area of the polygon and of its convex hull, pixels.
    """
    n = len(start) - 1
    result = np.zeros((n, 2))
    for number in range(n):
        a, b = start[number], start[number + 1]
        if b - a < 3:
            continue
        result[number, 0] = _shoelace(points[a:b]) / 8
        result[number, 1] = _hull_area(points[a:b]) / 8
    return result


@njit(nogil=True, cache=True)
def _shoelace(ring: NDArray[np.int32]) -> float:
    """Return twice the area of a ring of points int32 (k, 2)."""
    total = np.int64(0)
    for k in range(len(ring)):
        following = (k + 1) % len(ring)
        total += np.int64(ring[k, 0]) * ring[following, 1] - np.int64(ring[following, 0]) * ring[k, 1]
    return float(abs(total))


@njit(nogil=True, cache=True)
def _hull_area(ring: NDArray[np.int32]) -> float:
    """Return twice the area of the convex hull of points int32 (k, 2), by gift wrapping."""
    lowest = 0
    for k in range(len(ring)):
        if ring[k, 1] < ring[lowest, 1] or (ring[k, 1] == ring[lowest, 1] and ring[k, 0] < ring[lowest, 0]):
            lowest = k
    total, here = np.int64(0), lowest
    for _ in range(len(ring)):
        best = (here + 1) % len(ring)
        for k in range(len(ring)):
            ax, ay = np.int64(ring[best, 0]) - ring[here, 0], np.int64(ring[best, 1]) - ring[here, 1]
            bx, by = np.int64(ring[k, 0]) - ring[here, 0], np.int64(ring[k, 1]) - ring[here, 1]
            cross = ax * by - ay * bx
            if cross < 0 or (cross == 0 and bx * bx + by * by > ax * ax + ay * ay):
                best = k
        total += np.int64(ring[here, 0]) * ring[best, 1] - np.int64(ring[best, 0]) * ring[here, 1]
        here = best
        if here == lowest:
            break
    return float(abs(total))
