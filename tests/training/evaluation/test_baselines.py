from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import ModelConfig
from wsigraph.model.inputs import GraphInput
from wsigraph.training.cox_ridge import cox_ridge, cox_risk
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.baselines import BaselineTask, pooled_ridge, site_only
from wsigraph.training.evaluation.forest import forest_risk, martingale_residuals
from wsigraph.training.evaluation.pooled import clinical, edge_products, means_and_stds, one_hot
from wsigraph.training.evaluation.ridge import mean_stage_ridge, stage_ridge


def survival(n: int, p: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return covariates, of which the first decides, and follow-up with many ties."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    return x, np.ceil(10 * rng.exponential(np.exp(-x[:, 0]))), rng.random(n) < 0.7


@pytest.mark.parametrize("penalty", [0.01, 0.5])
def test_the_ridge_equals_lifelines(penalty: float) -> None:
    x, days, event = survival(80, 3, 0)
    x = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    table = pd.DataFrame(x, columns=["a", "b", "c"]).assign(t=days, e=event)
    fitter = CoxPHFitter(penalizer=penalty).fit(table, "t", "e", fit_options={"precision": 1e-10})
    assert cox_ridge(x, days, event, penalty) == pytest.approx(fitter.params_.to_numpy(), abs=2e-5)


def test_more_columns_than_rows_give_the_same_minimum() -> None:
    x, days, event = survival(20, 60, 1)
    found = cox_ridge(x, days, event, 0.1)

    def loss(beta: np.ndarray) -> float:
        eta, value = x @ beta, 0.0
        for day in np.unique(days[event]):
            tied = np.flatnonzero(event & (days == day))
            at_risk, dying = np.exp(eta[days >= day]).sum(), np.exp(eta[tied]).sum()
            value -= eta[tied].sum() - sum(np.log(at_risk - k / len(tied) * dying) for k in range(len(tied)))
        return float(value + 0.5 * 0.1 * len(x) * beta @ beta)

    rng = np.random.default_rng(0)
    assert all(loss(found) <= loss(found + 1e-3 * rng.normal(size=60)) for _ in range(20))


def test_no_event_no_opinion() -> None:
    x, days, _ = survival(20, 2, 2)
    assert (cox_ridge(x, days, np.zeros(20, bool), 0.1) == 0).all()
    names = np.array([f"p{k}" for k in range(20)])
    assert (cox_risk(x, days, np.zeros(20, bool), names, np.arange(20), seed=0) == 0).all()
    assert (forest_risk(x, days, np.zeros(20, bool), np.arange(20), seed=0) == 0).all()


def test_rows_outside_training_change_nothing() -> None:
    x, days, event = survival(90, 4, 3)
    names, train = np.array([f"p{k}" for k in range(90)]), np.arange(60)
    wild = days.copy()
    wild[60:] = 1.0
    first = cox_risk(x, days, event, names, train, seed=0)
    assert (cox_risk(x, wild, ~event & (np.arange(90) >= 60) | event, names, train, seed=0) == first).all()
    assert c_index(first[60:], days[60:], event[60:])[0] > 0.6
    forest = forest_risk(x, days, event, train, seed=0)
    assert (forest_risk(x, wild, event, train, seed=0) == forest).all()
    assert c_index(forest[60:], days[60:], event[60:])[0] > 0.6


def test_stages_from_a_ridge() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 3))
    stage = np.digitize(x[:, 0], [-0.5, 0.5])
    stage[:5] = -1
    names, train = np.array([f"p{k}" for k in range(80)]), np.arange(60)
    p = stage_ridge(x, stage, names, train, 4, seed=0)
    assert p.sum(axis=1) == pytest.approx(np.ones(80))
    assert (p[:, 3] == 0).all()
    assert (p[60:].argmax(axis=1) == stage[60:]).mean() > 0.6
    assert (stage_ridge(x, np.zeros(80, int), names, train, 4, seed=0) == 0.25).all()


def test_martingale_residuals_by_hand() -> None:
    found = martingale_residuals(np.array([1.0, 2, 3]), np.array([True, False, True]))
    assert found == pytest.approx([1 - 1 / 3, -1 / 3, 1 - 1 / 3 - 1])
    assert found.sum() == pytest.approx(0)


def pair(left: float, right: float) -> GraphInput:
    """Return two regions that touch, with one feature."""
    return GraphInput(
        features=np.array([[left], [right]]),
        area_um2=np.array([3.0, 1.0]),
        edge_index=np.array([[0, 1], [1, 0]]),
        edge_attribute=np.array([[np.log1p(5.0), 0, 0]] * 2),
    )


