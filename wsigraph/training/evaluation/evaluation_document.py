"""The whole evaluation of a model as one document: its own scores first, then every rival's in the same folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import ModelBundle, patient_digest
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
from wsigraph.training.held_out import HeldOut

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

MAX_UNCOARSENED_NODES = 200_000
"""Superpixels of a cohort above which the rival on graphs that were not coarsened is left out, for it takes hours."""


def mean_over(figures: Sequence[float]) -> dict[str, float]:
    """Return the mean of independent figures, e.g. of cohorts, with its 95 % interval by their standard error.

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
    """Return the scores of a model's held-out answers, and the draws they were taken under.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    held_out : HeldOut
        Its answers.
    seed : int
        Of draws and permutations.
    n_draws : int
        Bootstrap draws.

    Returns
    -------
    document : dict
        Without rivals.
    truth : HeldOutOutcomes
        Draws for the rivals.
    """
    by_site = bundle.card.split_by == "site"
    first, second = np.random.default_rng(seed).spawn(2)
    truth = HeldOutOutcomes.of(held_out, by_site=by_site, rng=first, n_draws=n_draws)
    scores = full_scores(truth, held_out, rng=second)
    document = {
        "survival": scores.get("survival", {}),
        "stage": scores.get("stage", {}),
        "folds": fold_scores(truth, held_out),
        "baselines": {},
        "model": {"name": bundle.card.name, "model_id": bundle.model_id},
        "split_by": bundle.card.split_by,
        "n_patients": len(held_out.fold),
        "n_events": int(held_out.event.sum()),
        "n_configurations": bundle.card.n_configurations,
        "n_draws": n_draws,
        "simulated": bundle.card.training.simulated,
        "notice": bundle.card.notice,
        "warnings": [],
    }
    return document, truth


def baseline_task(bundle: ModelBundle, cohort: Cohort, *, seed: int) -> BaselineTask:
    """Return what rivals of a model are asked: the model's folds on the cohort it was trained on.

    Parameters
    ----------
    bundle : ModelBundle
        An ensemble of folds.
    cohort : Cohort
        One row a patient.
    seed : int
        Of everything random.

    Returns
    -------
    BaselineTask
        Rows of patients that the model does not know have fold -1.
    """
    seen = bundle.card.seen.patients
    fold = np.array([seen.get(patient_digest(str(name)), -1) for name in cohort.patient], np.int64)
    return BaselineTask(cohort=cohort, fold=fold, config=bundle.card.config, seed=seed)


def validation_parts(question: BaselineTask) -> list[NDArray[np.str_]]:
    """Return the patients that each member of the folds was not trained on, drawn again as training drew them."""
    cohort, parts = question.cohort, []
    for number in question.folds:
        rows = np.flatnonzero((question.fold != number) & (question.fold >= 0))
        rng = np.random.default_rng(question.seed + number)
        share = question.config.validation_fraction
        parts.append(validation_patients(cohort.patient[rows], cohort.event[rows], share, rng=rng))
    return parts


