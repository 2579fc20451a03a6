"""Slope and thresholds of the stage offset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from wsigraph.training.earned_fraction import stage_losses
from wsigraph.training.ordinal_ridge import ordinal_ridge
from wsigraph.training.stage_calibration import PRIOR, SLOPE_LIMITS, CalibrationPrior, calibrate_stage

FREE = CalibrationPrior(slope_sd=1e4, threshold_sd=1e4)


def drawn(n: int, slope: float, threshold: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores and stages of the proportional odds model."""
    rng = np.random.default_rng(seed)
    score = 2.0 * rng.standard_normal(n)
    beyond = rng.random(n)[:, None] < expit(slope * score[:, None] - threshold)
    return score, beyond.sum(axis=1).astype(np.int64)


@pytest.mark.parametrize("threshold", [np.array([0.3]), np.array([-1.0, 0.2, 1.5])])
def test_free_priors_give_the_fit_of_greatest_likelihood(threshold: np.ndarray) -> None:
    score, stage = drawn(200, 0.6, threshold)
    slope, edges = calibrate_stage(score, stage, threshold, FREE)
    weight, expected = ordinal_ridge(score[:, None], stage, len(threshold) + 1, (1e-9,))
    assert slope == pytest.approx(weight[0], abs=2e-3)
    np.testing.assert_allclose(edges, expected, atol=5e-3)


def test_fixed_priors_give_the_ridge_times_the_centre() -> None:
    threshold = np.array([-0.4, 0.9])
    score, stage = drawn(32, 2.0, threshold)
    fixed = CalibrationPrior(slope=0.5, slope_sd=1e-5, threshold_sd=1e-5)
    slope, edges = calibrate_stage(score, stage, threshold, fixed)
    assert slope == pytest.approx(0.5, abs=1e-3)
    np.testing.assert_allclose(edges, 0.5 * threshold, atol=1e-3)


def test_many_patients_outweigh_the_prior() -> None:
    threshold = np.array([0.4])
    score, stage = drawn(20_000, 0.4, threshold, seed=3)
    slope, edges = calibrate_stage(score, stage, 2.0 * threshold)
    free_slope, free_edges = calibrate_stage(score, stage, 2.0 * threshold, FREE)
    assert slope == pytest.approx(free_slope, abs=0.01)
    np.testing.assert_allclose(edges, free_edges, atol=0.02)


def test_two_dozen_patients_move_the_fit_less_than_it_varies() -> None:
    threshold = np.array([0.0])
    fits = {"free": FREE, "prior": PRIOR}
    values = {
        name: np.array(
            [np.append(*calibrate_stage(*drawn(24, 0.5, threshold, seed), threshold, prior)) for seed in range(40)]
        )
        for name, prior in fits.items()
    }
    assert (values["prior"].std(axis=0) < 0.5 * values["free"].std(axis=0)).all()


def test_thresholds_rise_and_the_slope_stays_within_its_limits() -> None:
    score, stage = drawn(60, 1.0, np.array([-0.1, 0.0, 0.1]), seed=2)
    slope, edges = calibrate_stage(-score, stage, np.array([-0.1, 0.0, 0.1]), FREE)
    assert slope == SLOPE_LIMITS[0]
    assert (np.diff(edges) > 0).all()
    assert np.isfinite(stage_losses(slope * score[:, None] - edges, stage)).all()
