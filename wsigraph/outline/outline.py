"""Outlines of coarse regions as polygons that fit together.

There are three steps: the borders of the label grid are cut into arcs (``coverage_edges``), each arc is simplified once
(``simplify``), and polygon rings are joined from the simplified arcs (``polygon_rings``). Neighbours share the same
arc, so there is neither a gap nor an overlap between them, and all polygons are valid.

A region that is not connected on the grid becomes several polygons. Fragments no wider than twice the tolerance are
merged into the neighbour with the longest common border. A region without a cell centre gets a square of its area
around its centroid, which overlaps its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.geometry import px_to_um2
from wsigraph.graph.superpixel.components import label_components
from wsigraph.outline.coverage_edges import trace_arcs
from wsigraph.outline.label_grid import LabelGrid
from wsigraph.outline.polygon_rings import PolygonRings, join_rings
from wsigraph.outline.simplify import simplify_arcs
from wsigraph.records import TissueGraph

Points = NDArray[np.float64]
"""Points (x, y) in level-0 pixels, float64 (n, 2)."""

_SIMPLIFIED, _TAKEN, _ADDED = 0.6, 0.2, 0.2
"""What simplification, lost fragments and gained fragments may each use of the allowed change of a region's area."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """Polygons of every coarse region, in level-0 pixels.

    Attributes
    ----------
    points : float64 (P, 2)
        Points (x, y) of one ring after another, multiples of 0.1 px; a ring's first point is not repeated.
    ring_start : int64 (R + 1,)
        Start of each ring in `points`.
    polygon_start : int64 (Q + 1,)
        Start of each polygon among the rings; its first ring is the exterior, the others are holes.
    region_start : int64 (C + 1,)
        Start of each region among the polygons; every region has at least one polygon.
    ring_area_px : float64 (R,)
        Signed area of each ring, level-0 px; negative for a hole.
    line_points : float64 (L, 2)
        Points of every line between two regions, or between a region and the background; each line occurs once.
    line_start : int64 (A + 1,)
        Start of each line in `line_points`.
    line_is_outer : bool (A,)
        True if a line separates tissue from background, False if it separates two regions.
    boxed : int64 (B,)
        Regions too small for the grid, drawn as squares.
    """

    points: Points
    ring_start: NDArray[np.int64]
    polygon_start: NDArray[np.int64]
    region_start: NDArray[np.int64]
    ring_area_px: NDArray[np.float64]
    line_points: Points
    line_start: NDArray[np.int64]
    line_is_outer: NDArray[np.bool_]
    boxed: NDArray[np.int64]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return len(self.region_start) - 1

    def lines(self, chosen: NDArray[np.bool_] | None = None) -> list[Points]:
        """Return the lines between regions, each once, as they are drawn.

        Parameters
        ----------
        chosen : bool (A,), optional
            Mask of the lines to return; all if omitted.

        Returns
        -------
        list of float64 (n, 2)
            Points of one line after another.
        """
        index = np.arange(len(self.line_start) - 1) if chosen is None else np.flatnonzero(chosen)
        return [self.line_points[a:b] for a, b in zip(self.line_start[index], self.line_start[index + 1], strict=True)]

    def polygons(self, region: int) -> list[list[Points]]:
        """Return the polygons of one region.

        Parameters
        ----------
        region : int
            Coarse node.

        Returns
        -------
        list of list of float64 (n, 2)
            A list of rings for each polygon, the exterior first; a ring's first point is not repeated at its end.

        Raises
        ------
        RecordError
            If there is no such region.
        """
        if not 0 <= region < self.n_regions:
            raise RecordError(f"there is no region {region}, expected 0 to {self.n_regions - 1}")
        return [
            [
                self.points[self.ring_start[ring] : self.ring_start[ring + 1]]
                for ring in range(self.polygon_start[polygon], self.polygon_start[polygon + 1])
            ]
            for polygon in range(self.region_start[region], self.region_start[region + 1])
        ]


def trace_outlines(
    label_grid: LabelGrid, graph: TissueGraph, *, tolerance_um: float, max_area_error: float = np.inf
) -> Outlines:
    """Return the outlines of every region of a label grid.

    Parameters
    ----------
    label_grid : LabelGrid
        Regions at cell centres.
    graph : TissueGraph
        Coarse graph, for the centroid and area of regions that are absent from the grid.
    tolerance_um : float
        Greatest distance between an outline and the border of the cells, um; 0 returns the border of the cells.

    max_area_error : float
        Most by which a region's area may differ from that of its cells, relative to it; outlines are simplified less
        where they would change it more.

    Returns
    -------
    Outlines
        Polygons and lines.

    Raises
    ------
    RecordError
        If label grid and graph have different numbers of regions.

    Notes
    -----
    Time is linear in cells and points: 2,500 x 1,900 cells with 10,000 regions take about a second on one thread.
    Memory: 12 bytes for each cell beside the label grid itself.
    """
    if graph.n_nodes != label_grid.n_regions:
        raise RecordError(
            f"the graph has {graph.n_nodes} nodes and the label grid {label_grid.n_regions} regions, "
            "expected the same number; trace the label grid that was sampled from this graph"
        )
    fragment_cells = int((2 * tolerance_um / label_grid.mpp) ** 2)
    components, region_of = _merge_fragments(label_grid.regions, fragment_cells, max_area_error)
    arcs = trace_arcs(components)
    tolerance, allowed = tolerance_um / label_grid.unit_um, _SIMPLIFIED * max_area_error
    is_kept = simplify_arcs(arcs, label_grid.x, label_grid.y, tolerance, max_area_error=allowed)
    rings = join_rings(arcs, is_kept, label_grid.x, label_grid.y)
    boxed = np.setdiff1d(np.arange(graph.n_nodes), region_of[1:] - 1)
    ring_region = np.concatenate([region_of[rings.component] - 1, boxed])
    is_outer = np.concatenate([rings.area > 0, np.ones(len(boxed), np.bool_)])
    rings = _with_boxes(rings, boxed, graph, label_grid)
    order = np.argsort(ring_region, kind="stable")
    points, ring_start = _reordered(rings, order)
    outer = np.flatnonzero(is_outer[order])
    lines = np.stack([label_grid.x[arcs.x[is_kept]], label_grid.y[arcs.y[is_kept]]], axis=1) / label_grid.subpixels
    return Outlines(
        points=points / label_grid.subpixels,
        ring_start=ring_start,
        polygon_start=np.append(outer, len(order)),
        region_start=np.searchsorted(ring_region[order][outer], np.arange(graph.n_nodes + 1)),
        ring_area_px=rings.area[order] / (2.0 * label_grid.subpixels**2),
        line_points=lines,
        line_start=np.concatenate([np.zeros(1, np.int64), np.cumsum(is_kept)])[arcs.start],
        line_is_outer=(arcs.left == 0) | (arcs.right == 0),
        boxed=boxed,
    )


def _components(regions: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the components of the regions, int32 (h + 2, w + 2), and the region of each component, int64 (K + 1,)."""
    components, n_components = label_components(regions)
    region_of = np.zeros(n_components + 1, np.int64)
    region_of[components.reshape(-1)] = regions.reshape(-1)
    return components, region_of


