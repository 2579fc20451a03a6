from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.calibration import beyond_each_stage, calibration_curve, calibration_line, d_calibration


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_true_probabilities_lie_on_the_line_and_exaggerated_ones_below_it() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(size=20000)
    outcome = (rng.random(20000) < sigmoid(logit)).astype(float)
    # the standard error of the slope is 0.02 at this size
    assert calibration_line(sigmoid(logit), outcome)[0] == pytest.approx([0, 1], abs=0.06)
    assert calibration_line(sigmoid(2 * logit + 1), outcome)[0] == pytest.approx([-0.5, 0.5], abs=0.06)


def test_extreme_overconfidence_still_has_a_line() -> None:
    rng = np.random.default_rng(2)
    logit = rng.normal(size=4000)
    outcome = (rng.random(4000) < sigmoid(logit)).astype(float)
    assert calibration_line(sigmoid(8 * logit), outcome)[0] == pytest.approx([0, 1 / 8], abs=0.05)


def test_the_line_solves_its_score_equations() -> None:
    rng = np.random.default_rng(1)
    p, outcome = rng.random(50), (rng.random(50) < 0.4).astype(float)
    intercept, slope = calibration_line(p, outcome)[0]
    logit = np.log(p / (1 - p))
    gap = outcome - sigmoid(intercept + slope * logit)
    assert [gap.sum(), gap @ logit] == pytest.approx([0, 0], abs=1e-6)


def test_separated_outcomes_have_no_line() -> None:
    assert np.isnan(calibration_line(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0, 1, 1]))).all()


def test_curve_and_rows_of_being_beyond_a_stage() -> None:
    p, outcome = beyond_each_stage(np.array([[0.2, 0.3, 0.5], [1, 0, 0]]), np.array([1, -1]))
    assert p == pytest.approx([0.8, 0.5])
    assert outcome.tolist() == [1.0, 0.0]
    curve = calibration_curve(np.array([0.1, 0.2, 0.9, 0.8]), np.array([0.0, 0, 1, 1]), n_bins=2)
    assert curve.stated == pytest.approx([0.15, 0.85])
    assert curve.observed.tolist() == [0.0, 1.0]
    assert curve.n.tolist() == [2, 2]


def weibull(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the true cumulative hazard at the last day, the day and the event of patients of mixed risk."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    death, lost = rng.exponential(np.exp(-risk)), rng.exponential(2.0, n)
    days = np.minimum(death, lost)
    return days * np.exp(risk), days, death <= lost


def test_the_truth_is_d_calibrated_and_half_as_much_hazard_again_is_rejected() -> None:
    hazard, _, event = weibull(2000, 0)
    truth = d_calibration(np.exp(-hazard), event)
    assert truth.deviation <= 0.03
    assert truth.p > 0.01
    assert truth.fraction.sum() == pytest.approx(1)
    assert d_calibration(np.exp(-1.5 * hazard), event).p < 1e-6


def test_a_censored_patient_spreads_over_what_is_left() -> None:
    found = d_calibration(np.array([0.5, 0.25]), np.array([False, True]), n_bins=2)
    # half of the mass below one half for the censored one, all of it for the event
    assert found.fraction == pytest.approx([1.0, 0.0])
    assert d_calibration(np.array([1.0]), np.array([False]), n_bins=4).fraction == pytest.approx([0.25] * 4)
