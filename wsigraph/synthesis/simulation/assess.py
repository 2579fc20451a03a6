"""Scores of a model on simulated patients, with those of the oracle and of simple baseline models.

All are scored on patients that no model was fitted on, with one set of bootstrap draws over patients. The baseline
models are fitted on the same training patients: a ridge Cox regression and a ridge ordinal regression on the
area-weighted mean features of a slide, which cannot see neighbours, and a Cox regression on the amount of tissue alone,
which cannot see composition and should stay near 0.5. The oracle knows the true hazard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import draw_weights, estimate
from wsigraph.cohort.metrics.stage import balanced_accuracy
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.errors import SynthesisError
from wsigraph.model.bundle import ModelBundle, Score
from wsigraph.model.inputs import graph_input
from wsigraph.model.nn.losses import NO_STAGE
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.baseline_models import ridge_stage, scaled
from wsigraph.synthesis.simulation.simulate import SimulatedPatient
from wsigraph.training.dataset import Example

_RIDGE = 0.1
"""Penalty of the baseline models on standardised features; fixed in advance, so that nothing is tuned."""
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """The input of a model and its ground truth.

    Attributes
    ----------
    coarse : CoarseGraph
        The tissue.
    truth : SimulatedPatient
        The patient it was simulated for.
    """

    coarse: CoarseGraph
    truth: SimulatedPatient

    @property
    def example(self) -> Example:
        """The part of it that training may use."""
        outcome = self.truth.outcome
        return Example(
            graph=self.coarse,
            patient=self.truth.patient,
            stage=outcome.stage,
            time_days=outcome.time_days,
            event=outcome.event,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Truth:
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    stage: NDArray[np.int64]
    oracle_risk: NDArray[np.float64]
    pooled: NDArray[np.float64]
    amount: NDArray[np.float64]


def cases(patients: Iterable[SimulatedPatient], coarsen: Callable[[TissueGraph], CoarseGraph]) -> list[Case]:
    """Return simulated patients with their graphs coarsened.

    Parameters
    ----------
    patients : iterable of SimulatedPatient
        Iterated once; one slide each, as with ``synthesis.second_slide_fraction`` 0.
    coarsen : callable
        From a tissue graph to a coarse graph.

    Returns
    -------
    list of Case
        In the order of the patients.

    Raises
    ------
    SynthesisError
        If a patient has two slides.
    """
    coarse_cases = []
    for patient in patients:
        if len(patient.slides) != 1:
            raise SynthesisError(
                f"patient {patient.patient!r} has {len(patient.slides)} slides, expected one; "
                "simulate with synthesis.second_slide_fraction 0"
            )
        coarse_cases.append(Case(coarse=coarsen(patient.graph), truth=patient))
    return coarse_cases


def assess(
    bundle: ModelBundle,
    fitted_on: Sequence[Case],
    fresh: Sequence[Case],
    *,
    rng: np.random.Generator,
    n_draws: int = 1000,
) -> dict[str, Score]:
    """Return the scores of a model, the oracle and the baseline models on fresh patients.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    fitted_on : sequence of Case
        Patients that the model was trained on; the baseline models are fitted on all of them.
    fresh : sequence of Case
        Other patients.
    rng : numpy.random.Generator
        Random numbers of the bootstrap.
    n_draws : int
        Bootstrap draws over the fresh patients.

    Returns
    -------
    dict of str to Score
        ``c_index`` and ``stage_balanced_accuracy`` of the model first, then of oracle and baseline models, and the
        oracle's C-index minus the model's; all rounded to four digits.

    Raises
    ------
    SynthesisError
        If a patient is in both parts, or no two fresh patients can be compared.
    """
    overlap = {case.truth.patient for case in fitted_on} & {case.truth.patient for case in fresh}
    if overlap:
        raise SynthesisError(f"{len(overlap)} patients are in both parts, e.g. {min(overlap)!r}; expected fresh ones")
    before, after = _truth(fitted_on), _truth(fresh)
    predictions = [predict(case.coarse, bundle) for case in fresh]
    risks = {
        "c_index": np.array([prediction.risk for prediction in predictions]),
        "c_index_oracle": after.oracle_risk,
        "c_index_ridge_cox": _cox_risk(before.pooled, before, after.pooled),
        "c_index_amount_of_tissue": _cox_risk(before.amount, before, after.amount),
    }
    stages = {
        "stage_balanced_accuracy": np.array([prediction.stage_probability.argmax() for prediction in predictions]),
        "stage_balanced_accuracy_ridge": ridge_stage(before.pooled, before.stage, after.pooled),
    }
    weights = draw_weights(np.zeros(len(fresh), np.int64), n_draws=n_draws, rng=rng)
    draws = {name: c_index(risk, after.time_days, after.event, weights=weights) for name, risk in risks.items()}
    draws["c_index_below_oracle"] = draws["c_index_oracle"] - draws["c_index"]
    draws |= {name: balanced_accuracy(stage, after.stage, weights=weights) for name, stage in stages.items()}
    return {name: score(values) for name, values in draws.items()}


def _truth(part: Sequence[Case]) -> _Truth:
    outcomes = [case.truth.outcome for case in part]
    pooled, amount = [], []
    for case in part:
        raw = graph_input(case.coarse)
        pooled.append(raw.area_um2 @ raw.features / raw.area_um2.sum())
        amount.append([np.log(raw.area_um2.sum())])
    return _Truth(
        time_days=np.array([outcome.time_days for outcome in outcomes]),
        event=np.array([outcome.event for outcome in outcomes]),
        stage=np.array([NO_STAGE if outcome.stage is None else outcome.stage for outcome in outcomes]),
        oracle_risk=np.array([outcome.oracle_risk for outcome in outcomes]),
        pooled=np.array(pooled),
        amount=np.array(amount),
    )


def _cox_risk(before: NDArray[np.float64], truth: _Truth, after: NDArray[np.float64]) -> NDArray[np.float64]:
    known, fresh = scaled(before, after)
    table = pd.DataFrame(known).rename(columns=str).assign(time=truth.time_days, event=truth.event)
    fitter = CoxPHFitter(penalizer=_RIDGE).fit(table, "time", "event")
    return np.asarray(fresh @ fitter.params_.to_numpy())


def score(draws: NDArray[np.float64]) -> Score:
    """Return the first draw, which is the estimate, with the 95 % confidence interval from the others.

    Parameters
    ----------
    draws : float64 (1 + draws,)
        A statistic under every row of `wsigraph.cohort.metrics.bootstrap.draw_weights`.

    Returns
    -------
    Score
        Rounded to four digits.

    Raises
    ------
    SynthesisError
        If the statistic is not defined, as a C-index where no two patients can be compared.
    """
    interval = estimate(draws)
    if not np.isfinite([interval.value, interval.low, interval.high]).all():
        raise SynthesisError("no two patients can be compared, expected events and later follow-up; add patients")
    value, low, high = (round(number, _DIGITS) for number in (interval.value, interval.low, interval.high))
    return Score(value=value, low=low, high=high)
