"""Arcs joined to rings: the outline of every component and of every hole in it.

Walked with its component on the right, an arc leads at each junction to the crack that borders the same cell, so a
walk never steps across a corner into a diagonal neighbour. A walk that passes a junction twice is cut there, which
leaves simple rings that touch at single points at most: the form in which polygons count as valid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.outline.coverage_edges import Arcs


class Rings(NamedTuple):
    """Closed rings, each written without repeating its first point.

    Attributes
    ----------
    x, y : int64 (P,)
        Points of one ring after another, in the units of the lattice's lines.
    start : int64 (R + 1,)
        Where each ring begins.
    component : int32 (R,)
        Component inside the ring's line.
    area : int64 (R,)
        Twice the signed area: positive for an outer ring, negative for a hole.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    start: NDArray[np.int64]
    component: NDArray[np.int32]
    area: NDArray[np.int64]


def join_rings(arcs: Arcs, kept: NDArray[np.bool_], x: NDArray[np.int64], y: NDArray[np.int64]) -> Rings:
    """Return the rings that bound the components.

    Parameters
    ----------
    arcs : Arcs
        All arcs of a lattice.
    kept : bool (P,)
        Points of the arcs that the rings go through; both ends of each arc among them.
    x, y : int64 (w + 1,), (h + 1,)
        Coordinate of each line of the lattice.

    Returns
    -------
    Rings
        Sorted by component, the outer ring of a component before its holes.

    Notes
    -----
    Linear in the number of points.
    """
    n_arcs = len(arcs.left)
    n_kept = np.add.reduceat(kept, arcs.start[:-1], dtype=np.int64) if n_arcs else np.zeros(0, np.int64)
    sides = (arcs.left > 0).astype(np.int64) + (arcs.right > 0)
    points = np.empty((2, int(((n_kept - 1) * sides).sum())), np.int64)
    start = np.zeros(int(sides.sum()) + 1, np.int64)
    component = np.empty(int(sides.sum()), np.int32)
    n_rings = _join(arcs, kept, x, y, points, start, component)
    start, component = start[: n_rings + 1], component[:n_rings]
    area = _areas(points, start)
    order = np.lexsort((area < 0, component))
    length = np.diff(start)[order]
    sorted_start = np.concatenate([np.zeros(1, np.int64), np.cumsum(length)])
    source = np.repeat(start[:-1][order] - sorted_start[:-1], length) + np.arange(points.shape[1])
    return Rings(points[0, source], points[1, source], sorted_start, component[order], area[order])


@njit(nogil=True, cache=True)
def _areas(points, start):  # type: ignore[no-untyped-def]
    area = np.zeros(len(start) - 1, np.int64)
    for ring in range(len(start) - 1):
        before = start[ring + 1] - 1
        for k in range(start[ring], start[ring + 1]):
            area[ring] += points[0, before] * points[1, k] - points[0, k] * points[1, before]
            before = k
    return area


@njit(nogil=True, cache=True)
def _join(arcs, kept, x, y, points, start, component):  # type: ignore[no-untyped-def]
    n_directed = 2 * len(arcs.left)
    is_walked = np.zeros(n_directed, np.bool_)
    trail = np.empty(n_directed, np.int64)
    # Where on the trail the walk left each junction; -1 for a junction that is not on the trail.
    left_at = np.full(len(arcs.outgoing), -1, np.int64)
    n_rings = 0
    for begin in range(n_directed):
        side = _inside(arcs, begin)
        if side == 0 or is_walked[begin]:
            continue
        directed, length = begin, 0
        while not is_walked[directed]:
            is_walked[directed] = True
            origin, end = _ends(arcs, directed)
            trail[length] = directed
            if end >= 0:
                left_at[origin] = length
            length += 1
            if end < 0 or left_at[end] >= 0:
                base = length - 1 if end < 0 else left_at[end]
                _emit(arcs, kept, x, y, trail[base:length], points, start, n_rings)
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
    return arcs.right[directed // 2] if directed % 2 == 0 else arcs.left[directed // 2]


@njit(nogil=True, cache=True)
def _ends(arcs, directed):  # type: ignore[no-untyped-def]
    first, last = arcs.first_junction[directed // 2], arcs.last_junction[directed // 2]
    return (first, last) if directed % 2 == 0 else (last, first)


@njit(nogil=True, cache=True)
def _next(arcs, directed, junction):  # type: ignore[no-untyped-def]
    """Return the directed arc that goes on around the same cell: right if there is a crack, else ahead, else left."""
    arc = directed // 2
    heading = arcs.last_direction[arc] if directed % 2 == 0 else (arcs.first_direction[arc] + 2) % 4
    for turn in (1, 0, 3):
        found = arcs.outgoing[junction, (heading + turn) % 4]
        if found >= 0:
            return found
    return directed ^ 1


@njit(nogil=True, cache=True)
def _emit(arcs, kept, x, y, trail, points, start, ring):  # type: ignore[no-untyped-def]
    n = start[ring]
    for directed in trail:
        first, last = arcs.start[directed // 2], arcs.start[directed // 2 + 1] - 1
        step = 1
        if directed % 2 == 1:
            first, last, step = last, first, -1
        for k in range(first, last, step):
            if kept[k]:
                points[0, n], points[1, n] = x[arcs.x[k]], y[arcs.y[k]]
                n += 1
    start[ring + 1] = n
