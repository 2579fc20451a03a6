"""How a model does on simulated patients, beside the oracle and simple rivals.

Everything is scored on patients that nobody was fitted on, with one set of bootstrap draws over patients for all
figures. Rivals are fitted on the same training patients: a ridge Cox regression and a ridge ordinal regression on the
area-weighted mean features of a slide, which know nothing of neighbours, and a Cox regression on the amount of tissue
alone, which knows nothing of its composition and should stay near 0.5. The oracle knows the true hazard.
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
"""Penalty of the rivals on standardised features; fixed, so that nothing is tuned on anybody."""
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A simulated patient as a model sees it.

    Attributes
    ----------
    coarse : CoarseGraph
        The tissue.
    truth : SimulatedPatient
        Where it came from.
    """

    coarse: CoarseGraph
    truth: SimulatedPatient

    @property
    def example(self) -> Example:
        """What training may know."""
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
        Read once; of one slide each, as ``synthesis.second_slide_fraction`` 0 gives them.
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
    found = []
    for patient in patients:
        if len(patient.slides) != 1:
            raise SynthesisError(
                f"patient {patient.patient!r} has {len(patient.slides)} slides, expected one; "
                "simulate with synthesis.second_slide_fraction 0"
            )
        found.append(Case(coarse=coarsen(patient.graph), truth=patient))
    return found


def assess(
    bundle: ModelBundle,
    fitted_on: Sequence[Case],
    fresh: Sequence[Case],
    *,
    rng: np.random.Generator,
    n_draws: int = 1000,
) -> dict[str, Score]:
    """Return the figures of a model, the oracle and the rivals on fresh patients.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    fitted_on : sequence of Case
        Patients that the model was trained on; the rivals are fitted on all of them.
    fresh : sequence of Case
        Other patients.
    rng : numpy.random.Generator
        Source of the bootstrap draws.
    n_draws : int
        Bootstrap draws over the fresh patients.

    Returns
    -------
    dict of str to Score
        ``c_index`` and ``stage_balanced_accuracy`` of the model first, then of oracle and rivals, and how much the
        model's C-index lies below the oracle's; all rounded to four digits.

    Raises
    ------
    SynthesisError
        If a patient is in both parts, or the fresh patients hold no comparable pair.
    """
    shared = {case.truth.patient for case in fitted_on} & {case.truth.patient for case in fresh}
    if shared:
        raise SynthesisError(f"{len(shared)} patients are in both parts, e.g. {min(shared)!r}; expected fresh ones")
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
    draws |= {name: balanced_accuracy(found, after.stage, weights=weights) for name, found in stages.items()}
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
    """Return the first draw, which is the estimate, with the 95 % interval of the others.

    Parameters
    ----------
    draws : float64 (1 + draws,)
        A figure under every row of `wsigraph.cohort.metrics.bootstrap.draw_weights`.

    Returns
    -------
    Score
        Rounded to four digits.

    Raises
    ------
    SynthesisError
        If the figure is not defined: a C-index where no two patients can be compared.
    """
    found = estimate(draws)
    if not np.isfinite([found.value, found.low, found.high]).all():
        raise SynthesisError("no two patients can be compared, expected events and later follow-up; add patients")
    return Score(value=round(found.value, _DIGITS), low=round(found.low, _DIGITS), high=round(found.high, _DIGITS))
