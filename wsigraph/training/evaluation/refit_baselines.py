"""A model and baseline models trained on one cohort and scored on another, next to an oracle where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds
from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights
from wsigraph.cohort.metrics.calibration import d_calibration
from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.cohort.metrics.survival import log_cumulative_hazard, survival_between
from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.card import About
from wsigraph.model.conformal import stage_probabilities, stage_sets
from wsigraph.model.member import coarsened_inputs
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.evaluation.baselines import BaselineTask, CohortPredictions
from wsigraph.training.evaluation.evaluation_document import baseline_models
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, differences, estimates, score_draws
from wsigraph.training.superpixel_graphs import SuperpixelGraphs

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

RECIPE = About(
    name="recipe", description="-", notice="made by a recipe; not kept", licence="-", data="-", simulated=False
)
"""Card text of a model that a recipe trains, scores and discards."""

_CALIBRATION_DRAWS = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EnsemblePredictions:
    """Predictions of an ensemble for patients that none of its members was trained on.

    Attributes
    ----------
    average : CohortPredictions
        Risk and stage probabilities, averaged over members.
    member_probability : float64 (members, n, K)
        Stage probabilities of every member.
    survival : float64 (n, T)
        Mean survival at `time_days`.
    time_days : float64 (T,)
        Days.
    """

    average: CohortPredictions
    member_probability: NDArray[np.float64]
    survival: NDArray[np.float64]
    time_days: NDArray[np.float64]


def predict_new_patients(bundle: ModelBundle, cohort: Cohort) -> EnsemblePredictions:
    """Return the predictions of all members of an ensemble for other patients.

    Parameters
    ----------
    bundle : ModelBundle
        The ensemble; one with an embedding of its own coarsens the cohort again.
    cohort : Cohort
        n rows.

    Returns
    -------
    EnsemblePredictions
        In the order of the rows.

    Raises
    ------
    ModelError
        If the graphs do not fit the model.
    """
    time_days = np.array(bundle.card.time_days)
    stages, curves = [], []
    inputs = coarsened_inputs(cohort, bundle.embedding)
    for member in bundle.members:
        stage_logits, hazard_logits = member.read(inputs)
        if stage_logits.shape[1]:
            stages.append(stage_probabilities(stage_logits, member.temperature))
        if len(time_days):
            survival = np.exp(-np.logaddexp(0.0, hazard_logits).cumsum(axis=1))
            curves.append(survival_between(member.ends_days, survival, time_days))
    n = cohort.n_rows
    probability = np.stack(stages) if stages else np.zeros((len(bundle.members), n, 0))
    survival = np.mean(curves, axis=0) if curves else np.zeros((n, 0))
    risk = log_cumulative_hazard(survival[:, -1]) if curves else np.full(n, np.nan)
    return EnsemblePredictions(
        average=CohortPredictions(risk=risk, stage_probability=probability.mean(axis=0)),
        member_probability=probability,
        survival=survival,
        time_days=time_days,
    )


def train_on(
    cohort: Cohort,
    config: ModelConfig,
    *,
    seed: int,
    n_folds: int = 5,
    about: About = RECIPE,
    workers: int = 1,
    progress: Progress | None = None,
) -> Ensemble:
    """Return an ensemble of folds by patient, trained with one configuration.

    Parameters
    ----------
    cohort : Cohort
        One row a patient.
    config : ModelConfig
        Settings.
    seed : int
        Of folds and training.
    n_folds : int
        Folds.
    about : About
        The author's part of the card.
    workers : int
        Processes.
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    Ensemble
        With its out-of-fold predictions.

    Raises
    ------
    CohortError
        If there are fewer patients than folds.
    ModelError
        If a fold cannot be fitted.
    """
    fold = folds(
        cohort.patient.tolist(),
        n_folds=n_folds,
        stage=[None if stage < 0 else int(stage) for stage in cohort.stage],
        event=cohort.event.tolist(),
        seed=seed,
    )
    return train_folds(cohort, fold, [config], seed=seed, about=about, workers=workers, progress=progress)


def concatenate_cohorts(first: Cohort, second: Cohort) -> Cohort:
    """Return two cohorts as one, the rows of the first before those of the second.

    Parameters
    ----------
    first, second : Cohort
        Of the same schema, without a patient in common.

    Returns
    -------
    Cohort
        All rows.

    Raises
    ------
    CohortError
        If they share a patient or differ in features.
    """
    shared = set(first.patient.tolist()) & set(second.patient.tolist())
    if shared or first.feature_names != second.feature_names:
        raise CohortError(
            f"{len(shared)} patients are in both cohorts and features agree: "
            f"{first.feature_names == second.feature_names}; expected other patients with the same features"
        )
    both: dict[str, Any] = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS}
    return replace(
        first,
        inputs=[*first.inputs, *second.inputs],
        slides=(*first.slides, *second.slides),
        covariates=(*first.covariates, *second.covariates),
        superpixel_graphs=_concatenate_superpixels(first, second),
        **both,
    )


def _concatenate_superpixels(first: Cohort, second: Cohort) -> SuperpixelGraphs | None:
    if first.superpixel_graphs is None or second.superpixel_graphs is None:
        return None
    return replace(first.superpixel_graphs, rows=(*first.superpixel_graphs.rows, *second.superpixel_graphs.rows))


_ARRAYS = ("patient", "site", "stain", "stage", "time_days", "event")


@one_thread()
def score_new_patients(
    ensemble: Ensemble,
    train: Cohort,
    new: Cohort,
    *,
    seed: int,
    names: Sequence[str],
    predictions: EnsemblePredictions | None = None,
    oracle: CohortPredictions | None = None,
    n_draws: int = N_DRAWS,
    workers: int = 1,
) -> dict[str, Any]:
    """Return the scores of a model and baseline models on new patients, all under the same draws.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on `train`.
    train, new : Cohort
        Without a patient in common.
    seed : int
        Of bootstrap draws and baselines.
    names : sequence of str
        Baselines, by their names in `wsigraph.training.evaluation.evaluation_document.baseline_models`.
    predictions : EnsemblePredictions, optional
        Predictions of the model for the new patients; computed where left out.
    oracle : CohortPredictions, optional
        The true log hazard ratio and stage probabilities of the new patients; no column where unknown.
    n_draws : int
        Bootstrap draws over new patients.
    workers : int
        Processes for baselines that are networks.

    Returns
    -------
    dict
        ``model``, ``oracle`` and every baseline with its scores, and by how much the model scores above it.

    Raises
    ------
    CohortError
        If the cohorts share a patient.
    """
    predictions = predictions or predict_new_patients(ensemble.bundle, new)
    one_fold = np.zeros(new.n_rows, np.int64)
    outcomes = HeldOutOutcomes(
        fold=one_fold,
        stage=new.stage,
        time_days=new.time_days,
        event=new.event,
        weights=draw_weights(one_fold, n_draws=n_draws, rng=np.random.default_rng(seed)),
    )
    own = score_draws(outcomes, predictions.average)
    table: dict[str, Any] = {"n_train": train.n_rows, "n_fresh": new.n_rows, "model": estimates(own)}
    if oracle is not None:
        best = score_draws(outcomes, oracle)
        table["oracle"] = {**estimates(best), "model_above": differences(own, best)}
    both = concatenate_cohorts(train, new)
    fold = np.concatenate([np.full(train.n_rows, -1), one_fold])
    task = BaselineTask(cohort=both, fold=fold, config=ensemble.bundle.card.config, seed=seed)
    models = baseline_models(task, ensemble.bundle.members, workers=workers)
    for name in names:
        result = models[name]()
        if isinstance(result, str):
            table[name] = {"left_out": result}
            continue
        on_new = CohortPredictions(
            risk=result.risk[train.n_rows :], stage_probability=result.stage_probability[train.n_rows :]
        )
        draws = score_draws(outcomes, on_new)
        table[name] = {**estimates(draws), "model_above": differences(own, draws)}
    return table


def calibration_of_survival(
    predictions: EnsemblePredictions, cohort: Cohort, *, factor: float = 1.0
) -> dict[str, float]:
    """Return the D-calibration of survival on new patients, with all hazards multiplied by a factor.

    Parameters
    ----------
    predictions : EnsemblePredictions
        Survival of the rows of `cohort`.
    cohort : Cohort
        Their outcomes.
    factor : float
        1 does not change survival.

    Returns
    -------
    dict
        ``largest_deviation`` of a decile's fraction from a tenth, with the ends ``low`` and ``high`` of its 95 %
        bootstrap interval (biased upwards, as is the maximum of noisy fractions), and ``p``.
    """
    own = np.diagonal(survival_between(predictions.time_days, predictions.survival, cohort.time_days)) ** factor
    # there is no prediction beyond the last interval: such patients count as censored at its end
    observed = cohort.event & (cohort.time_days <= predictions.time_days[-1])
    result = d_calibration(own, observed)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(own), len(own)) for _ in range(_CALIBRATION_DRAWS))
    low, high = np.quantile([d_calibration(own[rows], observed[rows]).deviation for rows in drawn], [0.025, 0.975])
    return {
        "largest_deviation": round(result.deviation, 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "p": float(f"{result.p:.3g}"),
    }


def coverage(ensemble: Ensemble, predictions: EnsemblePredictions, cohort: Cohort) -> dict[str, Any]:
    """Return the coverage of the conformal stage sets of new patients.

    Parameters
    ----------
    ensemble : Ensemble
        With its calibration.
    predictions : EnsemblePredictions
        Stage probabilities of the rows of `cohort`.
    cohort : Cohort
        Their stages and sites.

    Returns
    -------
    dict
        ``covered`` with the ends ``low`` and ``high`` of its 95 % interval (Wilson's),
        ``mean_size``, ``n``, ``n_calibration``, and the same by stage and by site.
    """
    calibration = ensemble.bundle.calibration
    miscoverage = ensemble.bundle.card.config.miscoverage
    inside = stage_sets(
        predictions.member_probability, calibration.score, calibration.member, miscoverage, stage=calibration.stage
    )
    known = cohort.stage >= 0
    held = inside[np.arange(len(inside)), np.maximum(cohort.stage, 0)]

    def part(rows: NDArray[np.bool_]) -> dict[str, Any]:
        low, high = wilson_confidence_interval(int(held[rows].sum()), int(rows.sum()))
        return {
            "covered": round(float(held[rows].mean()), 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "mean_size": round(float(inside[rows].sum(axis=1).mean()), 3),
            "n": int(rows.sum()),
        }

    names = ensemble.bundle.card.stage_names
    return {
        **part(known),
        "n_calibration": len(calibration.score),
        "by_stage": {name: part(cohort.stage == k) for k, name in enumerate(names) if (cohort.stage == k).any()},
        "by_site": {str(site): part(known & (cohort.site == site)) for site in np.unique(cohort.site[known])},
    }
