"""External validation: a finished model on patients of another cohort, scored once.

The slides of a patient are joined to one graph, as in training (`load_cohort`). All members predict, and nothing is
fitted but what is reported as fitted: the recalibrated baseline hazard. Patients that the model knows are refused, by
the digests on its card.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights, estimate
from wsigraph.cohort.metrics.calibration import beyond_each_stage, calibration_line
from wsigraph.cohort.metrics.external_calibration import (
    breslow_cumulative_hazard,
    calibration_slope,
    observed_over_expected,
)
from wsigraph.cohort.metrics.stage_sets import coverage_by_stage
from wsigraph.cohort.metrics.survival import brier_scores, integrated_brier, survival_between, time_auc
from wsigraph.errors import CohortError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import ModelBundle, patient_digest, slide_digest
from wsigraph.model.conformal import MIN_CALIBRATION, stage_sets
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, estimates, rounded, score_draws
from wsigraph.training.evaluation.over_sites import few_sites_warning, scores_over_sites, with_pairs
from wsigraph.training.evaluation.refit_baselines import EnsemblePredictions, predict_new_patients

if TYPE_CHECKING:
    import pandas as pd

MIN_EVENTS = 20
"""Events below which survival is not scored: an interval would span everything."""
_SITE_DRAWS, _SLOPE_DRAWS = 400, 500
_N_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validation:
    """An external validation.

    Attributes
    ----------
    document : dict
        Scores, calibration, recalibration and sites, as ``wsigraph validate --json`` prints them.
    table : pandas.DataFrame
        A row a patient: predictions and outcomes, with the columns of `wsigraph.cohort.load`.
    """

    document: dict[str, Any]
    table: pd.DataFrame


def refuse_known(bundle: ModelBundle, cohort: Cohort) -> None:
    """Refuse a cohort with patients, or slides, that the model was trained on.

    Parameters
    ----------
    bundle : ModelBundle
        Its card lists the digests of its patients and slides.
    cohort : Cohort
        Patients to validate on.

    Raises
    ------
    CohortError
        If the card lists one of them; the message names the first.
    """
    known = bundle.card.seen
    rows = [
        row
        for row, name in enumerate(cohort.patient.tolist())
        if patient_digest(name) in known.patients
        or any(slide_digest(digest) in known.slides for digest in cohort.slides[row])
    ]
    if rows:
        names = ", ".join(map(str, cohort.patient[rows[:_N_NAMED]]))
        more = f" and {len(rows) - _N_NAMED} more" if len(rows) > _N_NAMED else ""
        raise CohortError(
            f"{len(rows)} of {cohort.n_rows} patients belong to the training cohort of "
            f"{bundle.card.name!r} ({names}{more}); their scores would be too good: take them out of the manifest, or "
            "use wsigraph evaluate, which scores them out of fold"
        )


@one_thread()
def validate_externally(
    bundle: ModelBundle, cohort: Cohort, *, days: tuple[int, ...], seed: int, n_draws: int = N_DRAWS
) -> Validation:
    """Return the scores of a model on patients of another cohort.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    cohort : Cohort
        One row a patient, of the node features that the model reads.
    days : tuple of int
        Horizons; one beyond the model's last interval, or beyond all follow-up, is left out.
    seed : int
        Of the bootstrap draws.
    n_draws : int
        Bootstrap draws over patients.

    Returns
    -------
    Validation
        Document and table.

    Raises
    ------
    CohortError
        If a patient belongs to the training cohort, or nobody has an outcome that the model predicts.
    """
    refuse_known(bundle, cohort)
    predictions = predict_new_patients(bundle, cohort)
    rng = np.random.default_rng(seed)
    n = cohort.n_rows
    fold = np.zeros(n, np.int64)
    outcomes = HeldOutOutcomes(
        fold=fold,
        stage=cohort.stage,
        time_days=cohort.time_days,
        event=cohort.event,
        weights=draw_weights(fold, n_draws=n_draws, rng=rng),
        site=cohort.site,
    )
    followed, known = outcomes.has_follow_up, cohort.stage >= 0
    warnings = []
    if not bundle.card.seen.patients:
        warnings.append("the model's card lists no training patients, so nobody can be recognised as one of them")
    n_events = int(cohort.event.sum())
    predicts_stage = bool(bundle.card.stage_names) and bool(known.any())
    has_events = bool(bundle.card.time_days) and n_events >= MIN_EVENTS
    if bundle.card.time_days and not has_events:
        warnings.append(f"survival is not scored: {n_events} events, expected {MIN_EVENTS} or more")
    if not predicts_stage and not has_events:
        raise CohortError(
            f"nothing can be scored: the model predicts {bundle.card.config.task}, and {int(known.sum())} patients "
            f"have a stage and {n_events} an event; fill the manifest's columns stage, time_days and event"
        )
    own = score_draws(outcomes, predictions.average)
    scores = with_pairs(estimates({part: of for part, of in own.items() if part == "stage" or has_events}), outcomes)
    over_sites = with_pairs(
        {part: of for part, of in scores_over_sites(outcomes, predictions.average).items() if part in scores}, outcomes
    )
    document: dict[str, Any] = {
        "survival": scores.get("survival", {}),
        "stage": scores.get("stage", {}),
        "over_sites": over_sites,
        "calibration": {},
        "recalibration": {},
        "stage_sets": {},
        "sites": [],
        "model": {"name": bundle.card.name, "model_id": bundle.model_id},
        "n_patients": n,
        "n_events": n_events,
        "n_followed": int(followed.sum()),
        "n_staged": int(known.sum()),
        "n_draws": n_draws,
        "notice": bundle.card.notice,
        "warnings": [*warnings, *few_sites_warning(over_sites)],
    }
    if has_events:
        document["survival"] |= _day_scores(outcomes, predictions, days)
        document["calibration"] = survival_calibration(outcomes, predictions)
        document["recalibration"] = recalibrated_baseline(outcomes, predictions)
    if predicts_stage:
        document["stage"] |= _stage_calibration(outcomes, predictions)
        document["stage_sets"] = _stage_sets(bundle, predictions, cohort.stage)
    document["sites"] = _sites(outcomes, predictions, has_events, rng)
    return Validation(document=document, table=prediction_table(bundle, cohort, predictions, days))


def _own_hazard(
    predictions: EnsemblePredictions, rows: NDArray[np.bool_] | NDArray[np.int64], time_days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the predicted cumulative hazard of some patients at their own last day."""
    at = survival_between(predictions.time_days, predictions.survival[rows], time_days)
    return np.asarray(-np.log(np.maximum(np.diagonal(at), 1e-300)))


