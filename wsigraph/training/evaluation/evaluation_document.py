"""The evaluation of a model as one document: its own scores, then those of baseline models in the same folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights
from wsigraph.cohort.metrics.stage_sets import coverage_by_stage, cross_conformal_sets
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import ModelBundle, patient_digest
from wsigraph.model.conformal import MIN_CALIBRATION, guaranteed_coverage
from wsigraph.model.member import EnsembleMember
from wsigraph.training.dataset import Cohort, validation_patients
from wsigraph.training.ensemble import Ensemble
from wsigraph.training.evaluation import baselines
from wsigraph.training.evaluation.baselines import BaselineTask, CohortPredictions
from wsigraph.training.evaluation.held_out_scores import (
    HeldOutOutcomes,
    differences,
    estimates,
    fold_scores,
    full_scores,
    score_draws,
)
from wsigraph.training.evaluation.over_sites import few_sites_warning, scores_over_sites, with_pairs
from wsigraph.training.evaluation.score_warnings import below_warnings, site_warnings
from wsigraph.training.held_out import HeldOut

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

MAX_UNCOARSENED_NODES = 200_000
"""Superpixels of a cohort above which the baseline on superpixel graphs is left out, because it takes hours."""


def mean_over(figures: Sequence[float]) -> dict[str, float]:
    """Return the mean of independent scores, e.g. of cohorts, with its 95 % interval by their standard error.

    Parameters
    ----------
    figures : sequence of float
        At least two.

    Returns
    -------
    dict
        ``value``, ``low`` and ``high``, four digits.
    """
    mean, error = float(np.mean(figures)), float(np.std(figures, ddof=1)) / len(figures) ** 0.5
    parts = {"value": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error}
    return {name: round(value, 4) for name, value in parts.items()}


@one_thread()
def own_scores(
    bundle: ModelBundle, held_out: HeldOut, *, seed: int, n_draws: int = N_DRAWS
) -> tuple[dict[str, Any], HeldOutOutcomes]:
    """Return the scores of a model's out-of-fold predictions, and the bootstrap draws behind their intervals.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    held_out : HeldOut
        Its out-of-fold predictions.
    seed : int
        Of bootstrap draws and permutations.
    n_draws : int
        Bootstrap draws.

    Returns
    -------
    document : dict
        Without baseline models.
    outcomes : HeldOutOutcomes
        Outcomes and draws, for the baseline models.
    """
    by_site = bundle.card.split_by == "site"
    first, second, third = np.random.default_rng(seed).spawn(3)
    outcomes = HeldOutOutcomes.of(held_out, by_site=by_site, rng=first, n_draws=n_draws)
    scores = with_pairs(full_scores(outcomes, held_out, rng=second), outcomes)
    predictions = CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability)
    over_sites = with_pairs(scores_over_sites(outcomes, predictions), outcomes)
    document = {
        "survival": scores.get("survival", {}),
        "stage": scores.get("stage", {}),
        "folds": fold_scores(outcomes, held_out, rng=third),
        "baselines": {},
        "over_sites": over_sites,
        "stage_sets": stage_set_coverage(bundle, held_out) if scores.get("stage") else {},
        "model": {"name": bundle.card.name, "model_id": bundle.model_id},
        "split_by": bundle.card.split_by,
        "n_patients": len(held_out.fold),
        "n_events": int(held_out.event.sum()),
        "n_configurations": bundle.card.n_configurations,
        "n_draws": n_draws,
        "simulated": bundle.card.training.simulated,
        "notice": bundle.card.notice,
        "warnings": few_sites_warning(over_sites),
    }
    return document, outcomes


def stage_set_coverage(bundle: ModelBundle, held_out: HeldOut) -> dict[str, Any]:
    """Return how often the stage sets of held-out patients hold the true stage, over all and by stage.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    held_out : HeldOut
        Its out-of-fold predictions; each set is calibrated on the patients of the other folds.

    Returns
    -------
    dict
        ``aimed_at``, ``guaranteed`` (for patients of the sites trained on; None where folds are whole sites, because
        then nothing is), and ``coverage``: see `wsigraph.cohort.metrics.stage_sets.coverage_by_stage`. Empty with fewer
        patients than a model needs to make sets.
    """
    known = held_out.stage >= 0
    if known.sum() < MIN_CALIBRATION or len(np.unique(held_out.fold[known])) < 2:
        return {}
    miscoverage, stage = bundle.card.config.miscoverage, held_out.stage[known]
    inside = cross_conformal_sets(held_out.stage_probability[known], stage, held_out.fold[known], miscoverage)
    guaranteed = guaranteed_coverage(len(stage), len(bundle.members), miscoverage)
    return {
        "aimed_at": round(1.0 - miscoverage, 4),
        "guaranteed": None if bundle.card.split_by == "site" else round(guaranteed, 4),
        "coverage": coverage_by_stage(inside, stage, bundle.card.stage_names),
    }


def baseline_task(bundle: ModelBundle, cohort: Cohort, *, seed: int) -> BaselineTask:
    """Return the task of a model's baseline models: its folds on its training cohort.

    Parameters
    ----------
    bundle : ModelBundle
        An ensemble of folds.
    cohort : Cohort
        One row a patient.
    seed : int
        Random seed.

    Returns
    -------
    BaselineTask
        Rows of patients outside the model's cohort have fold -1.
    """
    fold_of = bundle.card.seen.patients
    fold = np.array([fold_of.get(patient_digest(str(name)), -1) for name in cohort.patient], np.int64)
    return BaselineTask(cohort=cohort, fold=fold, config=bundle.card.config, seed=seed)


def validation_parts(task: BaselineTask) -> list[NDArray[np.str_]]:
    """Return the validation patients of every fold's member, drawn again as in training."""
    cohort, parts = task.cohort, []
    for number in task.folds:
        rows = np.flatnonzero((task.fold != number) & (task.fold >= 0))
        rng = np.random.default_rng(task.seed + number)
        fraction = task.config.validation_fraction
        parts.append(validation_patients(cohort.patient[rows], cohort.event[rows], fraction, rng=rng))
    return parts