def tiny_cohort() -> Cohort:
    inputs = [pair(-1.0, 1.0), pair(1.0, 1.0), pair(-1.0, -1.0)]
    return Cohort(
        inputs=inputs,
        patient=np.array(["a", "b", "c"]),
        site=np.array(["s", "t", "u"]),
        slides=((), (), ()),
        covariates=({"age": "50", "sex": "f"}, {"age": "", "sex": "m"}, {"age": "70", "sex": ""}),
        stain=np.zeros((3, 8)),
        stage=np.array([0, 1, -1]),
        time_days=np.array([1.0, 2.0, 3.0]),
        event=np.array([True, True, False]),
        moment_id="m",
        feature_id="f",
        embedding_id=None,
        feature_names=("x",),
    )


def test_pooled_tables_by_hand() -> None:
    cohort = tiny_cohort()
    assert means_and_stds(cohort)[0] == pytest.approx([-0.5, np.sqrt(0.75)])
    # centre 0, scale 1: the sign of the axis is the eigenvector's, the product of neighbours has none
    table = edge_products(cohort, np.arange(3))
    assert table[:, 1] == pytest.approx([-1, 1, 1])
    lonely = replace(cohort.inputs[0], edge_index=np.zeros((2, 0), int), edge_attribute=np.zeros((0, 3)))
    assert edge_products(replace(cohort, inputs=[lonely, *cohort.inputs[1:]]), np.arange(3))[0, 1] == 0


def test_covariates_know_training_levels_alone() -> None:
    cohort = tiny_cohort()
    assert one_hot(["s", "t", "u"], np.array([0, 1])).tolist() == [[1, 0], [0, 1], [0, 0]]
    table = clinical(cohort, ("age", "sex", "stage", "nothing"), np.array([0, 1]))
    assert table.tolist() == [[50, 1, 0, 1, 0], [50, 0, 1, 0, 1], [70, 0, 0, 0, 0]]


def test_an_unseen_site_gets_no_opinion_and_a_known_one_is_used() -> None:
    rng = np.random.default_rng(5)
    n = 80
    site = np.repeat(["s", "t"], n // 2)
    base = tiny_cohort()
    cohort = replace(
        base,
        inputs=[base.inputs[0]] * n,
        patient=np.array([f"p{k}" for k in range(n)]),
        site=site,
        slides=((),) * n,
        covariates=({},) * n,
        stain=np.zeros((n, 8)),
        stage=np.full(n, -1),
        time_days=rng.exponential(np.where(site == "s", 1.0, 8.0)),
        event=np.ones(n, bool),
    )
    config = ModelConfig(task="survival")
    by_patient = site_only(BaselineTask(cohort=cohort, fold=np.arange(n) % 4, config=config, seed=0))
    assert c_index(by_patient.risk, cohort.time_days, cohort.event, stratum=np.arange(n) % 4)[0] > 0.7
    by_site = site_only(BaselineTask(cohort=cohort, fold=(site == "t").astype(int), config=config, seed=0))
    assert (by_site.risk == 0).all()
    # equal tissue: a ridge on it knows nothing
    tissue = pooled_ridge(BaselineTask(cohort=cohort, fold=np.arange(n) % 4, config=config, seed=0))
    assert c_index(tissue.risk, cohort.time_days, cohort.event, stratum=np.arange(n) % 4)[0] == 0.5


def test_the_mean_of_ridges_chooses_nothing_and_sees_training_rows_alone() -> None:
    rng = np.random.default_rng(3)
    stage = np.arange(40) % 2
    first, second = rng.normal(stage[:, None], 1.0, (40, 5)), rng.normal(size=(40, 3))
    train = np.arange(30)
    one, other = (mean_stage_ridge([x], stage, train, 2, penalties=(0.1,)) for x in (first, second))
    both = mean_stage_ridge([first, second], stage, train, 2, penalties=(0.1,))
    np.testing.assert_allclose(both, 0.5 * (one + other))
    assert both.sum(axis=1) == pytest.approx(1.0)
    moved = first.copy()
    moved[35:] += 100.0
    np.testing.assert_array_equal(
        mean_stage_ridge([moved], stage, train, 2)[:35], mean_stage_ridge([first], stage, train, 2)[:35]
    )
    assert (mean_stage_ridge([first], stage, np.array([0, 2]), 2) == 0.5).all()