def _day_scores(outcomes: HeldOutOutcomes, predictions: EnsemblePredictions, days: tuple[int, ...]) -> dict[str, Any]:
    rows = outcomes.has_follow_up
    time_days, event, weights = outcomes.time_days[rows], outcomes.event[rows], outcomes.weights[:, rows]
    at = np.array([day for day in days if day <= min(predictions.time_days[-1], time_days.max())], np.float64)
    scores: dict[str, Any] = {"time_auc": []}
    if len(at):
        incidence = 1.0 - survival_between(predictions.time_days, predictions.survival[rows], at)
        areas = time_auc(incidence, time_days, event, at, weights=weights)
        scores["time_auc"] = [
            {
                "day": float(day),
                **rounded(estimate(areas[:, k])),
                "n_pairs": int((event & (time_days <= day)).sum() * (time_days > day).sum()),
            }
            for k, day in enumerate(at)
        ]
    grid = np.unique(np.quantile(time_days[event], np.linspace(0.05, 0.9, 18)))
    grid = grid[grid <= predictions.time_days[-1]]
    if len(grid) > 1:
        survival = survival_between(predictions.time_days, predictions.survival[rows], grid)
        brier = integrated_brier(brier_scores(survival, time_days, event, grid, weights=weights), grid)
        scores["integrated_brier"] = {**rounded(estimate(brier)), "n": int(rows.sum())}
    return scores


def survival_calibration(outcomes: HeldOutOutcomes, predictions: EnsemblePredictions) -> dict[str, Any]:
    """Return calibration in the large and the calibration slope, with 95 % intervals.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Follow-up and draws; follow-up beyond the model's last interval is cut there.
    predictions : EnsemblePredictions
        Survival of the same patients.

    Returns
    -------
    dict
        ``observed_over_expected`` and ``slope``, each with ``n``; 1 is right.
    """
    rows = outcomes.has_follow_up
    time_days, event, weights = outcomes.time_days[rows], outcomes.event[rows], outcomes.weights[:, rows]
    event = event & (time_days <= predictions.time_days[-1])
    hazard = _own_hazard(predictions, rows, time_days)
    n = int(rows.sum())
    slope = calibration_slope(predictions.average.risk[rows], time_days, event, weights=weights[: 1 + _SLOPE_DRAWS])
    return {
        "observed_over_expected": {
            **rounded(estimate(observed_over_expected(hazard, event, weights=weights))),
            "n": n,
            "n_observed": int(event.sum()),
            "n_expected": round(float(hazard.sum()), 1),
        },
        "slope": {**rounded(estimate(slope)), "n": n},
    }


def recalibrated_baseline(outcomes: HeldOutOutcomes, predictions: EnsemblePredictions) -> dict[str, Any]:
    """Return slope and baseline hazard that make the model's risks predict survival in this cohort.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Follow-up.
    predictions : EnsemblePredictions
        Risks of the same patients.

    Returns
    -------
    dict
        ``slope``, ``centre`` (the mean risk), ``time_days`` and ``cumulative_hazard`` of a patient of that risk: the
        survival of another is ``exp(-H exp(slope (risk - centre)))``. Empty where the slope does not exist.
    """
    rows = outcomes.has_follow_up
    time_days, risk = outcomes.time_days[rows], predictions.average.risk[rows]
    event = outcomes.event[rows] & (time_days <= predictions.time_days[-1])
    slope = float(calibration_slope(risk, time_days, event)[0])
    if not np.isfinite(slope):
        return {}
    centre = float(risk.mean())
    at = predictions.time_days[predictions.time_days <= time_days.max()]
    hazard = breslow_cumulative_hazard(slope * (risk - centre), time_days, event, at)
    return {
        "slope": round(slope, 6),
        "centre": round(centre, 6),
        "time_days": [round(float(day), 3) for day in at],
        "cumulative_hazard": [round(float(value), 8) for value in hazard],
    }


