from __future__ import annotations

import numpy as np
import pytest

from wsigraph.model.conformal import (
    fit_temperature,
    guaranteed_coverage,
    recalibration_draws,
    stage_probabilities,
    stage_sets,
    survival_band,
)
from wsigraph.model.nn.losses import SurvivalTarget


def cumulative(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return true cumulative logits of four stages and stages drawn from them."""
    logits = 1.5 * rng.normal(size=(n, 1)) - np.array([-1.0, 0.0, 1.0])
    p = stage_probabilities(logits)
    return logits, (rng.random((n, 1)) > np.cumsum(p, axis=1)[:, :-1]).sum(axis=1)


def test_the_temperature_undoes_exaggeration() -> None:
    logits, stage = cumulative(3000, np.random.default_rng(0))
    # the standard error of a scale at this size is about 0.03
    assert fit_temperature(3 * logits, stage) == pytest.approx(3.0, rel=0.1)
    assert fit_temperature(logits[:5], stage[:5]) == 1.0
    assert fit_temperature(logits, np.full(3000, -1)) == 1.0


@pytest.mark.parametrize(
    ("n_patients", "n_folds", "miscoverage", "guaranteed"),
    [
        (100, 5, 0.1, 1 - 0.2 - 2 * 0.8 / 21),  # 0.724: few folds guarantee less than the jackknife+
        (100, 100, 0.1, 0.8),  # as many folds as patients: the jackknife+, 1 - 2 alpha
        (10, 9, 0.1, 0.8 - 0.1 / 10),  # the second term of the minimum is the smaller one
        (1000, 5, 0.1, 0.8 - 1.6 / 201),
        (6, 2, 0.49, 0.0),  # below 0 nothing is guaranteed
        (100, 1, 0.1, 0.0),
        (4, 5, 0.1, 0.0),
    ],
)
def test_what_cv_plus_guarantees(n_patients: int, n_folds: int, miscoverage: float, guaranteed: float) -> None:
    assert guaranteed_coverage(n_patients, n_folds, miscoverage) == pytest.approx(guaranteed, abs=1e-12)


def test_five_folds_of_100_patients_guarantee_less_than_1_minus_2_alpha() -> None:
    assert round(guaranteed_coverage(100, 5, 0.1), 3) == 0.724


def test_stage_sets_hold_the_truth_about_as_often_as_aimed_at() -> None:
    rng = np.random.default_rng(1)
    # members err, each in its own way; every calibration patient is scored by the member that held it out
    logits, stage = cumulative(3000, rng)
    shift = rng.normal(scale=0.5, size=5)
    p = np.stack([stage_probabilities(1.4 * logits + each) for each in shift])
    member = np.arange(1000) % 5
    score = 1 - p[member, np.arange(1000), stage[:1000]]
    inside = stage_sets(p[:, 1000:], score, member, 0.1)
    covered = inside[np.arange(2000), stage[1000:]].mean()
    # a valid 90 % method shows 0.877-0.922 on 1,000 + 2,000 patients
    assert 0.877 <= covered <= 0.922
    assert 1.0 <= inside.sum(axis=1).mean() < 4.0
    assert stage_sets(p[:, 1000:], score, member, 0.3).sum() < inside.sum()


def test_the_likeliest_stage_always_belongs() -> None:
    inside = stage_sets(np.array([[[0.4, 0.3, 0.3]]]), np.zeros(200), np.zeros(200, int), 0.1)
    assert inside.tolist() == [[True, False, False]]


def followed(n: int, rng: np.random.Generator) -> tuple[np.ndarray, SurvivalTarget]:
    logits = rng.normal(size=(n, 1)) + np.array([-2.0, -1.5, -1.0])
    dies = rng.random((n, 3)) < 1 / (1 + np.exp(-logits))
    first = np.where(dies.any(axis=1), dies.argmax(axis=1), 3)
    died = (np.arange(3) == first[:, None]).astype(np.float32)
    return logits, SurvivalTarget(survived=(np.arange(3) < first[:, None]).astype(np.float32), died=died)


def test_the_band_narrows_with_patients_and_holds_the_curve() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for n in (100, 1600):
        draws = recalibration_draws(*followed(n, rng), rng=rng)
        assert draws.mean(axis=0) == pytest.approx([0, 1], abs=0.1)
        ends = np.array([10.0, 20.0, 30.0])
        logits = np.array([-2.0, -1.5, -1.0])
        band = survival_band([logits], draws, [ends], ends)
        curve = np.cumprod(1 - 1 / (1 + np.exp(-logits)))
        assert (band[0] < curve).all()
        assert (band[1] > curve).all()
        widths.append((band[1] - band[0]).mean())
    # sixteen times the patients, a quarter of the width
    assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.35)


def with_a_difficult_stage(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities of four stages by one member, which mistakes the last stage, one patient in ten."""
    stage = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    judged = np.where(stage == 3, rng.integers(0, 4, n), stage)
    logits = 2.5 * (judged[:, None] - np.array([0.5, 1.5, 2.5])) + rng.normal(size=(n, 1))
    return stage_probabilities(logits), stage


def test_a_rare_and_difficult_stage_is_covered_as_often_as_others() -> None:
    p, stage = with_a_difficult_stage(6000, np.random.default_rng(3))
    score = 1 - p[np.arange(2000), stage[:2000]]
    member, probability = np.zeros(2000, int), p[None, 2000:]
    last = stage[2000:] == 3

    def covered(inside: np.ndarray) -> float:
        return float(inside[last, 3].mean())

    assert covered(stage_sets(probability, score, member, 0.1)) < 0.7
    # 200 patients of the stage calibrate it and 400 test it: a standard error of 0.026
    assert covered(stage_sets(probability, score, member, 0.1, stage=stage[:2000])) == pytest.approx(0.9, abs=0.06)
    # ten patients of a stage calibrate nothing of their own
    few = np.where((stage[:2000] == 3) & (np.cumsum(stage[:2000] == 3) > 10), 2, stage[:2000])
    inside = stage_sets(probability, score, member, 0.1, stage=few)
    assert inside[:, 3].tolist() == stage_sets(probability, score, member, 0.1)[:, 3].tolist()


def test_a_set_of_ordered_stages_has_no_gap() -> None:
    probability = np.array([[[0.05, 0.45, 0.05, 0.45]]])
    inside = stage_sets(probability, np.full(200, 0.6), np.zeros(200, int), 0.1)
    assert inside.tolist() == [[False, True, True, True]]
