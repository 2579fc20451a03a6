"""A model and its rivals trained on one cohort and scored on another, beside an oracle where there is one."""

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
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.card import About
from wsigraph.model.conformal import stage_probabilities, stage_sets
from wsigraph.model.member import inputs_of
from wsigraph.model.nn.network import one_thread
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.evaluation.baselines import Answers, Question
from wsigraph.training.evaluation.evaluation_document import rivals
from wsigraph.training.evaluation.held_out_scores import Truth, answer_draws, differences, estimates
from wsigraph.training.superpixel_graphs import FineGraphs

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

RECIPE = About(
    name="recipe", description="-", notice="made by a recipe; not kept", licence="-", data="-", simulated=False
)
"""What a model says of itself that a recipe trains, scores and forgets."""

_CALIBRATION_DRAWS = 500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreshAnswers:
    """What an ensemble says of patients none of its members was trained on.

    Attributes
    ----------
    answers : Answers
        Risk and stage probabilities, averaged over members.
    member_probability : float64 (members, n, K)
        Stage probabilities of every member.
    survival : float64 (n, T)
        Mean survival at `time_days`.
    time_days : float64 (T,)
        Days.
    """

    answers: Answers
    member_probability: NDArray[np.float64]
    survival: NDArray[np.float64]
    time_days: NDArray[np.float64]


def answer_fresh(bundle: ModelBundle, cohort: Cohort) -> FreshAnswers:
    """Return what all members of an ensemble say of other patients.

    Parameters
    ----------
    bundle : ModelBundle
        The ensemble; one with an embedding of its own coarsens the cohort anew.
    cohort : Cohort
        n rows.

    Returns
    -------
    FreshAnswers
        In the order of the rows.

    Raises
    ------
    ModelError
        If the graphs do not fit the model.
    """
    time_days = np.array(bundle.card.time_days)
    stages, curves = [], []
    inputs = inputs_of(cohort, bundle.embedding)
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
    return FreshAnswers(
        answers=Answers(risk=risk, stage_probability=probability.mean(axis=0)),
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
        What the card shall say.
    workers : int
        Processes.
    progress : callable, optional
        Told of passes and folds.

    Returns
    -------
    Ensemble
        With its held-out answers.

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


def joined(first: Cohort, second: Cohort) -> Cohort:
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
        fine=_joined_fine(first, second),
        **both,
    )


def _joined_fine(first: Cohort, second: Cohort) -> FineGraphs | None:
    if first.fine is None or second.fine is None:
        return None
    return replace(first.fine, rows=(*first.fine.rows, *second.fine.rows))


_ARRAYS = ("patient", "site", "stain", "stage", "time_days", "event")


@one_thread()
def score_fresh(
    ensemble: Ensemble,
    train: Cohort,
    fresh: Cohort,
    *,
    seed: int,
    names: Sequence[str],
    found: FreshAnswers | None = None,
    oracle: Answers | None = None,
    n_draws: int = N_DRAWS,
    workers: int = 1,
) -> dict[str, Any]:
    """Return the scores of a model and its rivals on fresh patients, all under the same draws.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on `train`.
    train, fresh : Cohort
        Without a patient in common.
    seed : int
        Of draws and rivals.
    names : sequence of str
        Rivals, as `wsigraph.training.evaluation.evaluation_document.rivals` names them.
    found : FreshAnswers, optional
        What the model says of the fresh patients; it is asked where left out.
    oracle : Answers, optional
        The true log hazard ratio and stage probabilities of the fresh patients; no column where they are not known.
    n_draws : int
        Bootstrap draws over fresh patients.
    workers : int
        Processes for rivals that are networks.

    Returns
    -------
    dict
        ``model``, ``oracle`` and each rival with its scores, and how far the model lies above it.

    Raises
    ------
    CohortError
        If the cohorts share a patient.
    """
    found = found or answer_fresh(ensemble.bundle, fresh)
    one_fold = np.zeros(fresh.n_rows, np.int64)
    truth = Truth(
        fold=one_fold,
        stage=fresh.stage,
        time_days=fresh.time_days,
        event=fresh.event,
        weights=draw_weights(one_fold, n_draws=n_draws, rng=np.random.default_rng(seed)),
    )
    own = answer_draws(truth, found.answers)
    table: dict[str, Any] = {"n_train": train.n_rows, "n_fresh": fresh.n_rows, "model": estimates(own)}
    if oracle is not None:
        best = answer_draws(truth, oracle)
        table["oracle"] = {**estimates(best), "model_above": differences(own, best)}
    both = joined(train, fresh)
    fold = np.concatenate([np.full(train.n_rows, -1), one_fold])
    question = Question(cohort=both, fold=fold, config=ensemble.bundle.card.config, seed=seed)
    asked = rivals(question, ensemble.bundle.members, workers=workers)
    for name in names:
        answers = asked[name]()
        if isinstance(answers, str):
            table[name] = {"left_out": answers}
            continue
        theirs = Answers(risk=answers.risk[train.n_rows :], stage_probability=answers.stage_probability[train.n_rows :])
        drawn = answer_draws(truth, theirs)
        table[name] = {**estimates(drawn), "model_above": differences(own, drawn)}
    return table


def calibration_of_survival(found: FreshAnswers, cohort: Cohort, *, factor: float = 1.0) -> dict[str, float]:
    """Return the D-calibration of survival on fresh patients, with all hazards multiplied by a factor.

    Parameters
    ----------
    found : FreshAnswers
        Survival of the rows of `cohort`.
    cohort : Cohort
        Their outcomes.
    factor : float
        1 leaves survival alone.

    Returns
    -------
    dict
        ``largest_deviation`` of a decile's share from a tenth, with the ends ``low`` and ``high`` of its 95 % bootstrap
        interval (which lies high, for a maximum of noisy shares is too large), and ``p``.
    """
    own = np.diagonal(survival_between(found.time_days, found.survival, cohort.time_days)) ** factor
    # beyond the last interval nothing is predicted: there a patient counts as censored at its end
    seen = cohort.event & (cohort.time_days <= found.time_days[-1])
    result = d_calibration(own, seen)
    rng = np.random.default_rng(0)
    drawn = (rng.integers(0, len(own), len(own)) for _ in range(_CALIBRATION_DRAWS))
    low, high = np.quantile([d_calibration(own[rows], seen[rows]).deviation for rows in drawn], [0.025, 0.975])
    return {
        "largest_deviation": round(result.deviation, 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "p": float(f"{result.p:.3g}"),
    }


def coverage(ensemble: Ensemble, found: FreshAnswers, cohort: Cohort) -> dict[str, Any]:
    """Return how often the conformal stage set of fresh patients holds their stage.

    Parameters
    ----------
    ensemble : Ensemble
        With its calibration.
    found : FreshAnswers
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
    share = ensemble.bundle.card.config.miscoverage
    inside = stage_sets(found.member_probability, calibration.score, calibration.member, share)
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