def baseline_models(
    task: BaselineTask,
    members: Sequence[EnsembleMember],
    *,
    uncoarsened: Cohort | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Callable[[], CohortPredictions | str]]:
    """Return functions that fit and predict every baseline model, by name.

    Parameters
    ----------
    task : BaselineTask
        Cohort, folds and settings.
    members : sequence of EnsembleMember
        The model's, one a fold.
    uncoarsened : Cohort, optional
        The same rows as superpixel graphs.
    workers : int
        Processes for baselines that are networks.
    progress : callable, optional
        Called after every epoch and fold of a network.

    Returns
    -------
    dict of str to callable
        In the order of the table. Each returns predictions, or the reason why the baseline does not apply.
    """
    cohort = task.cohort

    def fit_network(network_task: BaselineTask, **changes: object) -> CohortPredictions:
        if task.config.design != "network":
            changes = {"design": "network", "survival_head": "cox", **changes}
        return baselines.network(network_task, changes, workers=workers, progress=progress)

    def on_superpixels() -> CohortPredictions | str:
        if uncoarsened is None:
            return "no superpixel graphs were found"
        n_nodes = sum(len(graph.features) for graph in uncoarsened.inputs)
        if n_nodes > MAX_UNCOARSENED_NODES:
            return f"{n_nodes:,} superpixels, more than {MAX_UNCOARSENED_NODES:,}"
        return fit_network(replace(task, cohort=uncoarsened))

    def on_covariates(image: bool) -> CohortPredictions | str:
        has_stage = "stage" in task.clinical_columns and task.config.task == "survival" and (cohort.stage >= 0).any()
        named = any(covariates.get(name) for covariates in cohort.covariates for name in task.clinical_columns)
        if not named and not has_stage:
            return f"the manifest has none of {', '.join(task.clinical_columns)}"
        if not image:
            return baselines.clinical_only(task)
        if task.config.task == "stage":
            return "survival is not predicted"
        return baselines.clinical_and_image(task, members, validation_parts(task))

    has_site = len({site for site in cohort.site.tolist() if site}) > 1
    has_stain = bool(np.isfinite(cohort.stain).all())
    return {
        # a linear offset contains products over edges, and it is the pooled ridges themselves
        "means@1": lambda: baselines.means_at_1(task),
        "edge@1": lambda: baselines.edges_at_1(task),
        "attention_mil": lambda: fit_network(task, layers=0, linear_offset=False),
        "pooled_forest": lambda: baselines.pooled_forest(task),
        "pooled_ridge": lambda: baselines.pooled_ridge(task),
        "edge_product_ridge": lambda: baselines.edge_product_ridge(task),
        "uncoarsened_gat": on_superpixels,
        "site_only": lambda: baselines.site_only(task) if has_site else "fewer than two sites are named",
        "stain_only": lambda: baselines.stain_only(task) if has_stain else "stains are unknown",
        "clinical": lambda: on_covariates(False),
        "clinical_and_image": lambda: on_covariates(True),
    }


