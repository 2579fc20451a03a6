from __future__ import annotations

import numpy as np
import pytest
from lifelines.statistics import multivariate_logrank_test

from wsigraph.cohort.metrics.survival import (
    brier_scores,
    comparable_pairs,
    integrated_brier,
    log_rank,
    survival_between,
    time_auc,
)


def test_log_rank_equals_lifelines() -> None:
    rng = np.random.default_rng(0)
    days, event, group = np.ceil(30 * rng.random(90)), rng.random(90) < 0.7, rng.integers(0, 3, 90)
    statistic, p = log_rank(days, event, group)
    expected = multivariate_logrank_test(days, group, event)
    assert statistic == pytest.approx(expected.test_statistic, rel=1e-9)
    assert p == pytest.approx(expected.p_value, rel=1e-9)


def test_log_rank_of_one_group_and_of_strata() -> None:
    rng = np.random.default_rng(1)
    days, event, group = rng.random(60), rng.random(60) < 0.7, rng.integers(0, 2, 60)
    assert log_rank(days, event, np.zeros(60, int)) == (0.0, 1.0)
    # two copies of one stratum: gap and variance both double
    once, _ = log_rank(days, event, group)
    twice, _ = log_rank(*(np.tile(each, 2) for each in (days, event, group)), stratum=np.repeat([0, 1], 60))
    assert twice == pytest.approx(2 * once)


def test_survival_within_an_interval_has_a_constant_rate() -> None:
    survival = np.array([[0.5, 0.125]])
    found = survival_between(np.array([10.0, 20.0]), survival, np.array([0.0, 5, 10, 15, 20, 99]))[0]
    assert found == pytest.approx([1, 0.5**0.5, 0.5, 0.25, 0.125, 0.125])


def test_brier_without_censoring_is_the_squared_error() -> None:
    rng = np.random.default_rng(2)
    days, survival = rng.random(40), rng.random((40, 2))
    at = np.array([0.3, 0.7])
    found = brier_scores(survival, days, np.ones(40, bool), at)[0]
    expected = [np.mean((survival[:, k] - (days > day)) ** 2) for k, day in enumerate(at)]
    assert found == pytest.approx(expected)
    assert integrated_brier(found[None], at)[0] == pytest.approx(np.mean(expected))


def test_censoring_leaves_the_brier_score_unbiased() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    death, lost = rng.exponential(1.0, n), rng.exponential(1.5, n)
    days, event = np.minimum(death, lost), death <= lost
    at = np.array([0.5, 1.0])
    survival = np.tile(np.exp(-at), (n, 1))
    truth = np.exp(-at) * (1 - np.exp(-at))  # the variance of the outcome is the error of the true curve
    found = brier_scores(survival, days, event, at)[0]
    assert found == pytest.approx(truth, abs=0.01)  # 2.5 standard errors of 4,000 patients


def test_the_area_of_each_day_is_of_that_day_where_hazards_cross() -> None:
    # one half dies early, the other late; the ranking at the end is wrong for the first day
    days, event = np.array([1.0, 2.0, 8.0, 9.0]), np.ones(4, bool)
    by_day = np.array([[0.9, 0.9], [0.8, 0.8], [0.1, 0.95], [0.1, 0.95]])
    at = np.array([3.0, 8.5])
    assert time_auc(by_day, days, event, at)[0, 0] == 1.0
    assert time_auc(by_day[:, 1], days, event, at)[0, 0] == 0.0
    assert time_auc(by_day[:, 1], days, event, at)[0, 1] == time_auc(by_day, days, event, at)[0, 1]


def test_pairs_are_counted_as_they_are_compared() -> None:
    rng = np.random.default_rng(7)
    days, event, fold = rng.integers(1, 15, 60).astype(float), rng.random(60) < 0.5, rng.integers(0, 3, 60)
    own = [
        (days[i] < days[j]) or (days[i] == days[j] and not event[j])
        for i in range(60)
        for j in range(60)
        if event[i] and i != j and fold[i] == fold[j]
    ]
    assert comparable_pairs(days, event, stratum=fold) == sum(own)
