"""Fewer points on an arc, with nothing crossed, swallowed or flattened.

Douglas and Peucker's method (Cartographica 1973) keeps the ends of a chain and its farthest point wherever the chain
strays from its chord by more than the tolerance. Alone it may draw a chord across a neighbouring line or past a whole
island. Here a chord is also refused while the pocket between it and the cracks it replaces holds, inside or on the
chord, any other point of any crack (the consistency rule of de Berg, van Kreveld and Schirra, 1998, held against the
unsimplified neighbours). Pockets then touch no other crack, so all arcs may be simplified at once and in any order,
and the result is a deformation of the input: every region keeps its neighbours, its holes and a positive area.
Not optimal: a rule that looked at neighbours already simplified would keep fewer points in narrow places.

Coordinates are integers and the pocket test is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.outline.coverage_edges import Arcs


def simplify_arcs(arcs: Arcs, x: NDArray[np.int64], y: NDArray[np.int64], tolerance: float) -> NDArray[np.bool_]:
    """Return which points of the arcs to keep.

    Parameters
    ----------
    arcs : Arcs
        Arcs of a lattice.
    x, y : int64 (w + 1,), (h + 1,)
        Strictly rising coordinate of each line of the lattice.
    tolerance : float
        Farthest a removed point may lie from the chord that replaces it, in the units of `x` and `y`; 0 removes only
        points on straight runs.

    Returns
    -------
    bool (P,)
        True for the ends of every arc and for the points kept between them.

    Notes
    -----
    Linear in the number of points but for the depth of the splitting, logarithmic as a rule.
    """
    kept = np.zeros(len(arcs.x), np.bool_)
    _simplify(
        arcs.x, arcs.y, arcs.start, _is_bent(arcs), arcs.position, x, y, float(tolerance) * float(tolerance), kept
    )
    return kept


def _is_bent(arcs: Arcs) -> NDArray[np.bool_]:
    """Return the arcs that must keep a point between their ends: those that share both ends with another arc."""
    low = np.minimum(arcs.first_junction, arcs.last_junction).astype(np.int64)
    high = np.maximum(arcs.first_junction, arcs.last_junction).astype(np.int64)
    key = low * (len(arcs.outgoing) + 1) + high
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray(count[inverse] > 1)


@njit(nogil=True, cache=True)
def _simplify(px, py, start, is_bent, position, x, y, tolerance_sq, kept):  # type: ignore[no-untyped-def]
    longest = 2
    for arc in range(len(start) - 1):
        longest = max(longest, start[arc + 1] - start[arc])
    stack = np.empty((longest + 2, 3), np.int64)
    low, high = np.empty(len(y), np.int64), np.empty(len(y), np.int64)
    for arc in range(len(start) - 1):
        first, last = start[arc], start[arc + 1] - 1
        kept[first] = True
        kept[last] = True
        depth = 1
        stack[0, 0], stack[0, 1], stack[0, 2] = first, last, is_bent[arc]
        if px[first] == px[last] and py[first] == py[last]:
            # A closed arc has no chord: it is cut at its farthest point, and neither half may become the other's line.
            far, _ = _farthest(px, py, x, y, first, last)
            kept[far] = True
            depth = 2
            stack[0, 0], stack[0, 1], stack[0, 2] = first, far, 1
            stack[1, 0], stack[1, 1], stack[1, 2] = far, last, 1
        while depth > 0:
            depth -= 1
            i, j, must_bend = stack[depth]
            if j - i < 2:
                continue
            far, distance_sq = _farthest(px, py, x, y, i, j)
            if distance_sq == 0.0:
                continue
            if (
                must_bend == 0
                and distance_sq <= tolerance_sq
                and not _pocket_holds_a_point(px, py, position, x, y, i, j, low, high)
            ):
                continue
            kept[far] = True
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = i, far, 0
            stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2] = far, j, 0
            depth += 2


@njit(nogil=True, cache=True)
def _farthest(px, py, x, y, i, j):  # type: ignore[no-untyped-def]
    """Return the point between `i` and `j` farthest from their chord, the first of equals, and its squared distance."""
    x0, y0 = x[px[i]], y[py[i]]
    along_x, along_y = x[px[j]] - x0, y[py[j]] - y0
    length_sq = float(along_x * along_x + along_y * along_y)
    far, farthest_sq = i + 1, -1.0
    for k in range(i + 1, j):
        off_x, off_y = x[px[k]] - x0, y[py[k]] - y0
        ahead = float(along_x * off_x + along_y * off_y)
        if ahead <= 0.0:
            distance_sq = float(off_x * off_x + off_y * off_y)
        elif ahead >= length_sq:
            off_x, off_y = off_x - along_x, off_y - along_y
            distance_sq = float(off_x * off_x + off_y * off_y)
        else:
            across = float(along_x * off_y - along_y * off_x)
            distance_sq = across * across / length_sq
        if distance_sq > farthest_sq:
            far, farthest_sq = k, distance_sq
    return far, farthest_sq


@njit(nogil=True, cache=True)
def _pocket_holds_a_point(px, py, position, x, y, i, j, low, high):  # type: ignore[no-untyped-def]
    """Tell whether a crack point not of the chain ``i..j`` lies inside its pocket or on its chord."""
    top, bottom = min(py[i], py[j]), max(py[i], py[j])
    for k in range(i, j + 1):
        top, bottom = min(top, py[k]), max(bottom, py[k])
    for row in range(top, bottom + 1):
        low[row], high[row] = len(x), -1
    for k in range(i, j + 1):
        row = py[k]
        low[row], high[row] = min(low[row], px[k]), max(high[row], px[k])
    chord_top, chord_bottom = min(py[i], py[j]), max(py[i], py[j])
    for row in range(top, bottom + 1):
        if chord_top < row < chord_bottom:
            # Where the chord passes, up to the two cells by which uneven lines may shift it; the test below is exact.
            column = px[i] + (px[j] - px[i]) * (row - py[i]) // (py[j] - py[i])
            low[row] = max(0, min(low[row], column - 2))
            high[row] = min(len(x) - 1, max(high[row], column + 3))
        for column in range(low[row], high[row] + 1):
            if _is_foreign(px, py, position, i, j, row, column) and _is_enclosed(px, py, x, y, i, j, row, column):
                return True
    return False


@njit(nogil=True, cache=True)
def _is_foreign(px, py, position, i, j, row, column):  # type: ignore[no-untyped-def]
    found = position[row, column]
    if found == 0 or i <= found - 1 <= j:
        return False
    is_end = (px[i] == column and py[i] == row) or (px[j] == column and py[j] == row)
    return not is_end


@njit(nogil=True, cache=True)
def _is_enclosed(px, py, x, y, i, j, row, column):  # type: ignore[no-untyped-def]
    """Tell whether a point off the chain winds inside chain and chord, or lies on the chord."""
    point_x, point_y = x[column], y[row]
    x0, y0, x1, y1 = x[px[i]], y[py[i]], x[px[j]], y[py[j]]
    across = (x1 - x0) * (point_y - y0) - (y1 - y0) * (point_x - x0)
    if across == 0 and min(x0, x1) <= point_x <= max(x0, x1) and min(y0, y1) <= point_y <= max(y0, y1):
        return True
    # Crossings of a ray to the west, laid just south of the point, so that it meets no end of a line.
    winding = 0
    for k in range(i, j):
        if px[k] == px[k + 1] and px[k] < column and min(py[k], py[k + 1]) == row:
            winding += py[k + 1] - py[k]
    if y0 <= point_y < y1 and across < 0:
        winding -= 1
    elif y1 <= point_y < y0 and across > 0:
        winding += 1
    return winding != 0
