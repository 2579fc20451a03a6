"""Outlines fit together: valid, without gaps or overlaps, true to the label grid within the tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.outline.drawn_regions import dense, graph_of, label_grid_of, shapes
from wsigraph.errors import RecordError
from wsigraph.outline.outline import Outlines, trace_outlines

TOLERANCES_UM = (0.0, 0.8, 1.0, 2.5, 40.0)


def trace(cells: NDArray[np.integer], tolerance_um: float) -> Outlines:
    return trace_outlines(label_grid_of(cells), graph_of(cells), tolerance_um=tolerance_um)


def blobs(seed: int, side: int = 120, n_regions: int = 60) -> NDArray[np.int32]:
    """Return ragged cells of a disc of random points: borders as irregular as those of tissue."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(2, side, side)), (0, 1.5, 1.5))
    y, x = np.indices((side, side)) + 8 * noise
    points = rng.uniform(0, side, (n_regions, 2))
    cells = np.argmin((y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2, axis=-1) + 1
    cells[np.hypot(y - side / 2, x - side / 2) > side / 2.2] = 0
    return dense(cells)[0]


label_images = st.tuples(
    arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)),
    st.integers(1, 3),
    st.integers(1, 3),
).map(lambda drawn: dense(np.kron(drawn[0], np.ones(drawn[1:], np.int32)))[0])


@settings(max_examples=300, deadline=None)
@given(label_images.filter(lambda cells: cells.any()), st.sampled_from(TOLERANCES_UM))
def test_polygons_of_any_label_grid_are_valid_and_cover_without_gap_or_overlap(
    cells: NDArray[np.int32], tolerance_um: float
) -> None:
    regions = shapes(trace(cells, tolerance_um))
    assert all(region.is_valid for region in regions)
    pieces = [piece for region in regions for piece in region.geoms]
    assert all(piece.area > 0 for piece in pieces)
    # exact: coordinates are whole numbers and areas multiples of one half
    assert shapely.union_all(pieces).area == pytest.approx(sum(piece.area for piece in pieces), abs=1e-9)
    assert shapely.coverage_is_valid(pieces)


@settings(max_examples=100, deadline=None)
@given(label_images.filter(lambda cells: cells.any()))
def test_without_tolerance_polygons_are_the_cells(cells: NDArray[np.int32]) -> None:
    outlines = trace(cells, 0.0)
    n_cells = np.bincount(cells.reshape(-1))[1:]
    assert [region.area for region in shapes(outlines)] == n_cells.tolist()
    by_ring = np.add.reduceat(outlines.ring_area_px, outlines.polygon_start[outlines.region_start[:-1]])
    assert by_ring.tolist() == n_cells.tolist()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance_um", [1.0, 2.0, 6.0])
def test_outlines_stay_within_the_tolerance(seed: int, tolerance_um: float) -> None:
    # one region and its outside, so that no crumb changes hands
    cells = (blobs(seed) > 0).astype(np.int32)
    cells[60:64, 60:80] = 0
    exact, simple = (shapes(trace(cells, tolerance))[0] for tolerance in (0.0, tolerance_um))
    assert shapely.get_num_coordinates(simple) < 0.6 * shapely.get_num_coordinates(exact)
    assert shapely.hausdorff_distance(exact.boundary, simple.boundary) <= tolerance_um + 1e-9


@pytest.mark.parametrize("tolerance_um", [0.0, 1.0, 5.0])
def test_neighbours_stay_neighbours(tolerance_um: float) -> None:
    cells = blobs(7)
    graph = graph_of(cells)
    regions = shapes(trace(cells, tolerance_um))
    sides = {tuple(pair): count for pair, (count, _) in zip(graph.edge_index.T.tolist(), graph.boundary, strict=True)}
    for a, b in sides:
        if a < b and sides[a, b] >= 8:  # pairs that meet along a crumb alone may part
            assert shapely.intersection(regions[a], regions[b]).length > 0
    for a in range(len(regions)):
        for b in range(a + 1, len(regions)):
            if shapely.intersection(regions[a], regions[b]).length > 0:
                assert tolerance_um > 0 or (a, b) in sides


def test_two_squares_share_the_line_between_them() -> None:
    outlines = trace_outlines(
        label_grid_of(np.array([[1, 2]]), cell_px=10), graph_of(np.array([[1, 2]])), tolerance_um=1.0
    )
    left, right = shapes(outlines)
    assert left.equals(shapely.box(0, 0, 10, 10))
    assert right.equals(shapely.box(10, 0, 20, 10))
    shared = [line.tolist() for line in outlines.lines(~outlines.line_is_outer)]
    assert shared == [[[10.0, 0.0], [10.0, 10.0]]]
    assert len(outlines.lines()) == 3


