"""Outlines of a slide of more than a gigapixel: a file that opens, and neighbours without a crack between them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from scipy.ndimage import zoom
from scipy.spatial import cKDTree

from tests.outline.drawn_regions import graph_of
from wsigraph.config import Config
from wsigraph.graph.feature.interpret import interpret
from wsigraph.outline.label_grid import LabelGrid
from wsigraph.outline.outline import trace_outlines
from wsigraph.records import CoarseGraph
from wsigraph.report.geojson import encode_geojson

MEASURE = 10
"""Cells of the lattice to one of the picture that graphs are counted on, which a test need not know to the pixel."""


def ragged_regions(height: int, width: int, n_superpixels: int, n_regions: int) -> NDArray[np.int32]:
    """Return regions 1..n of a lattice: superpixels with crooked borders, merged around scattered seeds."""
    rng = np.random.default_rng(0)
    side = np.sqrt(height * width / n_superpixels)
    y, x = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None, :]

    def crooked(wave: float) -> NDArray[np.float32]:
        coarse = rng.normal(size=(int(height / wave) + 2, int(width / wave) + 2)).astype(np.float32)
        return zoom(
            coarse, (height / coarse.shape[0], width / coarse.shape[1]), order=1, grid_mode=True, mode="nearest"
        )

    bend = [0.25 * side * (crooked(side / 2) + 0.5 * crooked(side / 6)) for _ in range(2)]
    n_rows, n_columns = int(height / side) + 1, int(width / side) + 1
    row = np.clip(((y + bend[0]) / side).astype(np.int32), 0, n_rows - 1)
    column = np.clip(((x + bend[1]) / side).astype(np.int32), 0, n_columns - 1)
    centres = np.stack(np.meshgrid(np.arange(n_rows), np.arange(n_columns), indexing="ij"), -1).reshape(-1, 2)
    centres = centres + rng.uniform(-0.5, 0.5, centres.shape)
    merged = cKDTree(rng.uniform((0, 0), (n_rows, n_columns), (n_regions, 2))).query(centres)[1]
    regions = merged[row * n_columns + column].astype(np.int32) + 1
    hole = (crooked(side * 20) > 1.0) | (np.hypot(y / height - 0.5, x / width - 0.5) > 0.55)
    return np.where(hole, 0, regions).astype(np.int32)


def encoded(height: int, width: int, n_superpixels: int, n_regions: int, cell_px: int) -> tuple[bytes, LabelGrid]:
    """Return the file of a lattice with the settings that ship, two attributions and all measurements."""
    settings, level0_mpp = Config().report, 0.5
    cells = ragged_regions(height, width, n_superpixels, n_regions)
    small = cells[MEASURE // 2 :: MEASURE, MEASURE // 2 :: MEASURE]
    found = np.unique(small[small > 0])
    number = np.zeros(n_regions + 1, np.int32)
    number[found] = np.arange(1, len(found) + 1)
    cells = number[cells]
    graph = graph_of(number[small], mpp=MEASURE * cell_px * level0_mpp)
    lattice = LabelGrid(
        regions=np.pad(cells, 1),
        n_regions=graph.n_nodes,
        x=np.arange(width + 1, dtype=np.int64) * cell_px,
        y=np.arange(height + 1, dtype=np.int64) * cell_px,
        subpixels=1,
        step_px=cell_px,
        mpp=cell_px * level0_mpp,
        level0_mpp=level0_mpp,
    )
    coarser = max(1.0, lattice.mpp / settings.outline_mpp)
    outlines = trace_outlines(
        lattice,
        graph,
        tolerance_um=settings.outline_tolerance_um * coarser,
        max_area_error=settings.outline_max_area_error,
    )
    assert not len(outlines.boxed)
    attribution = np.random.default_rng(1).normal(size=(2, graph.n_nodes))
    content, _ = encode_geojson(
        outlines,
        CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none"),
        interpret(graph),
        slide_sha256="0" * 64,
        measurements=settings.measurements,
        provenance={},
        max_bytes=round(settings.geojson_max_mb * 1e6),
        attributions={"risk": attribution[0], "stage": attribution[1]},
    )
    return content, lattice


def assert_no_cracks(content: bytes, lattice: LabelGrid) -> None:
    """Assert that polygons as they are written leave no gap where regions touch, and do not overlap."""
    shapes = np.array(
        [shapely.geometry.shape(each["geometry"]) for each in json.loads(content)["features"]], dtype=object
    )
    assert shapely.is_valid(shapes).all()
    # edges of neighbours match point by point
    assert shapely.coverage_is_valid(shapes)
    # and what they cover is one sheet, as large as the tissue but for outlines that were smoothed
    whole = shapely.coverage_union_all(shapes)
    assert whole.area == pytest.approx(float(shapely.area(shapes).sum()), rel=1e-9)
    cell = float(lattice.x[1] - lattice.x[0]) ** 2
    assert whole.area == pytest.approx(cell * float((lattice.cells > 0).sum()), rel=0.01)


def test_neighbours_share_their_borders_in_the_file() -> None:
    content, lattice = encoded(900, 1200, n_superpixels=4000, n_regions=400, cell_px=7)
    assert_no_cracks(content, lattice)
    # a share of what the gigapixel may take
    assert len(content) < 20e6 / 10


@pytest.mark.slow
def test_a_gigapixel_slide_stays_below_20_mb(tmp_path: Path) -> None:
    """42,000 x 31,500 px at 0.5 um: 100,000 superpixels, 10,000 regions, the lattice as fine as settings allow."""
    content, lattice = encoded(4500, 6000, n_superpixels=100_000, n_regions=10_000, cell_px=7)
    (tmp_path / "report.geojson").write_bytes(content)
    assert lattice.x[-1] * lattice.y[-1] > 10**9
    assert lattice.n_regions > 7000
    assert (tmp_path / "report.geojson").stat().st_size < 20e6
    assert_no_cracks(content, lattice)
