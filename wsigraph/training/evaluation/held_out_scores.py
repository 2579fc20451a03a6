"""Scores of out-of-fold predictions with confidence intervals, under one set of paired bootstrap draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, Estimate, draw_weights, estimate, permutation_p
from wsigraph.cohort.metrics.calibration import beyond_each_stage, calibration_curve, calibration_line, d_calibration
from wsigraph.cohort.metrics.stage import balanced_accuracy, quadratic_kappa, stage_auc, stage_brier, stage_pairs
from wsigraph.cohort.metrics.survival import (
    brier_scores,
    c_index,
    comparable_pairs,
    integrated_brier,
    log_rank,
    time_auc,
    uno_c,
)
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.held_out import HeldOut

_DIGITS = 4
_LINE_DRAWS = 400


@dataclass(frozen=True, eq=False)
class HeldOutOutcomes:
    """Outcomes of held-out patients, and the bootstrap draws under which all predictions are scored.

    Attributes
    ----------
    fold : int64 (n,)
        Pairs are compared within a fold.
    stage, time_days, event
        Outcomes.
    weights : float64 (1 + draws, n)
        From `draw_weights`.
    site : str (n,)
        Site of every patient where folds keep sites whole, and sites are what scores are averaged over; else none.
    """

    fold: NDArray[np.int64]
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    weights: NDArray[np.float64]
    site: NDArray[np.str_] = field(default_factory=lambda: np.zeros(0, np.str_))

    @classmethod
    def of(
        cls, held_out: HeldOut, *, by_site: bool, rng: np.random.Generator, n_draws: int = N_DRAWS
    ) -> HeldOutOutcomes:
        """Return the outcomes of held-out patients; the bootstrap draws sites where folds keep sites whole."""
        cluster = np.unique(held_out.site, return_inverse=True)[1] if by_site else None
        return cls(
            fold=held_out.fold,
            stage=held_out.stage,
            time_days=held_out.time_days,
            event=held_out.event,
            weights=draw_weights(held_out.fold, cluster=cluster, n_draws=n_draws, rng=rng),
            site=held_out.site if by_site else np.zeros(0, np.str_),
        )

    @cached_property
    def has_follow_up(self) -> NDArray[np.bool_]:
        """Whether follow-up is known, bool (n,)."""
        return np.isfinite(self.time_days)

    def c_index(self, risk: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Harrell's C of patients with follow-up under every draw, float64 (1 + draws,)."""
        rows = self.has_follow_up
        return c_index(
            risk[rows], self.time_days[rows], self.event[rows], stratum=self.fold[rows], weights=self.weights[:, rows]
        )


def rounded(score: Estimate) -> dict[str, float | None]:
    """Return ``value``, ``low`` and ``high`` of a score, four digits; None where undefined."""
    parts = {"value": score.value, "low": score.low, "high": score.high}
    return {name: round(value, _DIGITS) if np.isfinite(value) else None for name, value in parts.items()}


def score_draws(outcomes: HeldOutOutcomes, predictions: CohortPredictions) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the scores that compare models, under every draw.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Outcomes and draws.
    predictions : CohortPredictions
        Risks and stage probabilities.

    Returns
    -------
    dict
        ``{"survival": {"c_index", "uno_c"}, "stage": {"auc", "balanced_accuracy", "quadratic_kappa", "brier"}}``,
        float64 (1 + draws,) each; a part without predictions is left out.
    """
    scores: dict[str, dict[str, NDArray[np.float64]]] = {}
    rows = outcomes.has_follow_up
    if np.isfinite(predictions.risk[rows]).all() and outcomes.event[rows].any():
        followed = (predictions.risk[rows], outcomes.time_days[rows], outcomes.event[rows])
        fold, weights = outcomes.fold[rows], outcomes.weights[:, rows]
        scores["survival"] = {
            "c_index": outcomes.c_index(predictions.risk),
            "uno_c": uno_c(*followed, until_days=_horizon(outcomes), stratum=fold, weights=weights),
        }
    n_stages = predictions.stage_probability.shape[1]
    if n_stages and (outcomes.stage >= 0).any():
        likeliest, fold, weights = predictions.stage_probability.argmax(axis=1), outcomes.fold, outcomes.weights
        scores["stage"] = {
            "auc": stage_auc(predictions.stage_probability, outcomes.stage, stratum=fold, weights=weights),
            "balanced_accuracy": balanced_accuracy(likeliest, outcomes.stage, stratum=fold, weights=weights),
            "quadratic_kappa": quadratic_kappa(likeliest, outcomes.stage, n_stages, stratum=fold, weights=weights),
            "brier": stage_brier(predictions.stage_probability, outcomes.stage, weights=weights),
        }
    return scores


def _horizon(outcomes: HeldOutOutcomes) -> float:
    """Return the day of nine tenths of the events; later, inverse weights by few uncensored patients vary too much."""
    return float(np.quantile(outcomes.time_days[outcomes.has_follow_up & outcomes.event], 0.9))


def estimates(draws: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, dict[str, Any]]:
    """Return draws as ``{"value", "low", "high"}`` with four digits; None where undefined."""
    return {part: {name: rounded(estimate(values)) for name, values in of.items()} for part, of in draws.items()}


def differences(
    model: dict[str, dict[str, NDArray[np.float64]]], baseline: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[str, dict[str, Any]]:
    """Return by how much the model scores above a baseline, paired draw by draw, in the format of `estimates`."""
    return {
        part: {name: rounded(estimate(model[part][name] - values)) for name, values in of.items()}
        for part, of in baseline.items()
        if part in model
    }


def full_scores(outcomes: HeldOutOutcomes, held_out: HeldOut, *, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Return all scores of a model's out-of-fold predictions.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Outcomes and draws.
    held_out : HeldOut
        The predictions.
    rng : numpy.random.Generator
        Source of the permutations.

    Returns
    -------
    dict
        Parts ``"survival"`` and ``"stage"`` of what ``wsigraph evaluate --json`` prints.
    """
    predictions = CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability)
    scores = estimates(score_draws(outcomes, predictions))
    if "survival" in scores:
        scores["survival"] |= _survival_scores(outcomes, held_out, rng)
    if "stage" in scores:
        scores["stage"] |= _stage_scores(outcomes, held_out)
    return scores


