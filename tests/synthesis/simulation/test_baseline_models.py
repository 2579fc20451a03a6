from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.model.bundle import Score
from wsigraph.model.inputs import graph_input
from wsigraph.synthesis.simulation.baseline_models import (
    _fit_cox,
    cox_risk,
    edge_products,
    forest_risk,
    pooled,
    ridge_stage,
    size_and_degree,
)
from wsigraph.synthesis.simulation.cohort import own_regions
from wsigraph.synthesis.simulation.rewire import rewire
from wsigraph.synthesis.simulation.simulate import Library, SimulatedPatient, simulate
from wsigraph.synthesis.simulation.validity import Finding


@pytest.fixture(scope="module")
def patient(library: Library, small) -> SimulatedPatient:
    return next(simulate(1, library, small, rng=np.random.default_rng(0)))


def survival(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    time = rng.exponential(np.exp(-1.5 * x[:, 0] + 0.8 * x[:, 1]))
    limit = rng.uniform(0, 3, n)
    return x, np.minimum(time, limit), time <= limit


def test_ridge_cox_equals_lifelines() -> None:
    x, time, event = survival(150, 0)
    # lifelines penalises coefficients of standardised columns
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    n_events = event.sum()
    ours = _fit_cox(x, time, event, 0.3)
    # lifelines averages over patients where ours averages over events
    fitter = CoxPHFitter(penalizer=0.3 * n_events / len(x)).fit(
        pd.DataFrame(x).rename(columns=str).assign(time=time, event=event), "time", "event"
    )
    raw = fitter.params_.to_numpy()
    assert ours == pytest.approx(raw, abs=1e-3)


@pytest.mark.parametrize("baseline", [cox_risk, forest_risk])
def test_baselines_find_a_signal_and_nothing_without_one(baseline) -> None:
    x, time, event = survival(300, 1)
    fresh, later, died = survival(300, 2)
    found = c_index(baseline(x, time, event, fresh, rng=np.random.default_rng(0)), later, died)[0]
    noise = np.random.default_rng(3).standard_normal((2, 300, 5))
    nothing = c_index(baseline(noise[0], time, event, noise[1], rng=np.random.default_rng(0)), later, died)[0]
    assert found > 0.72
    assert nothing == pytest.approx(0.5, abs=0.07)


def test_ridge_orders_stages_and_leaves_out_unknown_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    stage = np.digitize(x[:, 0], [-0.7, 0, 0.7])
    stage[:20] = -1
    found = ridge_stage(x, stage, x)
    assert set(found) <= {0, 1, 2, 3}
    assert np.corrcoef(found[20:], stage[20:])[0, 1] > 0.7


def test_tables_do_not_know_neighbours_and_edge_products_do(patient: SimulatedPatient) -> None:
    graph = own_regions(patient.graph, patient.slides[0].tessellation)
    rng = np.random.default_rng(1)
    right, wrong = graph_input(graph), graph_input(rewire(graph, rng=rng))
    assert pooled(right) == pytest.approx(pooled(wrong))
    assert pooled(right).shape == (4 * len(FEATURE_NAMES),)
    mean, scale = right.features.mean(axis=0), right.features.std(axis=0)
    assert np.abs(edge_products(right, mean, scale) - edge_products(wrong, mean, scale)).max() > 0.1
    assert size_and_degree(right)[0] == graph.graph.n_nodes


def test_edge_products_equal_their_slow_spelling(patient: SimulatedPatient) -> None:
    graph = graph_input(patient.graph)
    mean, scale = graph.features.mean(axis=0), graph.features.std(axis=0)
    standard = np.divide(graph.features - mean, scale, out=np.zeros_like(graph.features), where=scale > 0)
    table = np.mean([np.outer(standard[one], standard[other]) for one, other in graph.edge_index.T], axis=0)
    assert edge_products(graph, mean, scale) == pytest.approx(table[np.triu_indices(len(table))])


def test_rewiring_keeps_regions_and_all_their_features(patient: SimulatedPatient) -> None:
    graph = own_regions(patient.graph, patient.slides[0].tessellation)
    wrong = rewire(graph, rng=np.random.default_rng(0))
    assert interpret(wrong.graph).values == pytest.approx(interpret(graph.graph).values)
    source, target = wrong.graph.edge_index
    assert (source != target).all()
    mirrored = np.lexsort((source, target))
    assert (wrong.graph.edge_index[::-1, mirrored] == wrong.graph.edge_index).all()
    assert (wrong.graph.boundary[mirrored] == wrong.graph.boundary).all()
    right = {tuple(pair) for pair in graph.graph.edge_index.T}
    kept = np.mean([tuple(pair) in right for pair in wrong.graph.edge_index.T])
    assert kept < 0.5
    assert wrong.graph.n_edges > 0.7 * graph.graph.n_edges


def test_own_regions_hold_one_class_each_and_everything(patient: SimulatedPatient) -> None:
    slide = patient.slides[0]
    graph = own_regions(slide.graph, slide.tessellation)
    assert (graph.graph.moments.sum(axis=0) == slide.graph.moments.sum(axis=0)).all()
    assert graph.graph.n_nodes == slide.tessellation.regions.shape.area
    assert (graph.graph.edge_index == slide.tessellation.regions.edge_index).all()


def test_a_finding_holds_within_its_bounds() -> None:
    value = Score(value=0.55, low=0.5, high=0.6)
    assert Finding(name="x", value=value).holds is None
    assert Finding(name="x", value=value, high=0.56).holds
    assert not Finding(name="x", value=value, high=0.54).holds
    assert Finding(name="x", value=value, low=0.5, high=0.6).holds
    assert not Finding(name="x", value=value, low=0.56).holds
