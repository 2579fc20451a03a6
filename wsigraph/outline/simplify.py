"""Simplification of arcs that changes no topology.

Douglas and Peucker's method (Cartographica 1973) keeps the ends of a chain, and its farthest point wherever the chain
is farther than the tolerance from its chord::

    d(k) = distance of point k from the chord i-j;   split at argmax d if max d > tolerance

Alone it may draw a chord across a neighbouring line or past a whole island. So a chord is also refused if the pocket
between it and the chain that it replaces holds, inside or on the chord, any point of another arc (the consistency rule
of de Berg, van Kreveld and Schirra, 1998, applied to the unsimplified neighbours). Pockets then touch no other arc, so
all arcs can be simplified independently, and the result is a deformation of the input: every region keeps its
neighbours, its holes and a positive area. Where the area of a region would change by more than is allowed, its arcs are
simplified less. Coordinates are integers and the pocket test is exact.

``shapely.simplify`` and ``cv2.approxPolyDP`` treat each line alone and let lines cross. ``shapely.coverage_simplify``
keeps the coverage valid, but by Visvalingam's area criterion, which gives no bound on the distance from the input.
Not optimal: a rule that looked at neighbours already simplified would keep fewer points in narrow places.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.outline.coverage_edges import Arcs

_ROUNDS_MAX, _LEAST_FRACTION = 40, 1 / 8


def simplify_arcs(
    arcs: Arcs,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    tolerance: float,
    *,
    max_area_error: float = np.inf,
) -> NDArray[np.bool_]:
    """Return which points of the arcs to keep.

    Parameters
    ----------
    arcs : Arcs
        Arcs of a label grid.
    x, y : int64 (w + 1,), (h + 1,)
        Coordinate of each grid line, strictly increasing.
    tolerance : float
        Greatest distance of a removed point from the chord that replaces it, in the units of `x` and `y`; 0 removes
        only points on straight lines.
    max_area_error : float
        Most by which the area of a component may change, relative to its area before. The arcs of a component that
        changes by more are simplified again at half the tolerance, and at none below an eighth.

    Returns
    -------
    bool (P,)
        True at the ends of every arc and at the points kept between them.

    Notes
    -----
    Time is linear in the number of points times the depth of the recursion, which is usually logarithmic.
    """
    is_kept = np.zeros(len(arcs.x), np.bool_)
    tolerances = np.full(len(arcs.left), float(tolerance))  # (A,)
    todo = np.ones(len(arcs.left), np.bool_)  # (A,)
    is_bent = _is_bent(arcs)
    whole = _areas(arcs, np.ones(len(arcs.x), np.bool_), x, y)
    for _ in range(_ROUNDS_MAX):
        is_kept[np.repeat(todo, np.diff(arcs.start))] = False
        _simplify(arcs.x, arcs.y, arcs.start, is_bent, arcs.position, x, y, tolerances**2, todo, is_kept)
        is_off = np.abs(_areas(arcs, is_kept, x, y) - whole) > max_area_error * whole
        is_off[0] = False  # the background
        todo = (is_off[arcs.left] | is_off[arcs.right]) & (tolerances > 0)
        if not todo.any():
            break
        # errors of two arcs may have cancelled, so a component can be off again after its neighbour was mended
        tolerances[todo] *= 0.5
        tolerances[tolerances < _LEAST_FRACTION * tolerance] = 0.0
    return is_kept


def _areas(arcs: Arcs, is_kept: NDArray[np.bool_], x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the area of every component whose arcs keep some of their points, float64 (K + 1,); 0 is the background.

    By Green's theorem an arc adds half the sum of x_k y_{k+1} - x_{k+1} y_k to one of its sides, and takes it from the
    other. A kept point follows the kept point before it of the same arc.
    """
    kept = np.flatnonzero(is_kept)
    arc = np.repeat(np.arange(len(arcs.left)), np.diff(arcs.start))[kept]
    px, py = x[arcs.x[kept]].astype(np.float64), y[arcs.y[kept]].astype(np.float64)
    cross = np.where(arc[:-1] == arc[1:], px[:-1] * py[1:] - px[1:] * py[:-1], 0.0)
    by_arc = np.bincount(arc[:-1], weights=cross, minlength=len(arcs.left)) / 2
    n_components = int(max(arcs.left.max(initial=0), arcs.right.max(initial=0))) + 1
    right = np.bincount(arcs.right, weights=by_arc, minlength=n_components)
    return np.asarray(right - np.bincount(arcs.left, weights=by_arc, minlength=n_components))


