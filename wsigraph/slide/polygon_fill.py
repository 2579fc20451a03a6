"""Polygons as pixels, and whether a polygon crosses itself.

A pixel belongs to a polygon if its centre does, by the even-odd rule over all rings, so that a hole is the inside of
two rings. Each edge flips every pixel to the right of where it crosses the middle of a row; the running parity of a row
is then its inside. A pixel depends on its own centre alone, so a box gives the same pixels however it is cut, and
polygons that share a border share no pixel.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box
from wsigraph.kernels import njit


def fill(edges: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    """Return which pixels of a box have their centre inside the rings.

    Parameters
    ----------
    edges : float64 (E, 4)
        x0, y0, x1, y1 of each edge of all rings, in pixels of the grid of `box`.
    box : Box
        Pixels.

    Returns
    -------
    bool (box.height, box.width)
        True inside.
    """
    flips = np.zeros((box.height, box.width), np.uint8)
    touches = (np.minimum(edges[:, 1], edges[:, 3]) < box.y1) & (np.maximum(edges[:, 1], edges[:, 3]) > box.y0)
    flip(np.ascontiguousarray(edges[touches]), box.y0, box.x0, flips)
    return np.asarray(np.bitwise_xor.accumulate(flips, axis=1), bool)


@njit(nogil=True, cache=True)
def flip(edges: NDArray[np.float64], y_first: int, x_first: int, flips: NDArray[np.uint8]) -> None:
    """Flip, in `flips` uint8 (h, w), the first pixel of each row whose centre is right of an edge; edges (E, 4)."""
    height, width = flips.shape
    for edge in range(len(edges)):
        x0, y0, x1, y1 = edges[edge]
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # rows whose middle y + 1/2 lies in [y0, y1), so that a corner between two edges counts once
        first = max(0, math.ceil(y0 - 0.5) - y_first)
        last = min(height, math.ceil(y1 - 0.5) - y_first)
        for row in range(first, last):
            x = x0 + (row + y_first + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            column = max(0, math.ceil(x - 0.5) - x_first)
            if column < width:
                flips[row, column] ^= 1


def find_crossing(edges: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return a point where two edges cross, (x, y), or None.

    Parameters
    ----------
    edges : float64 (E, 4)
        x0, y0, x1, y1 of each edge of one polygon.

    Returns
    -------
    tuple of (float, float) or None
        Edges that only touch, or lie on each other, do not cross.

    Notes
    -----
    Edges are sorted by their left end, and each is compared with those that begin before its right end.
    """
    order = np.argsort(np.minimum(edges[:, 0], edges[:, 2]), kind="stable")
    pair = _crossing_pair(np.ascontiguousarray(edges[order]))
    if pair[0] < 0:
        return None
    (ax, ay, bx, by), (cx, cy, dx, dy) = edges[order][pair[0]], edges[order][pair[1]]
    share = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / ((bx - ax) * (dy - cy) - (by - ay) * (dx - cx))
    return float(ax + share * (bx - ax)), float(ay + share * (by - ay))


@njit(nogil=True, cache=True)
def _side(ax: float, ay: float, bx: float, by: float, x: float, y: float) -> float:
    """Return twice the signed area of the triangle a, b, (x, y)."""
    area: float = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    return area


@njit(nogil=True, cache=True)
def _crossing_pair(edges: NDArray[np.float64]) -> Any:
    """Return the numbers of two edges that cross properly, or (-1, -1); edges (E, 4), sorted by left end."""
    for first in range(len(edges)):
        ax, ay, bx, by = edges[first]
        right, low, high = max(ax, bx), min(ay, by), max(ay, by)
        for second in range(first + 1, len(edges)):
            cx, cy, dx, dy = edges[second]
            if min(cx, dx) > right:
                break
            if min(cy, dy) > high or max(cy, dy) < low:
                continue
            if (
                _side(ax, ay, bx, by, cx, cy) * _side(ax, ay, bx, by, dx, dy) < 0
                and _side(cx, cy, dx, dy, ax, ay) * _side(cx, cy, dx, dy, bx, by) < 0
            ):
                return first, second
    return -1, -1
