from __future__ import annotations

import time

import numpy as np
import pytest
from lifelines.utils import concordance_index

from wsigraph.cohort.metrics.bootstrap import draw_weights
from wsigraph.cohort.metrics.concordance import area_under_curve
from wsigraph.cohort.metrics.survival import c_index, not_censored, time_auc, uno_c


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return risk, time and event with many ties."""
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=n), 1), np.ceil(20 * rng.random(n)), rng.random(n) < 0.6


def by_pairs(risk, time_days, event, query_weight, tree_weight, stratum) -> float:  # type: ignore[no-untyped-def]
    """Return the weighted share of ordered pairs, one pair at a time."""
    top = bottom = 0.0
    for i in np.flatnonzero(event):
        for j in range(len(risk)):
            later = time_days[j] > time_days[i] or (time_days[j] == time_days[i] and not event[j])
            if later and stratum[i] == stratum[j]:
                pair = query_weight[i] * tree_weight[j]
                bottom += pair
                top += pair * ((risk[i] > risk[j]) + 0.5 * (risk[i] == risk[j]))
    return top / bottom


@pytest.mark.parametrize("seed", range(5))
def test_c_index_equals_lifelines_with_ties(seed: int) -> None:
    risk, days, event = drawn(60, seed)
    assert c_index(risk, days, event)[0] == pytest.approx(concordance_index(days, -risk, event), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_strata_and_weights_equal_counting_pair_by_pair(seed: int) -> None:
    risk, days, event = drawn(50, seed)
    rng = np.random.default_rng(seed)
    stratum, weight = rng.integers(0, 3, 50), rng.integers(0, 4, (2, 50)).astype(float)
    found = c_index(risk, days, event, stratum=stratum, weights=weight)
    for draw in range(2):
        expected = by_pairs(risk, days, event, weight[draw], weight[draw], stratum)
        assert found[draw] == pytest.approx(expected, abs=1e-12)


def test_a_weight_of_two_is_a_patient_twice() -> None:
    risk, days, event = drawn(30, 7)
    weights = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30))
    again = np.repeat(np.arange(30), weights)
    ours = c_index(risk, days, event, weights=weights[None].astype(float))[0]
    assert ours == pytest.approx(concordance_index(days[again], -risk[again], event[again]), abs=1e-12)
    same = uno_c(risk[again], days[again], event[again])[0]
    assert uno_c(risk, days, event, weights=weights[None].astype(float))[0] == pytest.approx(same, abs=1e-12)


def test_order_its_reverse_and_no_opinion() -> None:
    days, event = np.arange(1.0, 9.0), np.ones(8, bool)
    assert [c_index(risk, days, event)[0] for risk in (-days, days, np.zeros(8))] == [1.0, 0.0, 0.5]


def test_nobody_to_compare_is_not_a_number() -> None:
    assert np.isnan(c_index(np.zeros(3), np.ones(3), np.zeros(3, bool))[0])


def test_strata_hide_a_shift_between_models() -> None:
    days, event = np.array([1.0, 2, 3, 4, 5, 6]), np.ones(6, bool)
    # the second fold's model states all risks 100 higher
    stratum = np.array([0, 0, 0, 1, 1, 1])
    risk = -days + 100 * stratum
    assert c_index(risk, days, event, stratum=stratum)[0] == 1.0
    assert c_index(risk, days, event)[0] < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_uno_equals_pairs_over_squared_censoring(seed: int) -> None:
    risk, days, event = drawn(40, seed)
    ones = np.ones((1, 40))
    factor = not_censored(days, event, days, ones)[0] ** -2
    expected = by_pairs(risk, days, event, np.where(days < 15, factor, 0.0), ones[0], np.zeros(40))
    assert uno_c(risk, days, event, until_days=15)[0] == pytest.approx(expected, abs=1e-12)


def test_without_censoring_uno_is_harrell() -> None:
    risk, days, _ = drawn(40, 1)
    event = np.ones(40, bool)
    assert uno_c(risk, days, event)[0] == pytest.approx(c_index(risk, days, event)[0], abs=1e-12)


def test_the_censoring_curve_by_hand() -> None:
    days = np.array([1.0, 2, 2, 3, 4])
    event = np.array([True, True, False, False, True])
    # on day 2 an event and a censoring: the event first, so one of three is lost; on day 3 one of two
    found = not_censored(days, event, np.array([1.0, 2, 2.5, 3, 4]), np.ones((1, 5)))[0]
    assert found == pytest.approx([1, 1, 2 / 3, 2 / 3, 1 / 3])


def test_time_auc_without_censoring_is_an_area() -> None:
    rng = np.random.default_rng(3)
    risk, days = rng.normal(size=50), rng.random(50) * 10
    dead = days <= 4
    expected = np.mean(risk[dead][:, None] > risk[~dead][None, :])
    assert time_auc(risk, days, np.ones(50, bool), np.array([4.0]))[0, 0] == pytest.approx(expected)


def test_area_of_positives_and_negatives() -> None:
    score = np.array([0.1, 0.4, 0.35, 0.8])
    truth = np.array([0.0, 0, 1, 1])
    assert area_under_curve(score, truth[None], 1 - truth[None])[0] == 0.75


def test_two_thousand_draws_of_two_thousand_patients_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    risk, days, event = rng.normal(size=n), rng.random(n), rng.random(n) < 0.6
    weights = draw_weights(rng.integers(0, 5, n), rng=rng)
    c_index(risk, days, event, weights=weights[:1])  # compiled before the clock starts
    started = time.process_time()
    values = c_index(risk, days, event, weights=weights)
    assert time.process_time() - started < 10
    # the spread of a null C-index at this size
    assert values.std() == pytest.approx(0.008, abs=0.002)
