from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from pipelines.score_intervals import score_intervals
from wsigraph.cohort.metrics.site_difference import effective_sites, mean_over_sites


def test_sites_of_equal_size_give_students_interval() -> None:
    values = np.random.default_rng(0).normal(size=9)
    mean = mean_over_sites(values, np.full(9, 20.0))
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (mean.value, mean.low, mean.high) == pytest.approx((values.mean(), expected.low, expected.high))
    assert mean.effective_sites == pytest.approx(9.0)
    assert not mean.has_few_sites


def test_the_mean_is_weighted_by_patients_and_one_large_site_counts_like_few() -> None:
    mean = mean_over_sites(np.array([0.1, -0.1, np.nan]), np.array([90.0, 10.0, 500.0]))
    assert mean.value == pytest.approx(0.08)
    assert mean.n_sites == 2
    assert mean.effective_sites == pytest.approx(100**2 / (90**2 + 10**2))
    assert mean.has_few_sites
    assert effective_sites(np.array([1.0, 1.0, 1.0])) == pytest.approx(3.0)


@pytest.mark.parametrize("values", [[], [0.2], [np.nan, 0.2]])
def test_fewer_than_two_sites_give_no_interval(values: list[float]) -> None:
    mean = mean_over_sites(np.array(values), np.full(len(values), 7.0))
    assert np.isnan(mean.low)
    assert np.isnan(mean.high)


def test_the_interval_covers_where_percentiles_over_sites_do_not() -> None:
    shown = score_intervals(10, 1.0, 1000, between=0.03, within=0.5, rng=np.random.default_rng(4))
    # 1,000 studies have a standard error of 0.007 at 0.95
    assert shown["coverage"]["student"] >= 0.935
    assert shown["coverage"]["percentile"] < 0.93
