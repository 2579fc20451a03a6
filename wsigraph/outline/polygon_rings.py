"""Arcs joined to polygon rings: the exterior of every component, and its holes.

Rings are the faces of the planar graph of arcs and junctions. With its component on the right, an arc that arrives at a
junction with heading h continues with the arc that leaves in the first of these directions that has one::

    h + 1 (right),  h (straight on),  h + 3 (left)        modulo 4

That is the arc that borders the same cell, so the trace never crosses a corner into a diagonal neighbour. Where a trace
passes a junction twice it is cut there, which leaves simple rings that touch each other in single points at most: the
condition for a valid polygon in OGC Simple Features. With vertices (x_k, y_k)::

    2 area = sum over k of (x_{k-1} y_k - x_k y_{k-1})        positive for an exterior, negative for a hole

``shapely.polygonize`` would find the same faces from the arcs, but takes a geometry object for every arc, checks
geometry in floating point and does not say which component a face belongs to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.outline.coverage_edges import Arcs


class PolygonRings(NamedTuple):
    """Closed rings; the first point of a ring is not repeated at its end.

    Attributes
    ----------
    x, y : int64 (P,)
        Points of one ring after another, in the units of the grid lines.
    start : int64 (R + 1,)
        Start of each ring in `x` and `y`.
    component : int32 (R,)
        Component that the ring bounds.
    area : int64 (R,)
        Twice the signed area: positive for an exterior ring, negative for a hole.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    start: NDArray[np.int64]
    component: NDArray[np.int32]
    area: NDArray[np.int64]


def join_rings(arcs: Arcs, is_kept: NDArray[np.bool_], x: NDArray[np.int64], y: NDArray[np.int64]) -> PolygonRings:
    """Return the rings that bound the components.

    Parameters
    ----------
    arcs : Arcs
        All arcs of a label grid.
    is_kept : bool (P,)
        Points of the arcs that stay after simplification; True at both ends of each arc.
    x, y : int64 (w + 1,), (h + 1,)
        Coordinate of each grid line.

    Returns
    -------
    PolygonRings
        Rings sorted by component, the exterior of a component before its holes.

    Notes
    -----
    Time is linear in the number of points.
    """
    n_arcs = len(arcs.left)
    n_points = np.add.reduceat(is_kept, arcs.start[:-1], dtype=np.int64) if n_arcs else np.zeros(0, np.int64)
    sides = (arcs.left > 0).astype(np.int64) + (arcs.right > 0)
    points = np.empty((2, int(((n_points - 1) * sides).sum())), np.int64)  # (2, P)
    start = np.zeros(int(sides.sum()) + 1, np.int64)  # (R + 1,) at most
    component = np.empty(int(sides.sum()), np.int32)  # (R,) at most
    n_rings = _join(arcs, is_kept, x, y, points, start, component)
    start, component = start[: n_rings + 1], component[:n_rings]
    area = _areas(points, start)
    order = np.lexsort((area < 0, component))
    length = np.diff(start)[order]
    sorted_start = np.concatenate([np.zeros(1, np.int64), np.cumsum(length)])
    source = np.repeat(start[:-1][order] - sorted_start[:-1], length) + np.arange(points.shape[1])
    return PolygonRings(points[0, source], points[1, source], sorted_start, component[order], area[order])


@njit(nogil=True, cache=True)
def _areas(points, start):  # type: ignore[no-untyped-def]
    """Return twice the signed area of each ring, int64 (R,): points int64 (2, P), start int64 (R + 1,)."""
    area = np.zeros(len(start) - 1, np.int64)
    for ring in range(len(start) - 1):
        before = start[ring + 1] - 1
        for k in range(start[ring], start[ring + 1]):
            area[ring] += points[0, before] * points[1, k] - points[0, k] * points[1, before]
            before = k
    return area


@njit(nogil=True, cache=True)
def _join(arcs, is_kept, x, y, points, start, component):  # type: ignore[no-untyped-def]
    """Trace every directed arc once; write points int64 (2, P), start (R + 1,), component (R,); return R."""
    n_directed = 2 * len(arcs.left)
    is_traced = np.zeros(n_directed, np.bool_)  # (2 A,)
    trail = np.empty(n_directed, np.int64)  # (2 A,) directed arcs since the last cut
    # index on the trail at which each junction was left; -1 for a junction that is not on the trail
    left_at = np.full(len(arcs.outgoing), -1, np.int64)
    n_rings = 0
    for begin in range(n_directed):
        side = _inside(arcs, begin)
        if side == 0 or is_traced[begin]:
            continue
        directed, length = begin, 0
        while not is_traced[directed]:
            is_traced[directed] = True
            origin, end = _ends(arcs, directed)
            trail[length] = directed
            if end >= 0:
                left_at[origin] = length
            length += 1
            if end < 0 or left_at[end] >= 0:
                base = length - 1 if end < 0 else left_at[end]
                _emit(arcs, is_kept, x, y, trail[base:length], points, start, n_rings)
                component[n_rings] = side
                n_rings += 1
                for k in range(base, length):
                    passed, _ = _ends(arcs, trail[k])
                    if passed >= 0:
                        left_at[passed] = -1
                length = base
            if end >= 0:
                directed = _next(arcs, directed, end)
    return n_rings


@njit(nogil=True, cache=True)
def _inside(arcs, directed):  # type: ignore[no-untyped-def]
    """Return the component to the right of a directed arc."""
    return arcs.right[directed // 2] if directed % 2 == 0 else arcs.left[directed // 2]


@njit(nogil=True, cache=True)
def _ends(arcs, directed):  # type: ignore[no-untyped-def]
    """Return the first and last junction of a directed arc; -1 for a loop."""
    first, last = arcs.first_junction[directed // 2], arcs.last_junction[directed // 2]
    return (first, last) if directed % 2 == 0 else (last, first)


@njit(nogil=True, cache=True)
def _next(arcs, directed, junction):  # type: ignore[no-untyped-def]
    """Return the directed arc that continues around the same cell: to the right, else straight on, else to the left."""
    arc = directed // 2
    heading = arcs.last_direction[arc] if directed % 2 == 0 else (arcs.first_direction[arc] + 2) % 4
    for turn in (1, 0, 3):
        next_arc = arcs.outgoing[junction, (heading + turn) % 4]
        if next_arc >= 0:
            return next_arc
    return directed ^ 1


@njit(nogil=True, cache=True)
def _emit(arcs, is_kept, x, y, trail, points, start, ring):  # type: ignore[no-untyped-def]
    """Write the points of one ring from its trail of directed arcs; an arc's last point is the first of the next."""
    n = start[ring]
    for directed in trail:
        first, last = arcs.start[directed // 2], arcs.start[directed // 2 + 1] - 1
        step = 1
        if directed % 2 == 1:
            first, last, step = last, first, -1
        for k in range(first, last, step):
            if is_kept[k]:
                points[0, n], points[1, n] = x[arcs.x[k]], y[arcs.y[k]]
                n += 1
    start[ring + 1] = n
