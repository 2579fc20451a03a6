"""Small records with every field off its default."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from wsigraph.geometry import Size
from wsigraph.records import (
    CoarseGraph,
    Level,
    Prediction,
    SlideInfo,
    StainBasis,
    SuperpixelLabels,
    TissueGraph,
    TissueMap,
)

STAIN = StainBasis(
    vectors=np.array([[0.65, 0.7, 0.29], [0.07, 0.99, 0.11]]),
    max_concentration=np.array([1.9, 1 / 3]),
    nucleus_threshold=0.1 + 0.2,
    source="macenko",
)


@pytest.fixture
def slide_info() -> SlideInfo:
    return SlideInfo(
        slide_id="a",
        path="/somewhere/a.svs",
        sha256="0" * 64,
        vendor="aperio",
        reader="tiled_tiff",
        mpp=0.499,
        mpp_source="aperio.MPP",
        file_mpp=0.499,
        levels=(
            Level(size=Size(2967, 2220), downsample=Fraction(1), tile=Size(240, 256)),
            Level(size=Size(989, 740), downsample=Fraction(2967, 989), tile=Size(240, 256)),
        ),
        associated=("label", "thumbnail"),
        warnings=("odd \u00b5m",),
    )


@pytest.fixture
def tissue_map() -> TissueMap:
    rng = np.random.default_rng(1)
    tissue = rng.integers(0, 2, (70, 41)).astype(np.uint8)
    return TissueMap(
        tissue=tissue,
        artefact=(3 * (1 - tissue)).astype(np.uint8),
        section=tissue.astype(np.uint16),
        mpp=4.0,
        stain=STAIN,
    )


@pytest.fixture
def labels(tissue_map: TissueMap) -> SuperpixelLabels:
    y, x = np.mgrid[:2100, :2500] // 300
    image = (y * 9 + x + 1).astype(np.int32)
    image[600:, :900] = 0
    return SuperpixelLabels(labels=image, n_superpixels=int(image.max()), mpp=1.0, tissue=tissue_map)


def _graph(*, encoder: str | None) -> TissueGraph:
    rng = np.random.default_rng(2)
    moments = rng.integers(1, 2**50, (4, 4))
    moments[:, 0] = [5, 6, 7, 8]
    return TissueGraph(
        slide_id="a",
        mpp=1.0,
        size=Size(2100, 2500),
        moments=moments,
        moment_names=("n", "sum_x", "sum_y", "od_r"),
        edge_index=np.array([[0, 1, 1, 2], [1, 0, 2, 1]]),
        boundary=np.array([[3, 1], [3, 1], [2, 0], [2, 0]]),
        stain=STAIN,
        encoding_sum=rng.integers(-9, 9, (4, 6)) if encoder else None,
        encoder=encoder,
    )


@pytest.fixture
def graph() -> TissueGraph:
    return _graph(encoder=None)


@pytest.fixture
def encoded_graph() -> TissueGraph:
    return _graph(encoder="efficientnet_lite0")


@pytest.fixture
def lone_graph() -> TissueGraph:
    return TissueGraph(
        slide_id="one",
        mpp=1.0,
        size=Size(3, 3),
        moments=np.array([[9, 9, 9]]),
        moment_names=("n", "sum_x", "sum_y"),
        edge_index=np.zeros((2, 0), np.int64),
        boundary=np.zeros((0, 2), np.int64),
        stain=STAIN,
    )


@pytest.fixture
def coarse_graph() -> CoarseGraph:
    return CoarseGraph(
        graph=_graph(encoder=None), assignment=np.array([0, 0, 3, 1, 2, 2]), embedding_id="embedding-digest"
    )


@pytest.fixture
def prediction() -> Prediction:
    hazard = np.array([0.1, 1 / 3, 0.7])
    return Prediction(
        slide_id="a",
        model_id="m" * 16,
        model_name="demonstration",
        stage_names=("I", "II"),
        stage_probability=np.array([0.3, 0.7]),
        time_days=np.array([365.0, 730.0, 1095.0]),
        hazard=hazard,
        survival=np.cumprod(1 - hazard),
        risk=-0.123456789012345678,
        median_survival_days=None,
        notice="demonstration model",
        warnings=("few regions",),
    )
