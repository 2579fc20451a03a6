"""Records refuse fields that contradict one another, and name every fault at once."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from wsigraph import errors
from wsigraph.errors import RecordError
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

LEVEL = Level(size=Size(20, 10), downsample=Fraction(1), tile=Size(8, 8))
INFO = SlideInfo(
    slide_id="a",
    path="a.svs",
    sha256="0" * 64,
    vendor="aperio",
    reader="tiled_tiff",
    mpp=0.5,
    mpp_source="given",
    file_mpp=None,
    levels=(LEVEL,),
)
STAIN = StainBasis(
    vectors=np.eye(3)[:2], max_concentration=np.array([1.0, 2.0]), nucleus_threshold=0.3, source="reference"
)
TISSUE = TissueMap(
    tissue=np.ones((3, 4), np.uint8),
    artefact=np.zeros((3, 4), np.uint8),
    section=np.ones((3, 4), np.uint16),
    mpp=4.0,
    stain=STAIN,
)
LABELS = SuperpixelLabels(labels=np.ones((6, 8), np.int32), n_superpixels=1, mpp=1.0, tissue=TISSUE)
GRAPH = TissueGraph(
    slide_id="a",
    mpp=0.5,
    size=Size(6, 8),
    moments=np.array([[2, 4, 6], [4, 4, 4], [1, 0, 0]]),
    moment_names=("n", "sum_x", "sum_y"),
    edge_index=np.array([[0, 1, 1, 2], [1, 0, 2, 1]]),
    boundary=np.array([[3, 1], [3, 1], [2, 0], [2, 0]]),
    stain=STAIN,
)
COARSE = CoarseGraph(graph=GRAPH, assignment=np.array([0, 0, 1, 2]), embedding_id="e")
PREDICTION = Prediction(
    slide_id="a",
    model_id="m",
    model_name="demonstration",
    stage_names=("I", "II"),
    stage_probability=np.array([0.25, 0.75]),
    time_days=np.array([100.0, 200.0]),
    hazard=np.array([0.5, 0.5]),
    survival=np.array([0.5, 0.25]),
    risk=0.1,
    median_survival_days=100.0,
    notice="demonstration",
)


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        (INFO, {"slide_id": ""}, "slide_id is empty"),
        (INFO, {"mpp": 0.0}, "expected a positive number"),
        (INFO, {"mpp": float("nan")}, "expected a positive number"),
        (INFO, {"levels": ()}, "levels is empty"),
        (INFO, {"levels": (replace(LEVEL, downsample=Fraction(2)),)}, "downsample is not 1"),
        (STAIN, {"vectors": np.eye(3)}, "expected (2, 3)"),
        (STAIN, {"max_concentration": np.array([1.0, 0.0])}, "two positive numbers"),
        (TISSUE, {"artefact": np.zeros((4, 3), np.uint8)}, "differ in shape"),
        (TISSUE, {"mpp": -1.0}, "expected a positive number"),
        (LABELS, {"labels": np.ones((6, 8), np.int64)}, "expected int32"),
        (LABELS, {"labels": np.ones(6, np.int32)}, "expected 2"),
        (LABELS, {"n_superpixels": 0}, "below 1"),
        (GRAPH, {"moments": np.zeros((0, 3), np.int64)}, "at least one node"),
        (GRAPH, {"moments": GRAPH.moments.astype(np.float64)}, "expected int64"),
        (GRAPH, {"moment_names": ("n",)}, "3 columns for 1 names"),
        (GRAPH, {"boundary": GRAPH.boundary[:2]}, "expected (4, 2)"),
        (GRAPH, {"edge_index": np.array([[0, 1, 1, 3], [1, 0, 3, 1]])}, "a node that does not exist"),
        (GRAPH, {"edge_index": GRAPH.edge_index[:, ::-1]}, "not sorted and unique"),
        (GRAPH, {"encoding_sum": np.ones((2, 5), np.int64), "encoder": "x"}, "differ in length"),
        (GRAPH, {"encoder": "x"}, "given together"),
        (COARSE, {"assignment": np.array([0, 0, 1, 1])}, "does not use every coarse node"),
        (COARSE, {"assignment": np.array([0, 1, 2, 3])}, "a node that does not exist"),
        (COARSE, {"assignment": np.array([0, 1, 2], np.int32)}, "not int64"),
        (PREDICTION, {"stage_names": ("I",)}, "differ in length"),
        (PREDICTION, {"stage_probability": np.array([0.3, 0.3])}, "do not sum to 1"),
        (PREDICTION, {"survival": np.array([0.25, 0.5])}, "rises with time"),
        (PREDICTION, {"hazard": np.array([0.5, 1.5])}, "outside [0, 1]"),
        (PREDICTION, {"time_days": np.array([1.0])}, "differ in length"),
        (PREDICTION, {"risk": float("inf")}, "not a finite number"),
    ],
)
def test_a_contradiction_is_refused_by_name(record: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError) as met:
        replace(record, **change)
    assert message in str(met.value)
    assert str(met.value).startswith(type(record).__name__)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(RecordError, match="slide_id is empty; mpp is -1"):
        replace(INFO, slide_id="", mpp=-1.0)


def test_records_are_frozen_and_travel() -> None:
    with pytest.raises(FrozenInstanceError):
        INFO.mpp = 1.0  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(INFO)).levels == INFO.levels
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(COARSE)).graph.moments, GRAPH.moments)


def test_a_graph_derives_its_centroids_in_um_from_the_corner() -> None:
    # region 0 holds 2 px whose x sum to 4 and y to 6: mean (2, 3), the pixel's middle (2.5, 3.5), half a um a pixel
    np.testing.assert_allclose(GRAPH.centroid_um[0], [1.25, 1.75], rtol=0, atol=0)
    assert (GRAPH.n_nodes, GRAPH.n_edges) == (3, 2)
    with pytest.raises(RecordError, match="moment 'nuclei' is not in this graph's schema"):
        GRAPH.moment("nuclei")


def test_a_graph_of_one_region_has_no_edges() -> None:
    lone = replace(
        GRAPH,
        moments=GRAPH.moments[:1],
        edge_index=np.zeros((2, 0), np.int64),
        boundary=np.zeros((0, 2), np.int64),
    )
    assert (lone.n_nodes, lone.n_edges) == (1, 0)


@pytest.mark.parametrize("name", [name for name in vars(errors) if isinstance(vars(errors)[name], type)])
def test_every_error_survives_pickling_and_stands_in_the_tree(name: str) -> None:
    kind = vars(errors)[name]
    assert issubclass(kind, errors.WsigraphError)
    again = pickle.loads(pickle.dumps(kind("what was met")))
    assert (type(again), str(again)) == (kind, "what was met")
    assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    "record", [INFO, STAIN, TISSUE, LABELS, GRAPH, COARSE, PREDICTION], ids=lambda record: type(record).__name__
)
def test_a_record_prints_on_one_line_and_as_a_table(record: Any) -> None:
    assert "\n" not in repr(record)
    assert len(repr(record)) < 300
    assert repr(record).startswith(f"{type(record).__name__}(")
    table = record._repr_html_()
    assert table.count("<tr>") == len(record.facts())
    assert "array(" not in repr(record) + table


def test_the_table_of_a_record_escapes_what_it_shows() -> None:
    shown = replace(GRAPH, slide_id="<script>alert(1)</script>")
    assert "<script>" not in shown._repr_html_()
    assert len(repr(replace(GRAPH, slide_id="x" * 500))) < 300