def test_an_island_is_a_hole_of_its_lake() -> None:
    cells = np.ones((7, 7), np.int32)
    cells[2:5, 2:5] = 2
    lake, island = (trace(cells, 0.0).polygons(region) for region in (0, 1))
    assert [len(polygon) for polygon in lake] == [2]
    assert {tuple(point) for point in lake[0][1]} == {tuple(point) for point in island[0][0]}


def test_outer_rings_turn_one_way_and_holes_the_other() -> None:
    cells = np.ones((5, 5), np.int32)
    cells[2, 2] = 0
    outlines = trace(cells, 0.0)
    assert outlines.ring_area_px.tolist() == [25.0, -1.0]
    outer, hole = outlines.polygons(0)[0]
    assert shapely.LinearRing(outer).is_ccw
    assert not shapely.LinearRing(hole).is_ccw


def test_no_tolerance_swallows_an_island_or_flattens_a_region() -> None:
    cells = np.zeros((40, 60), np.int32)
    cells[5:35, 5:55] = 1
    cells[6, 20:24] = 0  # a slit one cell below the edge
    cells[0:3, 10] = 2  # a sliver just above it
    cells[20, 30] = 3  # an islet
    regions = shapes(trace(cells, 40.0))
    assert all(region.is_valid and region.area > 0 for region in regions)
    assert not regions[0].intersects(shapely.Point(30.5, 20.5))
    assert len(regions[0].geoms[0].interiors) == 2


def test_corners_that_touch_are_two_polygons() -> None:
    cells = np.array([[1, 2], [2, 1]], np.int32)
    outlines = trace(cells, 0.0)
    assert [len(outlines.polygons(region)) for region in (0, 1)] == [2, 2]


def test_a_crumb_goes_to_the_neighbour_it_touches_most() -> None:
    cells = np.full((10, 10), 1, np.int32)
    cells[:, 6:] = 2
    cells[4, 4] = 2  # a crumb of region 2 inside region 1
    first, second = shapes(trace(cells, 1.0))
    assert (len(first.geoms), len(second.geoms)) == (1, 1)
    assert (first.area, second.area) == (60.0, 40.0)
    pieces = shapes(trace(cells, 0.0))
    assert (pieces[0].area, pieces[1].area) == (59.0, 41.0)


def test_pieces_separated_by_a_fragment_become_one_polygon() -> None:
    cells = np.full((3, 12), 1, np.int32)
    cells[:, 6] = 2
    cells[:, 9:] = 2
    # without the crumb in column 6, columns 0 to 8 are one piece of region 1
    regions = shapes(trace(cells, 1.0))
    assert regions[0].is_valid
    assert [len(region.geoms) for region in regions] == [1, 1]
    assert regions[0].area == 27.0


def test_a_region_without_a_cell_gets_a_square_of_its_area() -> None:
    cells = np.ones((8, 8), np.int32)
    full = cells.copy()
    full[2:4, 4:6] = 2
    outlines = trace_outlines(label_grid_of(cells, n_regions=2), graph_of(full), tolerance_um=0.0)
    assert outlines.boxed.tolist() == [1]
    assert shapes(outlines)[1].equals(shapely.box(4, 2, 6, 4))


def test_every_line_is_drawn_once() -> None:
    outlines = trace(blobs(3), 1.0)
    drawn = shapely.MultiLineString(outlines.lines())
    edges = [shapely.get_parts(shapely.boundary(region)) for region in shapes(outlines)]
    assert drawn.length == pytest.approx(shapely.union_all(np.concatenate(edges)).length)


def test_tracing_is_repeatable() -> None:
    first, second = trace(blobs(5), 1.0), trace(blobs(5), 1.0)
    assert first.points.tobytes() == second.points.tobytes()


def test_what_does_not_belong_together_is_refused() -> None:
    cells = np.array([[1, 2]], np.int32)
    with pytest.raises(RecordError, match="2 nodes and the label grid 3 regions"):
        trace_outlines(label_grid_of(cells, n_regions=3), graph_of(cells), tolerance_um=0.0)
    with pytest.raises(RecordError, match="no region 2"):
        trace(cells, 0.0).polygons(2)


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_every_area_stays_within_the_allowed_change(seed: int) -> None:
    """However coarse the tolerance, a polygon measures what its region measures, and neighbours share their border."""
    cells = blobs(seed)
    graph = graph_of(cells)
    loose = trace_outlines(label_grid_of(cells), graph, tolerance_um=6.0)
    bounded = trace_outlines(label_grid_of(cells), graph, tolerance_um=6.0, max_area_error=0.05)
    measured = graph.moment("n") * graph.mpp**2
    errors = [np.abs([shape.area for shape in shapes(each)] / measured - 1) for each in (loose, bounded)]
    assert errors[0].max() > 0.1
    assert errors[1].max() <= 0.05
    assert len(bounded.points) < len(trace_outlines(label_grid_of(cells), graph, tolerance_um=0.0).points)
    assert shapely.coverage_is_valid(np.array(shapes(bounded), dtype=object))