def _is_bent(arcs: Arcs) -> NDArray[np.bool_]:
    """Return the arcs that must keep an inner point, bool (A,): those with the same two ends as another arc."""
    low = np.minimum(arcs.first_junction, arcs.last_junction).astype(np.int64)
    high = np.maximum(arcs.first_junction, arcs.last_junction).astype(np.int64)
    key = low * (len(arcs.outgoing) + 1) + high
    _, inverse, count = np.unique(key, return_inverse=True, return_counts=True)
    return np.asarray(count[inverse] > 1)


@njit(nogil=True, cache=True)
def _simplify(px, py, start, is_bent, position, x, y, tolerance_sq, todo, is_kept):  # type: ignore[no-untyped-def]
    """Write is_kept bool (P,) of the arcs in todo bool (A,), with tolerance_sq float64 (A,).

    The others are px, py int32 (P,), start int64 (A + 1,), is_bent bool (A,), x (w + 1,), y (h + 1,). The recursion
    of Douglas and Peucker on an explicit stack of (first, last, must keep an inner point).
    """
    longest = 2
    for arc in range(len(start) - 1):
        longest = max(longest, start[arc + 1] - start[arc])
    stack = np.empty((longest + 2, 3), np.int64)  # (depth, [first, last, must bend])
    low, high = np.empty(len(y), np.int64), np.empty(len(y), np.int64)  # (h + 1,)
    for arc in range(len(start) - 1):
        if not todo[arc]:
            continue
        first, last = start[arc], start[arc + 1] - 1
        is_kept[first] = True
        is_kept[last] = True
        depth = 1
        stack[0, 0], stack[0, 1], stack[0, 2] = first, last, is_bent[arc]
        if px[first] == px[last] and py[first] == py[last]:
            # a closed arc has no chord: cut it at its farthest point, and keep both halves from becoming the same line
            far, _ = _farthest(px, py, x, y, first, last)
            is_kept[far] = True
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
                and distance_sq <= tolerance_sq[arc]
                and not _pocket_holds_a_point(px, py, position, x, y, i, j, low, high)
            ):
                continue
            is_kept[far] = True
            stack[depth, 0], stack[depth, 1], stack[depth, 2] = i, far, 0
            stack[depth + 1, 0], stack[depth + 1, 1], stack[depth + 1, 2] = far, j, 0
            depth += 2


@njit(nogil=True, cache=True)
def _farthest(px, py, x, y, i, j):  # type: ignore[no-untyped-def]
    """Return the point between `i` and `j` farthest from their chord (ties: the first) and its squared distance."""
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
    """Return whether a point of another arc is inside the pocket of the chain ``i..j`` or on its chord.

    low, high int64 (h + 1,) take the first and last column to test in each row.
    """
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
            # column of the chord, widened by the two cells by which uneven grid lines may shift it; the test is exact
            column = px[i] + (px[j] - px[i]) * (row - py[i]) // (py[j] - py[i])
            low[row] = max(0, min(low[row], column - 2))
            high[row] = min(len(x) - 1, max(high[row], column + 3))
        for column in range(low[row], high[row] + 1):
            if _is_foreign(px, py, position, i, j, row, column) and _is_enclosed(px, py, x, y, i, j, row, column):
                return True
    return False


@njit(nogil=True, cache=True)
def _is_foreign(px, py, position, i, j, row, column):  # type: ignore[no-untyped-def]
    """Return whether a grid point holds a point of an arc that does not belong to the chain ``i..j``."""
    point = position[row, column]
    if point == 0 or i <= point - 1 <= j:
        return False
    is_end = (px[i] == column and py[i] == row) or (px[j] == column and py[j] == row)
    return not is_end


@njit(nogil=True, cache=True)
def _is_enclosed(px, py, x, y, i, j, row, column):  # type: ignore[no-untyped-def]
    """Return whether chain and chord wind around a grid point, or the chord goes through it."""
    point_x, point_y = x[column], y[row]
    x0, y0, x1, y1 = x[px[i]], y[py[i]], x[px[j]], y[py[j]]
    across = (x1 - x0) * (point_y - y0) - (y1 - y0) * (point_x - x0)
    if across == 0 and min(x0, x1) <= point_x <= max(x0, x1) and min(y0, y1) <= point_y <= max(y0, y1):
        return True
    # winding number: crossings of a ray to the west, shifted slightly south so that it meets no end of a line
    winding = 0
    for k in range(i, j):
        if px[k] == px[k + 1] and px[k] < column and min(py[k], py[k + 1]) == row:
            winding += py[k + 1] - py[k]
    if y0 <= point_y < y1 and across < 0:
        winding -= 1
    elif y1 <= point_y < y0 and across > 0:
        winding += 1
    return winding != 0
