"""Cracks between regions, cut into arcs at junctions.

A crack is the unit line between two cells of different components; a component is a 4-connected set of cells of one
region. Points of the crack lattice where three or four cracks meet are junctions, and an arc is the chain of cracks
from one junction to the next, or a closed loop that meets none. Every crack belongs to exactly one arc, so whatever
is done to an arc is done for the regions on both its sides.

Cells are padded by one ring of zeros: lattice point (y, x) touches cells (y, x), (y, x + 1), (y + 1, x) and
(y + 1, x + 1). Directions are 0 east, 1 south, 2 west, 3 north, so that adding one turns right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

_DY = np.array([0, 1, 0, -1])
_DX = np.array([1, 0, -1, 0])


class Arcs(NamedTuple):
    """All arcs of a lattice, ends included.

    Attributes
    ----------
    x, y : int32 (P,)
        Lattice points of one arc after another.
    start : int64 (A + 1,)
        Where each arc begins in `x` and `y`.
    left, right : int32 (A,)
        Component on either side of an arc walked forwards; 0 is no tissue.
    first_direction, last_direction : int8 (A,)
        Direction of the first and last crack.
    first_junction, last_junction : int32 (A,)
        Junction at each end; -1 for a closed loop without one.
    outgoing : int32 (J, 4)
        Directed arc (2 a forwards, 2 a + 1 backwards) that leaves a junction in each direction, -1 where none does.
    position : int32 (h + 1, w + 1)
        What lies on a lattice point: 0 nothing, a negative number a junction, else one plus its index in `x`.
    """

    x: NDArray[np.int32]
    y: NDArray[np.int32]
    start: NDArray[np.int64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    first_direction: NDArray[np.int8]
    last_direction: NDArray[np.int8]
    first_junction: NDArray[np.int32]
    last_junction: NDArray[np.int32]
    outgoing: NDArray[np.int32]
    position: NDArray[np.int32]


def trace_arcs(components: NDArray[np.int32]) -> Arcs:
    """Return the arcs between the components of a lattice.

    Parameters
    ----------
    components : int32 (h + 2, w + 2)
        Components, 0 for no tissue and on the outermost ring of cells.

    Returns
    -------
    Arcs
        In raster order of their first junctions, then the loops in raster order of their first points.

    Notes
    -----
    Linear in the number of cells; 4 bytes a lattice point and 8 a crack.
    """
    position, n_junctions, n_ends, n_cracks = _mark_junctions(components)
    # A closed loop has at least four cracks, which bounds the loops before they are found.
    n_most = n_ends // 2 + n_cracks // 4
    points = np.empty((2, n_cracks + n_most), np.int32)
    start = np.zeros(n_most + 1, np.int64)
    ends = np.full((4, n_most), -1, np.int32)
    directions = np.empty((2, n_most), np.int8)
    outgoing = np.full((n_junctions, 4), -1, np.int32)
    n_arcs = _walk_arcs(components, position, points, start, ends, directions, outgoing)
    n_points = int(start[n_arcs])
    return Arcs(
        x=points[0, :n_points],
        y=points[1, :n_points],
        start=start[: n_arcs + 1],
        left=ends[0, :n_arcs],
        right=ends[1, :n_arcs],
        first_direction=directions[0, :n_arcs],
        last_direction=directions[1, :n_arcs],
        first_junction=ends[2, :n_arcs],
        last_junction=ends[3, :n_arcs],
        outgoing=outgoing,
        position=position,
    )


@njit(nogil=True, cache=True)
def _is_crack(cells: NDArray[np.int32], y: int, x: int, direction: int) -> bool:
    if direction == 0:
        return bool(cells[y, x + 1] != cells[y + 1, x + 1])
    if direction == 1:
        return bool(cells[y + 1, x] != cells[y + 1, x + 1])
    if direction == 2:
        return bool(cells[y, x] != cells[y + 1, x])
    return bool(cells[y, x] != cells[y, x + 1])


@njit(nogil=True, cache=True)
def _mark_junctions(cells: NDArray[np.int32]) -> tuple[NDArray[np.int32], int, int, int]:
    height, width = cells.shape[0] - 1, cells.shape[1] - 1
    position = np.zeros((height, width), np.int32)
    n_junctions, n_ends, n_degrees = 0, 0, 0
    for y in range(height):
        for x in range(width):
            north_west, north_east = cells[y, x], cells[y, x + 1]
            south_west, south_east = cells[y + 1, x], cells[y + 1, x + 1]
            degree = (
                int(north_west != north_east)
                + int(south_west != south_east)
                + int(north_west != south_west)
                + int(north_east != south_east)
            )
            n_degrees += degree
            if degree > 2:
                n_junctions += 1
                n_ends += degree
                position[y, x] = -n_junctions
    return position, n_junctions, n_ends, n_degrees // 2


@njit(nogil=True, cache=True)
def _walk_arcs(cells, position, points, start, ends, directions, outgoing):  # type: ignore[no-untyped-def]
    height, width = position.shape
    n_arcs = 0
    for y in range(height):
        for x in range(width):
            junction = -position[y, x] - 1
            if junction < 0:
                continue
            for direction in range(4):
                if outgoing[junction, direction] < 0 and _is_crack(cells, y, x, direction):
                    outgoing[junction, direction] = 2 * n_arcs
                    last = _walk(cells, position, points, start, ends, directions, n_arcs, y, x, direction)
                    end = ends[3, n_arcs]
                    outgoing[end, (last + 2) % 4] = 2 * n_arcs + 1
                    n_arcs += 1
    for y in range(height):
        for x in range(width):
            # The first point of a loop in raster order is the upper left corner of a cell: its cracks run east, south.
            if position[y, x] == 0 and _is_crack(cells, y, x, 0):
                _walk(cells, position, points, start, ends, directions, n_arcs, y, x, 0)
                n_arcs += 1
    return n_arcs


@njit(nogil=True, cache=True)
def _walk(cells, position, points, start, ends, directions, arc, y, x, direction):  # type: ignore[no-untyped-def]
    """Walk one arc from (y, x) to the next junction or back to its start, and return the last direction."""
    index = start[arc]
    points[0, index], points[1, index] = x, y
    right_y, right_x = y + (direction < 2), x + (direction == 0 or direction == 3)
    left_y, left_x = y + (direction == 1 or direction == 2), x + (direction < 2)
    ends[0, arc], ends[1, arc] = cells[left_y, left_x], cells[right_y, right_x]
    is_loop = position[y, x] == 0
    if is_loop:
        position[y, x] = index + 1
    else:
        ends[2, arc] = -position[y, x] - 1
    directions[0, arc] = direction
    while True:
        y, x = y + _DY[direction], x + _DX[direction]
        index += 1
        points[0, index], points[1, index] = x, y
        if position[y, x] != 0:
            break
        position[y, x] = index + 1
        # Two cracks meet here: one is where the walk came from.
        if not _is_crack(cells, y, x, direction):
            right = (direction + 1) % 4
            direction = right if _is_crack(cells, y, x, right) else (direction + 3) % 4
    if not is_loop:
        ends[3, arc] = -position[y, x] - 1
    directions[1, arc] = direction
    start[arc + 1] = index + 1
    return direction