def _stage_calibration(outcomes: HeldOutOutcomes, predictions: EnsemblePredictions) -> dict[str, Any]:
    probability = predictions.average.stage_probability
    p, outcome = beyond_each_stage(probability, outcomes.stage)
    known = outcomes.stage >= 0
    weights = np.repeat(outcomes.weights[: 1 + _SLOPE_DRAWS, known], probability.shape[1] - 1, axis=1)
    line = calibration_line(p, outcome, weights=weights)
    n = int(known.sum())
    return {
        "calibration_intercept": {**rounded(estimate(line[:, 0])), "n": n},
        "calibration_slope": {**rounded(estimate(line[:, 1])), "n": n},
    }


def _stage_sets(bundle: ModelBundle, predictions: EnsemblePredictions, stage: NDArray[np.int64]) -> dict[str, Any]:
    calibration, miscoverage = bundle.calibration, bundle.card.config.miscoverage
    if len(calibration.score) < MIN_CALIBRATION:
        return {}
    inside = stage_sets(
        predictions.member_probability, calibration.score, calibration.member, miscoverage, stage=calibration.stage
    )
    known = stage >= 0
    return {
        "aimed_at": round(1.0 - miscoverage, 4),
        "guaranteed": None,
        "coverage": coverage_by_stage(inside[known], stage[known], bundle.card.stage_names),
    }


def _sites(
    outcomes: HeldOutOutcomes, predictions: EnsemblePredictions, has_events: bool, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return counts, discrimination and calibration in the large of every site, by falling number of patients."""
    table = []
    names, counts = np.unique(outcomes.site, return_counts=True)
    for name in names[np.argsort(-counts, kind="stable")]:
        rows = outcomes.site == name
        own = HeldOutOutcomes(
            fold=outcomes.fold[rows],
            stage=outcomes.stage[rows],
            time_days=outcomes.time_days[rows],
            event=outcomes.event[rows],
            weights=draw_weights(outcomes.fold[rows], n_draws=_SITE_DRAWS, rng=rng),
        )
        average = predictions.average
        part = type(average)(risk=average.risk[rows], stage_probability=average.stage_probability[rows])
        scores = with_pairs(estimates(score_draws(own, part)), own)
        row: dict[str, Any] = {"site": str(name), "n_patients": int(rows.sum()), "n_events": int(own.event.sum())}
        if has_events and "survival" in scores:
            row["c_index"] = scores["survival"]["c_index"]
            followed = own.has_follow_up
            hazard = _own_hazard(predictions, np.flatnonzero(rows)[followed], own.time_days[followed])
            event = own.event[followed] & (own.time_days[followed] <= predictions.time_days[-1])
            over = observed_over_expected(hazard, event, weights=own.weights[:, followed])
            row["observed_over_expected"] = {**rounded(estimate(over)), "n": int(followed.sum())}
        if "stage" in scores:
            row["stage_auc"] = scores["stage"]["auc"]
        table.append(row)
    return table


def prediction_table(
    bundle: ModelBundle, cohort: Cohort, predictions: EnsemblePredictions, days: tuple[int, ...]
) -> pd.DataFrame:
    """Return predictions and outcomes of every patient, with the columns of `wsigraph.cohort.load`.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    cohort : Cohort
        One row a patient.
    predictions : EnsemblePredictions
        Of the same rows.
    days : tuple of int
        Horizons of the survival columns.

    Returns
    -------
    pandas.DataFrame
        Every row is ``external``, of fold -1; ``risk_cut`` is NaN.
    """
    import pandas as pd

    names = bundle.card.stage_names or bundle.card.config.stage_names
    codes = cohort.stage
    columns: dict[str, Any] = {
        "patient_id": cohort.patient.tolist(),
        "slide_id": "",
        "site": cohort.site.tolist(),
        "relation": "external",
        "fold": -1,
        "risk": predictions.average.risk,
        "risk_cut": np.nan,
        "stage": pd.Categorical([None if k < 0 else names[k] for k in codes], categories=list(names), ordered=True),
        "time_days": cohort.time_days,
        "event": cohort.event,
    }
    probability = predictions.average.stage_probability
    columns |= {f"p_{name}": probability[:, k] for k, name in enumerate(names[: probability.shape[1]])}
    if len(predictions.time_days):
        within = [day for day in days if day <= predictions.time_days[-1]]
        at = survival_between(predictions.time_days, predictions.survival, np.array(within, np.float64))
        columns |= {f"survival_{day:d}": at[:, k] for k, day in enumerate(within)}
    return pd.DataFrame(columns)
