from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from lifelines import CoxPHFitter
from lifelines.fitters.coxph_fitter import SemiParametricPHFitter

from wsigraph.config import ModelConfig
from wsigraph.model.nn.heads import CoxHead, log_survival
from wsigraph.model.nn.losses import breslow_increments, cox_loss
from wsigraph.training.batches import stratified_batches
from wsigraph.training.cox_ridge import cox_ridge
from wsigraph.training.dataset import Example, collect
from wsigraph.training.fit import fit


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, np.ceil(8 * rng.exponential(np.exp(-0.7 * x))), rng.random(n) < 0.7


def loss(log_hazard: np.ndarray, days: np.ndarray, event: np.ndarray) -> float:
    return float(cox_loss(torch.from_numpy(log_hazard), torch.from_numpy(days), torch.from_numpy(event)))


@pytest.mark.parametrize("seed", range(3))
def test_efron_equals_lifelines_with_ties(seed: int) -> None:
    x, days, event = drawn(60, seed)
    table = pd.DataFrame({"x": x, "t": days, "e": event})
    fitter = CoxPHFitter(penalizer=0.0).fit(table, "t", "e")
    assert isinstance(fitter._model, SemiParametricPHFitter)
    beta = float(fitter.params_["x"])
    assert loss(beta * x, days, event) * event.sum() == pytest.approx(-fitter.log_likelihood_, rel=1e-6)
    # the maximum of the likelihood is where lifelines found it
    around = [loss((beta + step) * x, days, event) for step in (-0.01, 0.0, 0.01)]
    assert around[1] < min(around[0], around[2])


def test_a_constant_changes_nothing_and_big_risks_stay_finite() -> None:
    x, days, event = drawn(40, 3)
    assert loss(x + 300, days, event) == pytest.approx(loss(x, days, event))
    assert np.isfinite(loss(500 * x, days, event))


def test_without_an_event_loss_and_gradient_are_zero() -> None:
    risk = torch.ones(3, requires_grad=True)
    value = cox_loss(risk, torch.tensor([1.0, 2.0, np.nan]), torch.zeros(3, dtype=torch.bool))
    value.backward()
    assert float(value.detach()) == 0.0
    assert (risk.grad == 0).all()


def test_unknown_follow_up_is_in_no_risk_set() -> None:
    x, days, event = drawn(30, 4)
    more = np.concatenate([x, [9.0]]), np.concatenate([days, [np.nan]]), np.concatenate([event, [False]])
    assert loss(*more) == pytest.approx(loss(x, days, event))


def test_breslow_of_equal_patients_is_nelson_aalen() -> None:
    days, event = np.array([1.0, 2, 3, 4]), np.array([True, False, True, True])
    found = breslow_increments(np.zeros(4), days, event, np.array([1.0, 3.5, 4.0]))
    assert found == pytest.approx([1 / 4, 1 / 2, 1.0])


def test_the_heads_hazards_are_proportional() -> None:
    head = CoxHead(1, 3)
    with torch.no_grad():
        head.log_increment.copy_(torch.tensor([0.1, 0.2, 0.3]).log())
        head.score.weight.fill_(1.0)
        survival = log_survival(head(torch.tensor([[0.0], [1.0], [80.0], [-80.0]])).double())
    assert survival[0].tolist() == pytest.approx([-0.1, -0.3, -0.6], rel=1e-5)
    assert survival[1].tolist() == pytest.approx((np.e * survival[0]).tolist(), rel=1e-5)
    assert torch.isfinite(survival).all()


@pytest.mark.parametrize(("n", "n_events"), [(100, 30), (100, 3), (100, 0), (7, 7), (1, 0)])
def test_every_batch_holds_an_event(n: int, n_events: int) -> None:
    event = np.arange(n) < n_events
    batches = stratified_batches(event, 16, rng=np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    if n_events:
        assert all(event[rows].any() for rows in batches)


@pytest.mark.parametrize("changes", [{"survival_head": "cox"}, {"task": "stage"}, {"task": "survival"}])
def test_heads_and_tasks_train(examples: list[Example], tiny_config: ModelConfig, changes: dict[str, str]) -> None:
    config = tiny_config.model_copy(update=changes | {"epochs": 6})
    cohort = collect(examples, config.stage_names)
    fitted = fit(cohort, np.arange(cohort.n_rows), config, seed=1)
    assert fitted.history[-1, 0] < fitted.history[0, 0]
    stage, hazard = fitted.member.read(cohort.inputs[:3])
    assert stage.shape == (3, 0 if config.task == "survival" else 3)
    assert hazard.shape == (3, len(fitted.member.ends_days))
    assert (len(fitted.member.ends_days) == 0) == (config.task == "stage")
    assert np.isfinite(hazard).all()


def test_stage_is_learned_without_any_follow_up(examples: list[Example], tiny_config: ModelConfig) -> None:
    from dataclasses import replace

    config = tiny_config.model_copy(update={"task": "stage", "epochs": 2})
    cohort = collect([replace(each, time_days=None, event=False) for each in examples], config.stage_names)
    assert np.isfinite(fit(cohort, np.arange(cohort.n_rows), config, seed=1).history).all()


def test_summed_gradients_are_those_of_one_large_batch(examples: list[Example], tiny_config: ModelConfig) -> None:
    config = tiny_config.model_copy(
        update={"epochs": 1, "dropout": 0.0, "region_dropout": 0.0, "task": "survival", "validation_fraction": 0.3}
    )
    cohort = collect(examples, config.stage_names)
    large = config.model_copy(update={"batch_graphs": 100})
    for n in (cohort.n_rows, cohort.n_rows - 1):
        rows = np.arange(n)
        once = fit(cohort, rows, large, seed=1)
        n_inner = n - len(once.validation)
        if n_inner % 2 == 0:
            break
    assert n_inner % 2 == 0
    halves = fit(cohort, rows, config.model_copy(update={"batch_graphs": n_inner // 2, "accumulate": 2}), seed=1)
    for name, value in once.member.arrays.items():
        # two sums of float32 in another order, through one step of AdamW
        assert halves.member.arrays[name] == pytest.approx(value, abs=2e-4)


@pytest.mark.parametrize(("seed", "penalty"), [(32, 1e-8), (83, 1e-7), (143, 1e-6)])
def test_a_weak_penalty_on_many_columns_gives_finite_coefficients(seed: int, penalty: float) -> None:
    # the first Newton steps are so long that sets at risk lose all weight: the coefficients were NaN
    rng = np.random.default_rng(seed)
    n, n_columns = 60, int(rng.integers(5, 40))
    x = rng.standard_normal((n, n_columns)) * np.exp(rng.standard_normal(n_columns))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    days = rng.exponential(size=n) * np.exp(-2 * x[:, 0])
    beta = cox_ridge(x, days, rng.random(n) < 0.5, penalty)
    assert np.isfinite(beta).all()
    assert beta.any()
