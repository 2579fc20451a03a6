from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from wsigraph.errors import ModelError
from wsigraph.geometry import Size
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.model.inputs import CLIP, GraphInput, Scaler, edge_attributes, graph_input
from wsigraph.records import TissueGraph
from wsigraph.synthesis.simulation.simulate import SimulatedPatient


def two_squares(patient: SimulatedPatient, mpp: float = 1.0) -> TissueGraph:
    """Two squares of 10 px side by side on glass."""
    moments = patient.graph.moments[:2].copy()
    moments[:, COLUMN["n"]] = 100
    moments[:, COLUMN["sum_x"]] = [450, 1450]
    moments[:, COLUMN["sum_y"]] = 450
    moments[:, COLUMN["outside_straight"]] = 30
    moments[:, COLUMN["outside_diagonal"]] = 62
    moments[:, [COLUMN["edge_straight"], COLUMN["edge_diagonal"]]] = 0
    return TissueGraph(
        slide_id="squares",
        mpp=mpp,
        size=Size(40, 40),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=np.array([[0, 1], [1, 0]]),
        boundary=np.array([[10, 18], [10, 18]]),
        stain=patient.graph.stain,
    )


@pytest.mark.parametrize("mpp", [0.5, 1.0])
def test_edge_attributes_of_two_squares(patients: list[SimulatedPatient], mpp: float) -> None:
    attributes = edge_attributes(two_squares(patients[0], mpp))
    shared_um = mpp * math.pi / 8 * (10 + 18 / math.sqrt(2))
    outer_um = mpp * math.pi / 8 * (30 + 62 / math.sqrt(2))
    expected = [math.log1p(shared_um), math.log1p(10 * mpp), shared_um / (shared_um + outer_um)]
    assert attributes == pytest.approx(np.array([expected, expected]))
    assert shared_um == pytest.approx(10 * mpp, rel=0.15)


def test_edge_attributes_but_the_share_are_symmetric(patients: list[SimulatedPatient]) -> None:
    graph = patients[0].graph
    attributes = edge_attributes(graph)
    order = np.lexsort(graph.edge_index)
    assert np.allclose(attributes[order][:, :2], attributes[:, :2], rtol=1e-12)
    shares = np.bincount(graph.edge_index[0], attributes[:, 2])
    assert (shares <= 1 + 1e-12).all()
    assert (shares > 0.3).all()


def test_a_feature_that_is_not_finite_is_named(patients: list[SimulatedPatient]) -> None:
    moments = patients[0].graph.moments.copy()
    moments[0, COLUMN["n"]] = 0
    broken = replace(patients[0].graph, moments=moments)
    with np.errstate(all="ignore"), pytest.raises(ModelError, match="hematoxylin_mean"):
        graph_input(broken)


def raw(features: np.ndarray, area_um2: np.ndarray | None = None) -> GraphInput:
    n = len(features)
    return GraphInput(
        features=features,
        area_um2=np.ones(n) if area_um2 is None else area_um2,
        edge_index=np.zeros((2, 0), np.int64),
        edge_attribute=np.zeros((0, 3)),
    )


def test_training_regions_have_mean_zero_and_spread_one(patients: list[SimulatedPatient]) -> None:
    inputs = [graph_input(each.graph) for each in patients[:6]]
    scaler = Scaler.fit(inputs)
    mean = scaler.feature_mean
    table = np.concatenate([interpret(each.graph).values for each in patients[:6]])
    assert mean == pytest.approx(table.mean(axis=0))
    assert scaler.n_features == len(FEATURE_NAMES)
    assert not scaler.standardise(inputs[0]).outside


def test_values_are_clipped_and_counted() -> None:
    scaler = Scaler.fit([raw(np.array([[-1.0], [1.0]]))])
    found = scaler.standardise(raw(np.array([[0.5], [100.0], [-100.0], [0.0]])))
    assert found.features[:, 0].tolist() == [0.5, CLIP, -CLIP, 0.0]
    assert found.clipped_fraction == 0.5


def test_a_feature_that_never_varied_is_read_as_zero() -> None:
    scaler = Scaler.fit([raw(np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]]))])
    assert scaler.standardise(raw(np.array([[77.0, 2.0]]))).features[0, 0] == 0


def test_features_outside_the_training_range_are_listed() -> None:
    training = [raw(np.array([[level, level]])) for level in (0.0, 1.0, 2.0)]
    scaler = Scaler.fit(training)
    assert scaler.standardise(raw(np.array([[2.9, -0.9]]))).outside == ()
    assert scaler.standardise(raw(np.array([[3.1, 1.0]]))).outside == (0,)
    assert scaler.standardise(raw(np.array([[1.0, -1.1]]))).outside == (1,)


def test_large_regions_weigh_more_in_the_slide_mean() -> None:
    scaler = Scaler.fit([raw(np.array([[level]])) for level in (0.0, 1.0)])
    far = np.array([[0.5], [9.0]])
    assert scaler.standardise(raw(far, np.array([99.0, 1.0]))).outside == ()
    assert scaler.standardise(raw(far, np.array([1.0, 1.0]))).outside == (0,)


def test_graphs_without_edges_can_be_fitted() -> None:
    scaler = Scaler.fit([raw(np.array([[0.0], [1.0]]))])
    assert scaler.edge_scale.tolist() == [0.0, 0.0, 0.0]


def test_no_graph_and_other_features_are_refused() -> None:
    with pytest.raises(ModelError, match="at least one"):
        Scaler.fit([])
    with pytest.raises(ModelError, match="2 features, expected 1"):
        Scaler.fit([raw(np.ones((2, 1)))]).standardise(raw(np.ones((2, 2))))
