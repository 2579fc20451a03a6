from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.stage import balanced_accuracy, quadratic_kappa, stage_auc, stage_brier


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
