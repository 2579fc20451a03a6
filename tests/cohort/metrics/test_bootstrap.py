from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.bootstrap import Estimate, draw_weights, estimate, permutation_p


def test_the_first_row_is_the_data_and_folds_keep_their_size() -> None:
    stratum = np.array([0] * 5 + [1] * 7)
    weights = draw_weights(stratum, n_draws=50, rng=np.random.default_rng(0))
    assert (weights[0] == 1).all()
    assert (weights[:, :5].sum(axis=1) == 5).all()
    assert (weights[:, 5:].sum(axis=1) == 7).all()


def test_sites_are_drawn_whole() -> None:
    cluster = np.array([3, 3, 8, 8, 8, 5])
    weights = draw_weights(np.zeros(6, int), cluster=cluster, n_draws=40, rng=np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 2] == weights[:, 4]).all()
    assert (weights[1:, [0, 2, 5]].sum(axis=1) == 3).all()


def test_an_interval_covers_the_mean_of_normal_patients() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    weights = draw_weights(np.zeros(400, int), rng=rng)
    found = estimate(weights @ x / 400)
    assert found.value == pytest.approx(x.mean())
    # 1.96 standard errors; the ends of 2,000 draws scatter by some 4 % of them
    assert found.high - found.low == pytest.approx(2 * 1.96 * x.std() / 20, rel=0.1)


def test_above_and_no_loss() -> None:
    assert Estimate(0.1, 0.01, 0.2).is_above
    assert not Estimate(0.1, -0.01, 0.2).is_above
    assert Estimate(0.0, -0.01, 0.02).is_no_loss(0.02)
    assert not Estimate(0.0, -0.03, 0.02).is_no_loss(0.02)


def test_a_figure_that_is_often_undefined_has_no_interval() -> None:
    values = np.array([0.5, *[np.nan] * 3, *[0.5] * 7])
    assert np.isnan(estimate(values).low)
    assert not estimate(np.array([np.nan, 0.1])).is_above


def test_permutation_p_of_a_strong_and_of_no_relation() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=60)
    stratum = np.repeat([0, 1], 30)
    strong = permutation_p(lambda order: float(x[order] @ x), stratum, n_permutations=199, rng=rng)
    assert strong == 1 / 200
    y = rng.normal(size=60)
    assert permutation_p(lambda order: float(x[order] @ y), stratum, n_permutations=199, rng=rng) > 0.01
    # a shift between strata is no relation within them
    shifted = permutation_p(
        lambda order: float((x + 9 * stratum)[order] @ stratum), stratum, n_permutations=199, rng=rng
    )
    assert shifted > 0.01