def _survival_scores(outcomes: HeldOutOutcomes, held_out: HeldOut, rng: np.random.Generator) -> dict[str, Any]:
    rows = outcomes.has_follow_up
    days, event, fold = outcomes.time_days[rows], outcomes.event[rows], outcomes.fold[rows]
    weights = outcomes.weights[:, rows]
    at_days = np.quantile(days[event], [0.25, 0.5, 0.75])
    # one minus survival, not the risk at the last interval: hazards by interval may cross
    areas = time_auc(1.0 - held_out.survival_at(at_days)[rows], days, event, at_days, stratum=fold, weights=weights)
    grid = np.quantile(days[event], np.linspace(0.05, 0.9, 18))
    grid = np.unique(grid)
    brier = {}
    if len(grid) > 1:
        survival = held_out.survival_at(grid)[rows]
        brier["integrated_brier"] = rounded(
            estimate(integrated_brier(brier_scores(survival, days, event, grid, weights=weights), grid))
        )
    own, observed = held_out.survival_at_own_end()
    calibrated = d_calibration(own[rows], observed[rows])
    high = (held_out.risk > held_out.risk_cut[held_out.fold])[rows].astype(np.int64)
    statistic, p = log_rank(days, event, high, stratum=fold)
    risk = held_out.risk[rows]
    chance = permutation_p(
        lambda order: float(c_index(risk[order], days, event, stratum=fold)[0]), fold, n_permutations=999, rng=rng
    )
    return {
        **brier,
        "time_auc": [
            {
                "day": round(float(day), 1),
                **rounded(estimate(areas[:, k])),
                "n_pairs": sum(
                    int((event & (days <= day))[fold == number].sum() * (days > day)[fold == number].sum())
                    for number in np.unique(fold)
                ),
            }
            for k, day in enumerate(at_days)
        ],
        "d_calibration": {
            "largest_deviation": round(calibrated.deviation, _DIGITS),
            "p": round(calibrated.p, _DIGITS),
            "share": [round(float(fraction), _DIGITS) for fraction in calibrated.fraction],
        },
        "log_rank": {"statistic": round(statistic, _DIGITS), "p": p, "n_high": int(high.sum()), "n": len(high)},
        "permutation_p": chance,
    }


def _stage_scores(outcomes: HeldOutOutcomes, held_out: HeldOut) -> dict[str, Any]:
    p, outcome = beyond_each_stage(held_out.stage_probability, outcomes.stage)
    known = outcomes.stage >= 0
    per_patient = held_out.stage_probability.shape[1] - 1
    weights = np.repeat(outcomes.weights[: 1 + _LINE_DRAWS, known], per_patient, axis=1)
    line = calibration_line(p, outcome, weights=weights)
    curve = calibration_curve(p, outcome)
    return {
        "calibration_intercept": rounded(estimate(line[:, 0])),
        "calibration_slope": rounded(estimate(line[:, 1])),
        "calibration_curve": {
            "stated": [round(float(value), _DIGITS) for value in curve.stated],
            "observed": [round(float(value), _DIGITS) for value in curve.observed],
            "n": curve.n.tolist(),
        },
        "n": int(known.sum()),
    }


def fold_scores(outcomes: HeldOutOutcomes, held_out: HeldOut, *, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return patients, events, sites and the two main scores of every fold.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Outcomes of all patients.
    held_out : HeldOut
        Their predictions.
    rng : numpy.random.Generator
        Source of the draws over the patients of a fold.

    Returns
    -------
    list of dict
        One a fold. A score has its 95 % interval over patients and its number of comparable pairs, ``n_pairs``; without
        an interval it is None.
    """
    scores = []
    for number in np.unique(outcomes.fold):
        rows = outcomes.fold == number
        followed = rows & outcomes.has_follow_up
        row: dict[str, Any] = {
            "fold": int(number),
            "n_patients": int(rows.sum()),
            "n_events": int(outcomes.event[rows].sum()),
            "sites": sorted({str(site) for site in held_out.site[rows] if site}),
        }
        weights = draw_weights(outcomes.fold[rows], n_draws=_LINE_DRAWS, rng=rng)
        if held_out.has_survival:
            days, event = outcomes.time_days[followed], outcomes.event[followed]
            values = c_index(held_out.risk[followed], days, event, weights=weights[:, followed[rows]])
            row["c_index"] = _with_interval(values, comparable_pairs(days, event))
        if held_out.has_stage:
            values = stage_auc(held_out.stage_probability[rows], outcomes.stage[rows], weights=weights)
            row["stage_auc"] = _with_interval(values, stage_pairs(outcomes.stage[rows]))
        scores.append(row)
    return scores


def _with_interval(values: NDArray[np.float64], n_pairs: int) -> dict[str, Any] | None:
    """Return a score with interval and pairs; None where it has no interval."""
    score = rounded(estimate(values))
    return None if score["low"] is None else {**score, "n_pairs": n_pairs}
