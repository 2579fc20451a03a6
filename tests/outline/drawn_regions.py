"""Label images and graphs small enough to check by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsigraph.geometry import Size
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.outline.label_grid import LabelGrid
from wsigraph.outline.outline import Outlines
from wsigraph.records import (
    CoarseGraph,
    LazyArray,
    Level,
    Prediction,
    SlideInfo,
    StainBasis,
    SuperpixelLabels,
    TissueGraph,
    TissueMap,
)

STAIN = StainBasis(
    vectors=np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]),
    max_concentration=np.array([1.2, 0.9]),
    nucleus_threshold=0.4,
    source="reference",
)
NOTICE = "Demonstration model, trained on simulated tissue: no medical meaning."


def dense(cells: NDArray[np.integer]) -> tuple[NDArray[np.int32], int]:
    """Return labels renumbered 1..N without gaps (0 stays 0), and N."""
    values, index = np.unique(np.concatenate([[0], cells.reshape(-1)]), return_inverse=True)
    return index[1:].reshape(cells.shape).astype(np.int32), len(values) - 1


def graph_of(cells: NDArray[np.integer], *, mpp: float = 1.0) -> TissueGraph:
    """Return the graph of regions 1..N of a label image: areas, coordinate sums and shared straight boundaries."""
    n_nodes = int(cells.max())
    rows, columns = np.indices(cells.shape)
    moments = np.zeros((n_nodes, len(MOMENT_NAMES)), np.int64)
    values: dict[str, Any] = {
        "n": np.ones(cells.shape, np.int64),
        "sum_x": columns,
        "sum_y": rows,
        "sum_xx": columns**2,
        "sum_xy": columns * rows,
        "sum_yy": rows**2,
    }
    for name, value in values.items():
        counted = np.bincount(cells.reshape(-1), weights=value.reshape(-1), minlength=n_nodes + 1)
        moments[:, COLUMN[name]] = counted[1:].astype(np.int64)
    moments[:, COLUMN["lightness_bin_8"]] = moments[:, COLUMN["n"]]
    moments[:, COLUMN["nuclei"]] = np.arange(n_nodes)
    pairs = np.concatenate(
        [
            np.stack([cells[:, :-1].reshape(-1), cells[:, 1:].reshape(-1)]),
            np.stack([cells[:-1].reshape(-1), cells[1:].reshape(-1)]),
        ],
        axis=1,
    ).astype(np.int64)
    pairs = pairs[:, (pairs[0] != pairs[1]) & (pairs > 0).all(axis=0)] - 1
    both_directions = np.concatenate([pairs, pairs[::-1]], axis=1)
    edges, count = np.unique(both_directions, axis=1, return_counts=True)
    return TissueGraph(
        slide_id="drawn",
        mpp=mpp,
        size=Size(*cells.shape),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=edges.reshape(2, -1),
        boundary=np.stack([count, np.zeros_like(count)], axis=1).astype(np.int64),
        stain=STAIN,
    )


def label_grid_of(cells: NDArray[np.integer], *, n_regions: int | None = None, cell_px: int = 1) -> LabelGrid:
    """Return a label grid whose cells are `cell_px` level-0 pixels of 1 um."""
    return LabelGrid(
        regions=np.pad(cells.astype(np.int32), 1),
        n_regions=int(cells.max()) if n_regions is None else n_regions,
        x=np.arange(cells.shape[1] + 1, dtype=np.int64) * cell_px,
        y=np.arange(cells.shape[0] + 1, dtype=np.int64) * cell_px,
        subpixels=1,
        step_px=1,
        mpp=float(cell_px),
        level0_mpp=1.0,
    )


def labels_of(labels: LazyArray, *, n_superpixels: int, mpp: float = 1.0) -> SuperpixelLabels:
    tissue = TissueMap(
        tissue=np.ones((1, 1), np.uint8),
        artefact=np.zeros((1, 1), np.uint8),
        section=np.ones((1, 1), np.uint16),
        mpp=4.0,
        stain=STAIN,
    )
    if isinstance(labels, np.ndarray):
        labels = labels.astype(np.int32)
    return SuperpixelLabels(labels=labels, n_superpixels=n_superpixels, mpp=mpp, tissue=tissue)


def slide_info(height: int, width: int, *, mpp: float = 1.0) -> SlideInfo:
    level = Level(size=Size(height, width), downsample=Fraction(1), tile=Size(256, 256))
    return SlideInfo(
        slide_id="drawn",
        path="drawn.tiff",
        sha256="0" * 64,
        vendor="generic",
        reader="image",
        mpp=mpp,
        mpp_source="given",
        file_mpp=None,
        levels=(level,),
        warnings=("the pixel size was given by hand",),
    )


def coarse_of(graph: TissueGraph) -> CoarseGraph:
    """Return a graph as its own coarsening."""
    return CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="f" * 16)


def prediction() -> Prediction:
    hazard = np.array([0.1, 0.3, 0.5])
    return Prediction(
        slide_id="drawn",
        model_id="a" * 64,
        model_name="demonstration",
        stage_names=("I", "II", "III", "IV"),
        stage_probability=np.array([0.1, 0.2, 0.4, 0.3]),
        time_days=np.array([365.0, 1095.0, 1825.0]),
        hazard=hazard,
        survival=np.cumprod(1 - hazard),
        risk=-0.25,
        median_survival_days=1440.0,
        notice=NOTICE,
        warnings=("3 of 36 features lie outside the training range",),
    )


def shapes(outlines: Outlines) -> list[shapely.MultiPolygon]:
    """Return every region as a shapely geometry, without mending anything."""
    return [
        shapely.MultiPolygon([(polygon[0], polygon[1:]) for polygon in outlines.polygons(region)])
        for region in range(outlines.n_regions)
    ]
