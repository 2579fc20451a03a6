from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.evaluation.baselines import BaselineTask, CohortPredictions
from wsigraph.training.evaluation.evaluation_document import score_within
from wsigraph.training.evaluation.feature_bags import bag_input
from wsigraph.training.evaluation.refit_baselines import (
    RECIPE,
    calibration_of_survival,
    concatenate_cohorts,
    coverage,
    predict_new_patients,
    score_new_patients,
    train_on,
)
from wsigraph.training.evaluation.unseen import c_at_unseen_sites

CONFIG = ModelConfig(
    design="network",
    layers=1,
    heads=2,
    channels=4,
    epochs=12,
    time_intervals=4,
    batch_graphs=16,
    learning_rate=0.01,
)


def bags(n: int, seed: int) -> Cohort:
    """Return patients whose first feature, averaged, decides survival and stage."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=n)
    inputs = [
        bag_input(each + rng.normal(size=(12, 3)) * [0.5, 1, 1] * [1, 1, 1])
        for each in level[:, None, None] * [1, 0, 0]
    ]
    death = rng.exponential(100 * np.exp(-1.5 * level))
    lost = rng.uniform(20, 400, n)
    return Cohort(
        inputs=inputs,
        patient=np.array([f"{seed}-{k}" for k in range(n)]),
        site=np.array([f"s{k % 3}" for k in range(n)]),
        slides=((),) * n,
        covariates=({},) * n,
        stain=np.full((n, 8), np.nan),
        stage=np.digitize(level, [-0.8, 0, 0.8]),
        time_days=np.minimum(death, lost),
        event=death <= lost,
        moment_id="none",
        feature_id="bags",
        embedding_id=None,
        feature_names=("a", "b", "c"),
    )


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return bags(150, 0)


@pytest.fixture(scope="module")
def ensemble(cohort: Cohort) -> Ensemble:
    return train_on(cohort, CONFIG, seed=1, n_folds=3)


def test_bags_join_their_most_similar_regions_both_ways() -> None:
    rng = np.random.default_rng(0)
    near = np.concatenate([rng.normal(size=(5, 4)) * 0.01 + 1, rng.normal(size=(5, 4)) * 0.01 + [1, -1, 1, -1]])
    graph = bag_input(near, n_similar=2)
    source, target = graph.edge_index
    assert ((source < 5) == (target < 5)).all()
    assert {(int(a), int(b)) for a, b in zip(source, target, strict=True)} == {
        (int(b), int(a)) for a, b in zip(source, target, strict=True)
    }
    assert graph.edge_attribute[:, 0] == pytest.approx(np.full(len(source), 2.0), abs=0.01)
    assert bag_input(near[:1]).edge_index.shape == (2, 0)


def test_a_large_bag_is_joined_as_its_whole_matrix_says() -> None:
    """Blocks of instances give the neighbours and cosines of the N x N matrix, which is not held."""
    encoding = np.random.default_rng(3).normal(size=(1300, 5))
    unit = encoding / np.linalg.norm(encoding, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    expected = {
        pair
        for row, columns in enumerate(np.argsort(-cosine, axis=1, kind="stable")[:, :3])
        for column in columns.tolist()
        for pair in ((row, column), (column, row))
    }
    tracemalloc.start()
    graph = bag_input(encoding, n_similar=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(map(tuple, graph.edge_index.T.tolist())) == expected
    # the two products sum in orders of their own
    np.testing.assert_allclose(graph.edge_attribute[:, 0], 1 + cosine[tuple(graph.edge_index)], atol=1e-14)
    # blocks hold similarities, their negatives and an order: 3 of N x N numbers took 40 MB
    assert peak < 2.5 * 8 * 1300 * 1300


def test_a_plain_relation_is_found_on_fresh_patients(ensemble: Ensemble, cohort: Cohort) -> None:
    fresh = bags(200, 1)
    level = np.array([each.features[:, 0].mean() for each in fresh.inputs])
    table = score_new_patients(
        ensemble,
        cohort,
        fresh,
        seed=0,
        names=("attention_mil", "pooled_ridge", "site_only", "stain_only"),
        oracle=CohortPredictions(risk=level, stage_probability=np.zeros((200, 0))),
        n_draws=100,
    )
    own, oracle = table["model"]["survival"]["c_index"]["value"], table["oracle"]["survival"]["c_index"]["value"]
    assert oracle > 0.7
    assert own > oracle - 0.06
    assert table["oracle"]["model_above"]["survival"]["c_index"]["value"] == pytest.approx(own - oracle, abs=2e-4)
    assert table["pooled_ridge"]["survival"]["c_index"]["value"] > 0.66
    assert table["site_only"]["survival"]["c_index"]["value"] < 0.6
    assert table["attention_mil"]["survival"]["c_index"]["value"] > 0.6
    assert table["stain_only"] == {"left_out": "stains are unknown"}


def test_hazards_half_as_high_again_are_less_calibrated(ensemble: Ensemble) -> None:
    fresh = bags(1500, 2)
    found = predict_new_patients(ensemble.bundle, fresh)
    as_said, exaggerated = (calibration_of_survival(found, fresh, factor=factor) for factor in (1.0, 1.5))
    assert exaggerated["p"] < 1e-6
    assert as_said["low"] <= as_said["largest_deviation"] <= as_said["high"]
    assert as_said["largest_deviation"] < exaggerated["largest_deviation"]


def test_stage_sets_cover_fresh_patients(ensemble: Ensemble) -> None:
    fresh = bags(1500, 3)
    found = coverage(ensemble, predict_new_patients(ensemble.bundle, fresh), fresh)
    # 150 calibration patients: the coverage scatters by some 0.025, and CV+ may exceed its aim
    assert 0.82 < found["covered"] < 0.99
    assert found["n_calibration"] == 150
    # Wilson's interval is about two standard errors either way
    assert found["low"] < found["covered"] < found["high"] < found["low"] + 0.04
    assert set(found["by_site"]) == {"s0", "s1", "s2"}
    assert sum(part["n"] for part in found["by_stage"].values()) == 1500


def test_pairs_within_a_stratum_of_ones_own(ensemble: Ensemble, cohort: Cohort) -> None:
    site = np.unique(cohort.site, return_inverse=True)[1]
    question = BaselineTask(cohort=cohort, fold=ensemble.held_out.fold, config=CONFIG, seed=1)
    found = score_within(ensemble, question, site, ("pooled_ridge",), cluster=site, n_draws=50)
    assert found["survival"]["c_index"]["value"] > 0.65
    assert set(found["baselines"]) == {"pooled_ridge"}
    assert all("the model lies below the baseline pooled_ridge" in text for text in found["warnings"])


def test_cohorts_with_a_patient_in_common_are_not_joined(cohort: Cohort) -> None:
    assert concatenate_cohorts(cohort, bags(5, 9)).n_rows == 155
    with pytest.raises(CohortError, match="1 patients are in both cohorts"):
        concatenate_cohorts(cohort, replace(bags(5, 9), patient=np.array(["0-3", "b", "c", "d", "e"])))


def test_fresh_patients_are_answered_by_the_member_that_never_saw_their_site(cohort: Cohort) -> None:
    fold = np.unique(cohort.site, return_inverse=True)[1]
    trained = train_folds(cohort, fold, [CONFIG], seed=1, about=RECIPE)
    fresh = bags(120, 4)
    found = c_at_unseen_sites(trained, cohort, fold, fresh, seed=0, n_draws=50)
    assert found["n"] == sum(part["n"] for part in found["by_site"].values()) == 120
    for number, site in enumerate(np.unique(cohort.site)):
        rows = fresh.site == site
        _, hazard = trained.bundle.members[number].read([fresh.inputs[row] for row in np.flatnonzero(rows)])
        risk = np.logaddexp(0.0, hazard).sum(axis=1)
        own = c_index(risk, fresh.time_days[rows], fresh.event[rows], weights=np.ones((1, rows.sum())))[0]
        assert found["by_site"][str(site)]["c_index"]["value"] == pytest.approx(own, abs=1e-4)
    # by patient, a site lies in several folds
    with pytest.raises(CohortError, match="folds"):
        c_at_unseen_sites(trained, cohort, np.arange(cohort.n_rows) % 3 ^ (np.arange(cohort.n_rows) % 2), fresh, seed=0)
