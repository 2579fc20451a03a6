"""Kaplan-Meier against lifelines to 1e-12: survival, band, median, and the weighted product limit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier, product_limit
from wsigraph.cohort.metrics.survival import not_censored

EXACT = 1e-12


def fitted(time_days: np.ndarray, event: np.ndarray, weights: np.ndarray | None = None):
    from lifelines import KaplanMeierFitter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lifelines warns of weights that are not whole numbers
        return KaplanMeierFitter().fit(time_days, event, weights=weights)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=60),
)
def test_survival_and_band_are_those_of_lifelines(patients: list[tuple[int, bool]]) -> None:
    time_days, event = (np.array(column) for column in zip(*patients, strict=True))
    time_days = time_days.astype(np.float64)
    ours, theirs = kaplan_meier(time_days, event), fitted(time_days, event)
    assert (ours.n_patients, ours.n_events) == (len(event), event.sum())
    assert ours.time_days.tolist() == sorted(set(time_days[event].tolist()))
    curve, band = theirs.survival_function_.iloc[:, 0], theirs.confidence_interval_
    np.testing.assert_allclose(ours.survival, curve.loc[ours.time_days], rtol=0, atol=EXACT)
    inside = (ours.survival > 0) & (ours.survival < 1)
    for values, column in ((ours.low, 0), (ours.high, 1)):
        expected = band.iloc[:, column].loc[ours.time_days].to_numpy(float)
        np.testing.assert_allclose(values[inside], expected[inside], rtol=0, atol=EXACT)
    at = np.array([0.0, 0.5, 7.0, 30.0, 99.0])
    np.testing.assert_allclose(ours.survival_at(at), theirs.predict(at), rtol=0, atol=EXACT)
    if not (np.abs(ours.survival - 0.5) < EXACT).any():  # there rounding decides the median of lifelines
        assert ours.median_days == theirs.median_survival_time_


def test_long_follow_up_with_ties() -> None:
    rng = np.random.default_rng(0)
    time_days, event = np.ceil(rng.exponential(900, 3000)), rng.random(3000) < 0.6
    ours, theirs = kaplan_meier(time_days, event), fitted(time_days, event)
    curve, band = theirs.survival_function_.iloc[:, 0], theirs.confidence_interval_
    inside = (ours.survival > 0) & (ours.survival < 1)
    np.testing.assert_allclose(ours.survival, curve.loc[ours.time_days], rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours.low[inside], band.iloc[:, 0].loc[ours.time_days][inside], rtol=0, atol=EXACT)
    np.testing.assert_allclose(ours.high[inside], band.iloc[:, 1].loc[ours.time_days][inside], rtol=0, atol=EXACT)


def test_weights_of_the_censoring_distribution_are_those_of_lifelines() -> None:
    rng = np.random.default_rng(1)
    # no event shares a day with a censoring: for those, scores take events first, and lifelines cannot
    time_days, event = rng.permutation(np.arange(1.0, 81.0)), rng.random(80) < 0.5
    weights = rng.integers(1, 4, (3, 80)).astype(np.float64)
    at = np.array([5.5, 20.5, 60.5])
    ours = not_censored(time_days, event, at, weights)
    for row in range(3):
        expected = fitted(time_days, ~event, weights[row]).predict(at)
        np.testing.assert_allclose(ours[row], expected, rtol=0, atol=EXACT)


def test_unknown_follow_up_is_left_out_and_no_patient_gives_no_step() -> None:
    steps = kaplan_meier(np.array([np.nan, 3.0, 5.0]), np.array([True, True, False]))
    assert (steps.n_patients, steps.time_days.tolist(), steps.survival.tolist()) == (2, [3.0], [0.5])
    empty = kaplan_meier(np.zeros(0), np.zeros(0, bool))
    assert (len(empty.time_days), empty.n_patients, empty.median_days) == (0, 0, float("inf"))
    assert empty.survival_at(np.array([1.0])).tolist() == [1.0]


def test_times_with_nobody_at_risk_change_nothing() -> None:
    assert product_limit(np.array([1.0, 0.0]), np.array([2.0, 0.0])).tolist() == pytest.approx([0.5, 0.5])