def _merge_fragments(
    regions: NDArray[np.int32], fragment_cells: int, max_area_error: float
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the components and their regions after small fragments are merged into their neighbours.

    A fragment has at most `fragment_cells` cells and is not the largest component of its region. It joins the component
    with which it has the most sides in common (ties: the lowest). A fragment that only touches fragments and background
    stays, and so do those whose region would lose, or whose neighbour would gain, more cells than is allowed.
    """
    components, region_of = _components(regions)
    n_cells = np.bincount(components.reshape(-1), minlength=len(region_of))
    is_fragment = n_cells <= fragment_cells
    by_region = np.lexsort((np.arange(len(region_of)), -n_cells, region_of))
    is_fragment[by_region[np.searchsorted(region_of[by_region], np.unique(region_of))]] = False
    rows, columns = np.nonzero(is_fragment[components])
    if rows.size == 0:
        return components, region_of
    fragment = np.tile(components[rows, columns], 4)
    beside = np.concatenate([components[rows + y, columns + x] for y, x in ((0, 1), (1, 0), (0, -1), (-1, 0))])
    takes = (beside > 0) & ~is_fragment[beside]
    pair, n_sides = np.unique(np.stack([fragment[takes], beside[takes]]), axis=1, return_counts=True)
    order = np.lexsort((pair[1], -n_sides, pair[0]))
    _, first = np.unique(pair[0][order], return_index=True)
    table = region_of.astype(np.int32)
    source, target = pair[0][order][first], pair[1][order][first]
    area = np.bincount(region_of, weights=n_cells)
    for loses, allowed in ((True, _TAKEN * max_area_error), (False, _ADDED * max_area_error)):
        region = region_of[source if loses else target]
        moved = np.bincount(region, weights=n_cells[source], minlength=len(area))
        is_little = moved[region] <= allowed * area[region]
        source, target = source[is_little], target[is_little]
    table[source] = region_of[target]
    # a fragment may have separated two components of one region, so components are computed again
    return _components(table[components])


def _with_boxes(
    rings: PolygonRings, boxed: NDArray[np.int64], graph: TissueGraph, label_grid: LabelGrid
) -> PolygonRings:
    """Return the rings with a square added for every region of `boxed`."""
    if boxed.size == 0:
        return rings
    centre = graph.centroid_um[boxed] / label_grid.unit_um
    area_um2 = px_to_um2(1.0, graph.mpp) * graph.moment("n")[boxed].astype(np.float64)
    half = np.sqrt(area_um2) / label_grid.unit_um / 2
    ends = [
        np.rint(np.stack([centre[:, axis] - half, centre[:, axis] + half])).astype(np.int64).clip(0, lines[-1])
        for axis, lines in enumerate((label_grid.x, label_grid.y))
    ]
    (x0, x1), (y0, y1) = ends
    x0, y0 = np.minimum(x0, label_grid.x[-1] - 1), np.minimum(y0, label_grid.y[-1] - 1)
    x1, y1 = np.maximum(x1, x0 + 1), np.maximum(y1, y0 + 1)
    return PolygonRings(
        x=np.concatenate([rings.x, np.stack([x0, x1, x1, x0], axis=1).reshape(-1)]),
        y=np.concatenate([rings.y, np.stack([y0, y0, y1, y1], axis=1).reshape(-1)]),
        start=np.concatenate([rings.start, rings.start[-1] + 4 * np.arange(1, len(boxed) + 1)]),
        component=np.concatenate([rings.component, np.zeros(len(boxed), np.int32)]),
        area=np.concatenate([rings.area, 2 * (x1 - x0) * (y1 - y0)]),
    )


def _reordered(rings: PolygonRings, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the points, int64 (P, 2), and the starts, int64 (R + 1,), of the rings in `order`."""
    length = np.diff(rings.start)[order]
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(length)])
    source = np.repeat(rings.start[:-1][order] - start[:-1], length) + np.arange(start[-1])
    return np.stack([rings.x[source], rings.y[source]], axis=1), start
