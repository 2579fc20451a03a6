from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lifelines import AalenJohansenFitter, BreslowFlemingHarringtonFitter, CoxPHFitter, KaplanMeierFitter

from wsigraph.cohort.metrics.aalen_johansen import cumulative_incidence
from wsigraph.cohort.metrics.external_calibration import (
    breslow_cumulative_hazard,
    calibration_slope,
    observed_over_expected,
)
from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier


def followed(n: int, seed: int, slope: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log hazard ratios, follow-up without ties, and events of patients whose slope is known."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    died, lost = rng.exponential(1000.0 * np.exp(-slope * risk)), rng.uniform(50.0, 3000.0, n)
    return risk, np.minimum(died, lost), died <= lost


def test_the_slope_is_lifelines_cox_coefficient() -> None:
    risk, days, event = followed(300, 0)
    weights = np.stack([np.ones(300), np.random.default_rng(1).integers(0, 3, 300).astype(float)])
    slopes = calibration_slope(risk, days, event, weights=weights)
    table = pd.DataFrame({"risk": risk, "days": days, "event": event})
    assert slopes[0] == pytest.approx(
        CoxPHFitter().fit(table, "days", "event").params_["risk"], abs=1e-4
    )  # it stops early
    # patients drawn several times tie with themselves, where lifelines is Efron's and this is Breslow's
    assert slopes[1] == pytest.approx(slopes[0], abs=0.2)


def test_exaggerated_risks_have_a_slope_below_one() -> None:
    risk, days, event = followed(2000, 2)
    assert calibration_slope(risk, days, event)[0] == pytest.approx(1.0, abs=0.08)
    assert calibration_slope(3 * risk, days, event)[0] == pytest.approx(1 / 3, abs=0.03)
    assert np.isnan(calibration_slope(np.zeros(2000), days, event)[0])
    assert np.isnan(calibration_slope(risk, days, np.zeros(2000, bool))[0])


def test_true_hazards_expect_as_many_events_as_there_are() -> None:
    risk, days, event = followed(4000, 3)
    hazard = np.exp(risk) * days / 1000.0
    # the standard error of events over expected is about 1 / sqrt(events), 0.02
    assert observed_over_expected(hazard, event)[0] == pytest.approx(1.0, abs=0.06)
    assert observed_over_expected(2 * hazard, event)[0] == pytest.approx(0.5, abs=0.03)


def test_the_baseline_hazard_without_risks_is_nelson_aalens() -> None:
    _, days, event = followed(120, 4)
    at = np.array([10.0, 300.0, 900.0, 5000.0])
    fitted = BreslowFlemingHarringtonFitter().fit(days, event)
    expected = -np.log(fitted.survival_function_at_times(at).to_numpy())
    assert breslow_cumulative_hazard(np.zeros(120), days, event, at) == pytest.approx(expected, abs=1e-9)


def test_the_incidence_is_lifelines() -> None:
    rng = np.random.default_rng(5)
    days, cause = rng.random(200) * 1000.0, rng.choice(3, 200, p=[0.4, 0.4, 0.2])
    steps = cumulative_incidence(days, cause, 2)
    fitted = AalenJohansenFitter(calculate_variance=True).fit(days, cause, event_of_interest=2)
    expected = fitted.cumulative_density_.loc[steps.time_days].to_numpy().ravel()
    assert steps.incidence == pytest.approx(expected, abs=1e-12)
    band = fitted.confidence_interval_.loc[steps.time_days].to_numpy()
    # where the last patient at risk has an event, lifelines divides by zero
    own, known = np.column_stack([steps.low, steps.high]), np.isfinite(band).all(axis=1)
    assert known.sum() >= len(known) - 1
    assert own[known] == pytest.approx(band[known], abs=1e-9)
    assert steps.n_events == (cause == 2).sum()


def test_one_cause_alone_is_one_minus_kaplan_meier_also_with_ties() -> None:
    rng = np.random.default_rng(6)
    days, event = rng.integers(1, 20, 150).astype(float), rng.random(150) < 0.6
    steps, survival = cumulative_incidence(days, event.astype(int)), kaplan_meier(days, event)
    assert steps.incidence == pytest.approx(1.0 - survival.survival, abs=1e-12)
    fitted = KaplanMeierFitter().fit(days, event)
    assert 1.0 - steps.incidence[-1] == pytest.approx(float(fitted.survival_function_.iloc[-1, 0]))


def test_incidences_and_survival_add_up() -> None:
    rng = np.random.default_rng(7)
    days, cause = rng.integers(1, 30, 90).astype(float), rng.integers(0, 3, 90)
    at = np.array([0.0, 5.0, 12.0, 29.0])
    both = sum(cumulative_incidence(days, cause, kind).incidence_at(at) for kind in (1, 2))
    assert both + kaplan_meier(days, cause > 0).survival_at(at) == pytest.approx(np.ones(4))
    nothing = cumulative_incidence(days, np.zeros(90, int), 1)
    assert len(nothing.incidence) == 0
    assert cumulative_incidence(np.array([np.nan]), np.array([1])).n_patients == 0
