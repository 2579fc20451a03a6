from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.stage import (
    balanced_accuracy,
    quadratic_kappa,
    stage_auc,
    stage_brier,
    stage_pairs,
)


def test_balanced_accuracy_counts_stages_alike_and_skips_unknown_ones() -> None:
    stage, found = np.array([0, 0, 0, 0, 1, -1]), np.array([0, 0, 0, 1, 1, 1])
    assert balanced_accuracy(found, stage)[0] == (0.75 + 1.0) / 2
    assert balanced_accuracy(found, stage, weights=np.array([[1.0, 1, 1, 1, 0, 5]]))[0] == 0.75


def test_kappa_by_hand() -> None:
    stage, found = np.array([0, 1, 2, -1]), np.array([0, 1, 2, 0])
    assert quadratic_kappa(found, stage, 3)[0] == 1.0
    # observed squared distance 1 + 1 + 0; expected by chance 12 over 9 pairs of three patients, so 4
    assert quadratic_kappa(np.array([1, 0, 2, 2]), stage, 3)[0] == pytest.approx(1 - 2 * 3 / 12)
    assert quadratic_kappa(np.array([2, 1, 0, 0]), stage, 3)[0] == -1.0


def test_a_constant_answer_agrees_by_chance_alone() -> None:
    stage = np.array([0, 1, 2, 3, 1])
    assert quadratic_kappa(np.full(5, 1), stage, 4)[0] == pytest.approx(0.0)
    assert np.isnan(quadratic_kappa(np.zeros(3, int), np.zeros(3, int), 2)[0])


def test_stage_auc_of_truth_and_of_no_opinion() -> None:
    stage = np.array([0, 1, 2, 2, -1])
    truth = np.eye(3)[np.maximum(stage, 0)]
    assert stage_auc(truth, stage)[0] == 1.0
    assert stage_auc(np.full((5, 3), 1 / 3), stage)[0] == 0.5
    assert stage_auc(1 - truth, stage)[0] == 0.0


def test_two_stages_have_one_area() -> None:
    rng = np.random.default_rng(0)
    p, stage = rng.random(40), rng.integers(0, 2, 40)
    expected = np.mean(p[stage == 1][:, None] > p[stage == 0][None, :])
    assert stage_auc(np.stack([1 - p, p], axis=1), stage)[0] == pytest.approx(expected)


def test_brier_of_certainty_right_and_wrong() -> None:
    stage = np.array([0, 1, -1])
    assert stage_brier(np.eye(2)[[0, 1, 0]], stage)[0] == 0.0
    assert stage_brier(np.eye(2)[[1, 0, 0]], stage)[0] == 2.0


def test_a_model_that_answers_every_fold_with_one_stage_has_no_agreement() -> None:
    # folds of other frequencies: pooled, one stage a fold looks like knowledge
    stage = np.array([0, 0, 0, 3, 3, 3, 3, 0])
    answer = np.array([0, 0, 0, 0, 3, 3, 3, 3])
    fold = np.repeat([0, 1], 4)
    assert quadratic_kappa(answer, stage, 4)[0] == pytest.approx(0.5)
    assert quadratic_kappa(answer, stage, 4, stratum=fold)[0] == pytest.approx(0.0)
    assert balanced_accuracy(answer, stage)[0] == pytest.approx(0.75)
    assert balanced_accuracy(answer, stage, stratum=fold)[0] == pytest.approx(0.5)


def test_one_fold_is_no_stratification() -> None:
    rng = np.random.default_rng(5)
    stage, answer, one = rng.integers(-1, 4, 60), rng.integers(0, 4, 60), np.zeros(60, int)
    weights = rng.integers(0, 3, (5, 60)).astype(float)
    for score in (
        lambda **given: quadratic_kappa(answer, stage, 4, **given),
        lambda **given: balanced_accuracy(answer, stage, **given),
    ):
        assert score(weights=weights, stratum=one) == pytest.approx(score(weights=weights))


def test_the_brier_score_is_the_patient_weighted_mean_of_folds() -> None:
    rng = np.random.default_rng(6)
    p, stage, fold = rng.dirichlet(np.ones(4), 50), rng.integers(0, 4, 50), rng.integers(0, 3, 50)
    by_fold = [stage_brier(p[fold == k], stage[fold == k])[0] * (fold == k).mean() for k in range(3)]
    assert stage_brier(p, stage)[0] == pytest.approx(sum(by_fold))


def test_pairs_of_stages_are_counted_within_folds() -> None:
    stage, fold = np.array([0, 1, 1, -1, 2, 0]), np.array([0, 0, 0, 0, 1, 1])
    assert stage_pairs(stage) == 8
    assert stage_pairs(stage, fold) == 3