def baseline_models(
    question: BaselineTask,
    members: Sequence[EnsembleMember],
    *,
    uncoarsened: Cohort | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> dict[str, Callable[[], CohortPredictions | str]]:
    """Return every rival by name, to be asked one after another; one that cannot be asked says why.

    Parameters
    ----------
    question : BaselineTask
        The folds.
    members : sequence of EnsembleMember
        The model's, one a fold.
    uncoarsened : Cohort, optional
        The same rows before coarsening.
    workers : int
        Processes for networks.
    progress : callable, optional
        Told of passes and folds of networks.

    Returns
    -------
    dict of str to callable
        In the order of the table.
    """
    cohort = question.cohort

    def deep(asked: BaselineTask, **changes: object) -> CohortPredictions:
        return baselines.network(asked, changes, workers=workers, progress=progress)

    def of_uncoarsened() -> CohortPredictions | str:
        if uncoarsened is None:
            return "no graphs of superpixels at hand"
        n_nodes = sum(len(each.features) for each in uncoarsened.inputs)
        if n_nodes > MAX_UNCOARSENED_NODES:
            return f"{n_nodes:,} superpixels, more than {MAX_UNCOARSENED_NODES:,}"
        asked = BaselineTask(cohort=uncoarsened, fold=question.fold, config=question.config, seed=question.seed)
        return deep(asked)

    def of_clinic(image: bool) -> CohortPredictions | str:
        if not any(each.get(name) for each in cohort.covariates for name in question.clinical_columns):
            return f"the manifest has none of {', '.join(question.clinical_columns)}"
        if not image:
            return baselines.clinical_only(question)
        if question.config.task == "stage":
            return "survival is not predicted"
        return baselines.clinical_and_image(question, members, validation_parts(question))

    has_site = len({site for site in cohort.site.tolist() if site}) > 1
    has_stain = bool(np.isfinite(cohort.stain).all())
    return {
        # a start holds products over edges, and is the pooled ridges themselves
        "attention_mil": lambda: deep(question, layers=0, linear_offset=False),
        "pooled_forest": lambda: baselines.pooled_forest(question),
        "pooled_ridge": lambda: baselines.pooled_ridge(question),
        "edge_product_ridge": lambda: baselines.edge_product_ridge(question),
        "uncoarsened_gat": of_uncoarsened,
        "site_only": lambda: baselines.site_only(question) if has_site else "fewer than two sites are named",
        "stain_only": lambda: baselines.stain_only(question) if has_stain else "no stains at hand",
        "clinical": lambda: of_clinic(False),
        "clinical_and_image": lambda: of_clinic(True),
    }


@one_thread()
def add_baseline_models(
    document: dict[str, Any],
    truth: HeldOutOutcomes,
    held_out: HeldOut,
    patients: NDArray[np.str_],
    asked: Mapping[str, Callable[[], CohortPredictions | str]],
    told: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Return a document with the scores of rivals, how far the model lies above them, and what to beware of.

    Parameters
    ----------
    document : dict
        From `own_scores`.
    truth : HeldOutOutcomes
        Its draws.
    held_out : HeldOut
        The model's answers.
    patients : str (n,)
        Digests of the patients in the order of the rivals' answers.
    asked : mapping of str to callable
        From `baseline_models`.
    told : callable, optional
        Told the name of each rival before it is asked.

    Returns
    -------
    dict
        A new document.
    """
    place = {str(name): row for row, name in enumerate(patients)}
    order = np.array([place[str(name)] for name in held_out.patient])
    own = score_draws(truth, CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability))
    found: dict[str, Any] = {}
    drawn: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    for name, ask in asked.items():
        if told is not None:
            told(name)
        answers = ask()
        if isinstance(answers, str):
            found[name] = {"left_out": answers}
            continue
        in_order = CohortPredictions(risk=answers.risk[order], stage_probability=answers.stage_probability[order])
        drawn[name] = score_draws(truth, in_order)
        found[name] = {**estimates(drawn[name]), "model_above": differences(own, drawn[name])}
    whole = {**document, "baselines": found}
    return {**whole, "warnings": [*document["warnings"], *site_warnings(whole)]}


@one_thread()
def score_within(
    ensemble: Ensemble,
    question: BaselineTask,
    stratum: NDArray[np.int64],
    names: Sequence[str],
    *,
    cluster: NDArray[np.int64] | None = None,
    n_draws: int = N_DRAWS,
    workers: int = 1,
) -> dict[str, Any]:
    """Return held-out scores of a model and some rivals over pairs within a stratum of one's own choice.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on the question's cohort in its folds.
    question : BaselineTask
        Cohort, folds and seed.
    stratum : int64 (n,)
        Pairs are compared within it, e.g. within a site; it must be no coarser than the folds.
    names : sequence of str
        Rivals, as `baseline_models` names them.
    cluster : int64 (n,), optional
        What is drawn whole, e.g. the site; patients within a stratum where left out.
    n_draws : int
        Bootstrap draws.
    workers : int
        Processes for rivals that are networks.

    Returns
    -------
    dict
        As `add_baseline_models`.

    Raises
    ------
    ModelError
        If a rival cannot be fitted.
    """
    held_out = ensemble.held_out
    truth = HeldOutOutcomes(
        fold=stratum,
        stage=held_out.stage,
        time_days=held_out.time_days,
        event=held_out.event,
        weights=draw_weights(stratum, cluster=cluster, n_draws=n_draws, rng=np.random.default_rng(question.seed)),
    )
    own = estimates(
        score_draws(truth, CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability))
    )
    document = {"survival": {}, "stage": {}, **own, "warnings": []}
    asked = baseline_models(question, ensemble.bundle.members, workers=workers)
    return add_baseline_models(document, truth, held_out, held_out.patient, {name: asked[name] for name in names})


def site_warnings(document: Mapping[str, Any]) -> list[str]:
    """Return what must be said where the site alone, or the stain alone, predicts as well as the model.

    Parameters
    ----------
    document : mapping
        The evaluation with rivals.

    Returns
    -------
    list of str
        Empty where neither does.
    """
    told = []
    for name, what in (("site_only", "the site alone, without a pixel,"), ("stain_only", "the stain alone")):
        rival = document["baselines"].get(name, {})
        for part, score, called in (("survival", "c_index", "C-index"), ("stage", "auc", "stage AUC")):
            theirs = rival.get(part, {}).get(score)
            gap = rival.get("model_above", {}).get(part, {}).get(score)
            if not theirs or not gap or theirs["low"] is None or gap["low"] is None:
                continue
            # nothing to warn of where the rival itself is not above chance
            if theirs["low"] > 0.5 and gap["low"] <= 0:
                own = document[part][score]["value"]
                told.append(
                    f"{what} predicts as well as the model: {called} {theirs['value']:.3f} against {own:.3f} "
                    f"(difference {gap['value']:+.3f}, 95 % {gap['low']:+.3f} to {gap['high']:+.3f}); "
                    "the score may be the hospital's, not the tissue's; train with --group site and read that figure"
                )
    return told