@one_thread()
def add_baseline_models(
    document: dict[str, Any],
    outcomes: HeldOutOutcomes,
    held_out: HeldOut,
    patients: NDArray[np.str_],
    models: Mapping[str, Callable[[], CohortPredictions | str]],
    report: Callable[[str], None] | None = None,
    predictions: dict[str, CohortPredictions] | None = None,
) -> dict[str, Any]:
    """Return a document with the scores of baseline models, the model's differences from them, and warnings.

    Parameters
    ----------
    document : dict
        From `own_scores`.
    outcomes : HeldOutOutcomes
        Outcomes and draws of `own_scores`.
    held_out : HeldOut
        The model's out-of-fold predictions.
    patients : str (n,)
        Digests of the patients in the order of the baselines' predictions.
    models : mapping of str to callable
        From `baseline_models`.
    report : callable, optional
        Called with the name of every baseline before it is fitted.
    predictions : dict, optional
        Receives the predictions of every baseline by name, in the order of `held_out`.

    Returns
    -------
    dict
        A new document.
    """
    row_of = {str(name): row for row, name in enumerate(patients)}
    order = np.array([row_of[str(name)] for name in held_out.patient])
    own = score_draws(outcomes, CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability))
    scores: dict[str, Any] = {}
    for name, fit_and_predict in models.items():
        if report is not None:
            report(name)
        result = fit_and_predict()
        if isinstance(result, str):
            scores[name] = {"left_out": result}
            continue
        in_order = CohortPredictions(risk=result.risk[order], stage_probability=result.stage_probability[order])
        if predictions is not None:
            predictions[name] = in_order
        draws = score_draws(outcomes, in_order)
        above = differences(own, draws)
        if len(outcomes.site):
            model = CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability)
            above = scores_over_sites(outcomes, model, in_order)
        scores[name] = {**estimates(draws), "model_above": above}
    complete = {**document, "baselines": scores}
    return {**complete, "warnings": [*document["warnings"], *site_warnings(complete), *below_warnings(complete)]}


@one_thread()
def score_within(
    ensemble: Ensemble,
    task: BaselineTask,
    stratum: NDArray[np.int64],
    names: Sequence[str],
    *,
    cluster: NDArray[np.int64] | None = None,
    n_draws: int = N_DRAWS,
    workers: int = 1,
) -> dict[str, Any]:
    """Return out-of-fold scores of a model and some baselines over pairs within a given stratum.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on the task's cohort in its folds.
    task : BaselineTask
        Cohort, folds and seed.
    stratum : int64 (n,)
        Pairs are compared within it, e.g. within a site; a stratum must lie within one fold.
    names : sequence of str
        Baselines, by their names in `baseline_models`.
    cluster : int64 (n,), optional
        What the bootstrap draws whole, e.g. the site; patients within a stratum where left out.
    n_draws : int
        Bootstrap draws.
    workers : int
        Processes for baselines that are networks.

    Returns
    -------
    dict
        See `add_baseline_models`.

    Raises
    ------
    ModelError
        If a baseline cannot be fitted.
    """
    held_out = ensemble.held_out
    outcomes = HeldOutOutcomes(
        fold=stratum,
        stage=held_out.stage,
        time_days=held_out.time_days,
        event=held_out.event,
        weights=draw_weights(stratum, cluster=cluster, n_draws=n_draws, rng=np.random.default_rng(task.seed)),
        site=np.zeros(0, np.str_) if cluster is None else np.asarray(cluster).astype(np.str_),
    )
    own = estimates(
        score_draws(outcomes, CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability))
    )
    document = {"survival": {}, "stage": {}, **own, "warnings": []}
    models = baseline_models(task, ensemble.bundle.members, workers=workers)
    return add_baseline_models(document, outcomes, held_out, held_out.patient, {name: models[name] for name in names})
