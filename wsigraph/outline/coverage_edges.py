"""The edges between the regions of a polygon coverage, cut into arcs at junctions.

A coverage is a set of polygons that fill an area without gaps or overlaps. A unit edge separates two cells of different
components, a component being a 4-connected set of cells of one region. A grid point where three or four unit edges meet
is a junction. An arc is the chain of unit edges from one junction to the next, or a closed loop without a junction.
Every unit edge belongs to exactly one arc, so a change to an arc changes the regions on both of its sides alike (the
arcs of TopoJSON).

Cells are padded by a border of zeros; grid point (y, x) touches cells (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)::

    directions:   0 east, 1 south, 2 west, 3 north; adding 1 turns right
    degree(y, x)  = number of differing pairs of side-by-side cells among the four, 0, 2, 3 or 4
    junction      = point of degree 3 or 4

``rasterio.features.shapes`` (GDAL), ``cv2.findContours`` and ``skimage.measure.find_contours`` trace each region on its
own, so the two sides of a border are simplified differently and leave gaps and overlaps. topojson and
``shapely.coverage_simplify`` recover common arcs from finished polygons; here they are read off the grid directly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

# steps of the four directions
_DY = np.array([0, 1, 0, -1])
_DX = np.array([1, 0, -1, 0])


class Arcs(NamedTuple):
    """All arcs of a label grid, including their end points.

    Attributes
    ----------
    x, y : int32 (P,)
        Grid points of one arc after another.
    start : int64 (A + 1,)
        Start of each arc in `x` and `y`.
    left, right : int32 (A,)
        Component on either side of an arc in forward direction; 0 is background.
    first_direction, last_direction : int8 (A,)
        Direction of the first and last unit edge.
    first_junction, last_junction : int32 (A,)
        Junction at each end; -1 for a closed loop without a junction.
    outgoing : int32 (J, 4)
        Directed arc that leaves a junction in each direction (2 a forward, 2 a + 1 backward); -1 if there is none.
    position : int32 (h + 1, w + 1)
        Content of each grid point: 0 for nothing, ``-1 - junction``, or 1 + the index of an arc's point in `x`.
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
    """Return the arcs between the components of a grid of cells.

    Parameters
    ----------
    components : int32 (h + 2, w + 2)
        Component of each cell; 0 for background and in the outermost rows and columns.

    Returns
    -------
    Arcs
        Arcs in raster order of their first junctions, then loops in raster order of their first points.

    Notes
    -----
    Time is linear in the number of cells. Memory: 4 bytes for each grid point and 8 for each unit edge.
    """
    position, n_junctions, n_ends, n_edges = _mark_junctions(components)
    # upper bound of the number of arcs: each has two ends at junctions, or is a loop of at least four unit edges
    n_most = n_ends // 2 + n_edges // 4
    points = np.empty((2, n_edges + n_most), np.int32)  # (2, P) x, y
    start = np.zeros(n_most + 1, np.int64)  # (A + 1,)
    ends = np.full((4, n_most), -1, np.int32)  # (4, A) left, right, first and last junction
    directions = np.empty((2, n_most), np.int8)  # (2, A) first, last
    outgoing = np.full((n_junctions, 4), -1, np.int32)  # (J, 4)
    n_arcs = _trace_all_arcs(components, position, points, start, ends, directions, outgoing)
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
def _is_edge(cells: NDArray[np.int32], y: int, x: int, direction: int) -> bool:
    """Return whether a unit edge leaves grid point (y, x) in a direction: whether the cells on its sides differ."""
    if direction == 0:
        return bool(cells[y, x + 1] != cells[y + 1, x + 1])
    if direction == 1:
        return bool(cells[y + 1, x] != cells[y + 1, x + 1])
    if direction == 2:
        return bool(cells[y, x] != cells[y + 1, x])
    return bool(cells[y, x] != cells[y, x + 1])


@njit(nogil=True, cache=True)
def _mark_junctions(cells: NDArray[np.int32]) -> tuple[NDArray[np.int32], int, int, int]:
    """Return positions with the junctions numbered -1, -2, ..., int32 (h + 1, w + 1), and three counts.

    The counts: junctions, ends of unit edges at junctions, unit edges (half the sum of all degrees).
    """
    height, width = cells.shape[0] - 1, cells.shape[1] - 1
    position = np.zeros((height, width), np.int32)  # (h + 1, w + 1)
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
def _trace_all_arcs(cells, position, points, start, ends, directions, outgoing):  # type: ignore[no-untyped-def]
    """Trace every arc once and return their number; all arrays but `cells` are filled in.

    points int32 (2, P): x, y; start int64 (A + 1,); ends int32 (4, A): left, right, first and last junction;
    directions int8 (2, A): first and last; outgoing int32 (J, 4).
    """
    height, width = position.shape
    n_arcs = 0
    for y in range(height):
        for x in range(width):
            junction = -position[y, x] - 1
            if junction < 0:
                continue
            for direction in range(4):
                if outgoing[junction, direction] < 0 and _is_edge(cells, y, x, direction):
                    outgoing[junction, direction] = 2 * n_arcs
                    last = _trace_arc(cells, position, points, start, ends, directions, n_arcs, y, x, direction)
                    end = ends[3, n_arcs]
                    outgoing[end, (last + 2) % 4] = 2 * n_arcs + 1
                    n_arcs += 1
    for y in range(height):
        for x in range(width):
            # the first point of a loop in raster order is the upper left corner of a cell: its edges run east and south
            if position[y, x] == 0 and _is_edge(cells, y, x, 0):
                _trace_arc(cells, position, points, start, ends, directions, n_arcs, y, x, 0)
                n_arcs += 1
    return n_arcs


@njit(nogil=True, cache=True)
def _trace_arc(cells, position, points, start, ends, directions, arc, y, x, direction):  # type: ignore[no-untyped-def]
    """Trace one arc from (y, x) to the next junction, or back to its start, and return the last direction."""
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
        # degree 2: one edge is the one just traced, the other goes straight on, right or left
        if not _is_edge(cells, y, x, direction):
            right = (direction + 1) % 4
            direction = right if _is_edge(cells, y, x, right) else (direction + 3) % 4
    if not is_loop:
        ends[3, arc] = -position[y, x] - 1
    directions[1, arc] = direction
    start[arc + 1] = index + 1
    return direction
