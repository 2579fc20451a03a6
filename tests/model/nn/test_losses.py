from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from wsigraph.errors import ModelError
from wsigraph.model.nn.heads import HazardHead, OrdinalHead, log_survival, risk, stage_probability
from wsigraph.model.nn.losses import marginal_hazard, ordinal_loss, survival_intervals, survival_loss, survival_target

ENDS = np.array([100.0, 200.0, 400.0])


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_all_hazards_zero_give_survival_one() -> None:
    survival = log_survival(torch.full((2, 5), -1e4)).exp()
    assert (survival == 1).all()


def test_constant_hazard_gives_geometric_survival() -> None:
    logits = torch.full((1, 4), logit(0.2), dtype=torch.float64)
    assert torch.allclose(log_survival(logits).exp(), torch.tensor([[0.8, 0.64, 0.512, 0.4096]], dtype=torch.float64))
    assert float(risk(logits)) == pytest.approx(math.log(-4 * math.log(0.8)))


def test_risk_is_finite_and_rises_with_every_hazard() -> None:
    logits = torch.tensor([[-1e4, -1e4], [-3.0, -3.0], [-3.0, 0.0], [50.0, 50.0]])
    values = risk(logits)
    assert torch.isfinite(values).all()
    assert (values.diff() > 0).all()


@pytest.mark.parametrize(
    ("time", "event", "survived", "died"),
    [
        (50.0, True, [0, 0, 0], [1, 0, 0]),
        (100.0, True, [0, 0, 0], [1, 0, 0]),
        (100.1, True, [1, 0, 0], [0, 1, 0]),
        (400.0, True, [1, 1, 0], [0, 0, 1]),
        (900.0, True, [1, 1, 1], [0, 0, 0]),
        (149.0, False, [1, 0, 0], [0, 0, 0]),
        (150.0, False, [1, 1, 0], [0, 0, 0]),
        (10.0, False, [0, 0, 0], [0, 0, 0]),
        (math.nan, False, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_what_follow_up_says_of_each_interval(time: float, event: bool, survived: list[int], died: list[int]) -> None:
    target = survival_target(np.array([time]), np.array([event]), ENDS)
    assert target.survived[0].tolist() == survived
    assert target.died[0].tolist() == died


def test_survival_loss_closed_form() -> None:
    logits = torch.tensor([[logit(0.1), logit(0.2), logit(0.3)]] * 3)
    target = survival_target(np.array([150.0, 400.0, math.nan]), np.array([True, False, False]), ENDS)
    loss = survival_loss(logits, torch.from_numpy(target.survived), torch.from_numpy(target.died))
    died_second = -math.log(0.9 * 0.2)
    survived_all = -math.log(0.9 * 0.8 * 0.7)
    assert float(loss) == pytest.approx((died_second + survived_all) / 2, rel=1e-6)


@pytest.mark.parametrize("time", [1e4, math.nan, 1.0])
def test_a_batch_without_an_event_trains_without_nan(time: float) -> None:
    logits = torch.zeros(3, 3, requires_grad=True)
    target = survival_target(np.full(3, time), np.zeros(3, bool), ENDS)
    loss = survival_loss(logits, torch.from_numpy(target.survived), torch.from_numpy(target.died))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert bool((logits.grad != 0).any()) == (time == 1e4)


def test_intervals_hold_equally_many_events() -> None:
    time = np.arange(1.0, 101.0)
    event = np.ones(100, bool)
    ends = survival_intervals(time, event, 4)
    assert np.histogram(time, np.concatenate([[0.0], np.nextafter(ends, np.inf)]))[0].tolist() == [25, 25, 25, 25]
    assert survival_intervals(time, time <= 20, 2)[-1] == 20


def test_repeated_event_times_give_fewer_intervals() -> None:
    assert survival_intervals(np.full(9, 30.0), np.ones(9, bool), 5).tolist() == [30.0]


def test_no_event_and_event_at_day_zero_are_refused() -> None:
    with pytest.raises(ModelError, match="none of 2 training patients"):
        survival_intervals(np.array([3.0, 4.0]), np.zeros(2, bool), 3)
    with pytest.raises(ModelError, match="day 0"):
        survival_intervals(np.array([0.0, 4.0]), np.ones(2, bool), 3)


def test_marginal_hazard_is_events_over_patients_at_risk() -> None:
    target = survival_target(np.array([50.0, 150.0, 150.0, 900.0]), np.array([True, True, True, False]), ENDS)
    assert marginal_hazard(target) == pytest.approx(np.array([1.5 / 5, 2.5 / 4, 0.5 / 2]))


def ordered_logits(n: int, n_stages: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randn(n, n_stages - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.sort(dim=1, descending=True).values


def test_ordinal_loss_is_the_log_of_the_stage_probability() -> None:
    logits = ordered_logits(20, 5)
    stage = torch.arange(20) % 5
    expected = -stage_probability(logits).gather(1, stage[:, None]).log().mean()
    assert float(ordinal_loss(logits, stage)) == pytest.approx(float(expected), rel=1e-9)


def test_two_stages_are_logistic_regression() -> None:
    logits = ordered_logits(9, 2)
    stage = torch.arange(9) % 2
    expected = binary_cross_entropy_with_logits(logits[:, 0], stage.double())
    assert float(ordinal_loss(logits, stage)) == pytest.approx(float(expected), rel=1e-9)


def test_unknown_stages_do_not_count() -> None:
    logits = ordered_logits(6, 4)
    stage = torch.tensor([0, -1, 3, -1, 2, 1])
    known = stage >= 0
    assert float(ordinal_loss(logits, stage)) == pytest.approx(float(ordinal_loss(logits[known], stage[known])))


def test_no_known_stage_gives_zero_loss_and_gradient() -> None:
    logits = ordered_logits(3, 4).requires_grad_()
    loss = ordinal_loss(logits, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("size", [1e2, 1e3])
def test_extreme_logits_keep_loss_and_gradient_finite(size: float) -> None:
    logits = torch.tensor([[size, size - 1], [-size, -size - 1]], requires_grad=True)
    for stage in range(3):
        loss = ordinal_loss(logits, torch.full((2,), stage))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("n_stages", [2, 3, 7])
def test_ordinal_head_never_inverts_its_thresholds(n_stages: int) -> None:
    head = OrdinalHead(4, n_stages)
    with torch.no_grad():
        head.gap.fill_(-50.0)
    logits = head(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)))
    probability = stage_probability(logits)
    assert probability.shape == (5, n_stages)
    assert (logits.diff(dim=1) < 0).all()
    assert (probability >= 0).all()
    assert torch.allclose(probability.sum(dim=1), torch.ones(5))


def test_hazard_head_starts_at_the_given_hazards() -> None:
    head = HazardHead(3, 2)
    head.initialise_baseline(torch.tensor([0.1, 0.4]))
    assert torch.allclose(torch.sigmoid(head(torch.zeros(1, 3))), torch.tensor([[0.1, 0.4]]))
