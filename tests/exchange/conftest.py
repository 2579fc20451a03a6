"""Small graphs, and feature files as other tools write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from wsigraph.geometry import Size
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.records import CoarseGraph, StainBasis, TissueGraph

WriteFeatures = Callable[..., Path]


@pytest.fixture
def graph() -> TissueGraph:
    """Return four regions of 10 x 10 px at 2 um/px in a row, of which the first three touch, with an encoding."""
    moments = np.zeros((4, len(MOMENT_NAMES)), np.int64)
    moments[:, COLUMN["n"]] = 100
    moments[:, COLUMN["sum_x"]] = 100 * 10 * np.arange(4) + 450
    moments[:, COLUMN["sum_y"]] = 450
    moments[:, COLUMN["sum_yy"]] = 2850
    moments[:, COLUMN["sum_xx"]] = 10 * ((10 * np.arange(4)[:, None] + np.arange(10)) ** 2).sum(axis=1)
    moments[:, COLUMN["nuclei"]] = np.arange(4)
    edge_index, boundary = both_directions(np.array([0, 1]), np.array([1, 2]), np.array([[10, 18], [10, 18]]))
    return TissueGraph(
        slide_id="drawn",
        mpp=2.0,
        size=Size(10, 40),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=StainBasis(
            vectors=np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]]),
            max_concentration=np.array([1.2, 0.9]),
            nucleus_threshold=0.4,
            source="reference",
        ),
        encoding_sum=np.arange(8, dtype=np.int64).reshape(4, 2) * 25600,
        encoder="drawn",
    )


@pytest.fixture
def coarse(graph: TissueGraph) -> CoarseGraph:
    """Return the graph as its own coarsening."""
    return CoarseGraph(graph=graph, assignment=np.arange(4), embedding_id="f" * 16)


@pytest.fixture
def write_features(tmp_path: Path) -> WriteFeatures:
    """Return a writer of feature files: TRIDENT's layout, or any other by its attributes."""
    h5py = pytest.importorskip("h5py")

    def write(
        coords: NDArray[Any], features: NDArray[Any] | None = None, file_name: str = "slide.h5", **attributes: Any
    ) -> Path:
        path = tmp_path / file_name
        values = np.arange(len(coords) * 3, dtype=np.float32).reshape(-1, 3) / 7 if features is None else features
        with h5py.File(path, "w") as file:
            file.create_dataset("coords", data=coords).attrs.update(attributes)
            file.create_dataset("features", data=values)
        return path

    return write
