"""Every score of held-out answers, with intervals, under one set of paired draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, Estimate, draw_weights, estimate, permutation_p
from wsigraph.cohort.metrics.calibration import beyond_each_stage, calibration_curve, calibration_line, d_calibration
from wsigraph.cohort.metrics.stage import balanced_accuracy, quadratic_kappa, stage_auc, stage_brier
from wsigraph.cohort.metrics.survival import brier_scores, c_index, integrated_brier, log_rank, time_auc, uno_c
from wsigraph.training.evaluation.baselines import Answers
from wsigraph.training.held_out import HeldOut

_DIGITS = 4
_LINE_DRAWS = 400


@dataclass(frozen=True, eq=False)
class Truth:
    """Outcomes of held-out patients, and the draws under which everything is scored.

    Attributes
    ----------
    fold : int64 (n,)
        Pairs are compared within a fold alone.
    stage, time_days, event
        Outcomes.
    weights : float64 (1 + draws, n)
        From `draw_weights`.
    """

    fold: NDArray[np.int64]
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, held_out: HeldOut, *, by_site: bool, rng: np.random.Generator, n_draws: int = N_DRAWS) -> Truth:
        """Return the truth of held-out patients; draws are of sites where folds are made of sites."""
        cluster = np.unique(held_out.site, return_inverse=True)[1] if by_site else None
        return cls(
            fold=held_out.fold,
            stage=held_out.stage,
            time_days=held_out.time_days,
            event=held_out.event,
            weights=draw_weights(held_out.fold, cluster=cluster, n_draws=n_draws, rng=rng),
        )

    @cached_property
    def followed(self) -> NDArray[np.bool_]:
        """Who has a follow-up, bool (n,)."""
        return np.isfinite(self.time_days)

    def c_index(self, risk: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Harrell's C of the followed under every draw, float64 (1 + draws,)."""
        rows = self.followed
        return c_index(
            risk[rows], self.time_days[rows], self.event[rows], stratum=self.fold[rows], weights=self.weights[:, rows]
        )


def _plain(found: Estimate) -> dict[str, float | None]:
    parts = {"value": found.value, "low": found.low, "high": found.high}
    return {name: round(value, _DIGITS) if np.isfinite(value) else None for name, value in parts.items()}


def answer_draws(truth: Truth, answers: Answers) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the scores by which rivals are compared, under every draw.

    Parameters
    ----------
    truth : Truth
        Outcomes and draws.
    answers : Answers
        Risks and stage probabilities.

    Returns
    -------
    dict
        ``{"survival": {"c_index", "uno_c"}, "stage": {"auc", "balanced_accuracy", "quadratic_kappa", "brier"}}``,
        float64 (1 + draws,) each; a part without answers is left out.
    """
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    rows = truth.followed
    if np.isfinite(answers.risk[rows]).all() and truth.event[rows].any():
        given = (answers.risk[rows], truth.time_days[rows], truth.event[rows])
        fold, weights = truth.fold[rows], truth.weights[:, rows]
        found["survival"] = {
            "c_index": truth.c_index(answers.risk),
            "uno_c": uno_c(*given, until_days=_horizon(truth), stratum=fold, weights=weights),
        }
    n_stages = answers.stage_probability.shape[1]
    if n_stages and (truth.stage >= 0).any():
        likeliest = answers.stage_probability.argmax(axis=1)
        found["stage"] = {
            "auc": stage_auc(answers.stage_probability, truth.stage, stratum=truth.fold, weights=truth.weights),
            "balanced_accuracy": balanced_accuracy(likeliest, truth.stage, weights=truth.weights),
            "quadratic_kappa": quadratic_kappa(likeliest, truth.stage, n_stages, weights=truth.weights),
            "brier": stage_brier(answers.stage_probability, truth.stage, weights=truth.weights),
        }
    return found


def _horizon(truth: Truth) -> float:
    """Return the day after nine tenths of the events: weights by the inverse of few uncensored patients scatter."""
    return float(np.quantile(truth.time_days[truth.followed & truth.event], 0.9))


def estimates(draws: dict[str, dict[str, NDArray[np.float64]]]) -> dict[str, dict[str, Any]]:
    """Return draws as ``{"value", "low", "high"}`` with four digits; None where undefined."""
    return {part: {name: _plain(estimate(values)) for name, values in of.items()} for part, of in draws.items()}


def differences(
    model: dict[str, dict[str, NDArray[np.float64]]], rival: dict[str, dict[str, NDArray[np.float64]]]
) -> dict[str, dict[str, Any]]:
    """Return how much the model scores above a rival, paired draw by draw, as `estimates` does."""
    return {
        part: {name: _plain(estimate(model[part][name] - values)) for name, values in of.items()}
        for part, of in rival.items()
        if part in model
    }


def full_scores(truth: Truth, held_out: HeldOut, *, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Return every score of a model's own held-out answers.

    Parameters
    ----------
    truth : Truth
        Outcomes and draws.
    held_out : HeldOut
        The answers.
    rng : numpy.random.Generator
        Source of the permutations.

    Returns
    -------
    dict
        Parts ``"survival"`` and ``"stage"`` of what ``wsigraph evaluate --json`` prints.
    """
    answers = Answers(risk=held_out.risk, stage_probability=held_out.stage_probability)
    found = estimates(answer_draws(truth, answers))
    if "survival" in found:
        found["survival"] |= _survival_scores(truth, held_out, rng)
    if "stage" in found:
        found["stage"] |= _stage_scores(truth, held_out)
    return found


def _survival_scores(truth: Truth, held_out: HeldOut, rng: np.random.Generator) -> dict[str, Any]:
    rows = truth.followed
    days, event, fold = truth.time_days[rows], truth.event[rows], truth.fold[rows]
    weights = truth.weights[:, rows]
    at_days = np.quantile(days[event], [0.25, 0.5, 0.75])
    areas = time_auc(held_out.risk[rows], days, event, at_days, stratum=fold, weights=weights)
    grid = np.quantile(days[event], np.linspace(0.05, 0.9, 18))
    grid = np.unique(grid)
    brier = {}
    if len(grid) > 1:
        survival = held_out.survival_at(grid)[rows]
        brier["integrated_brier"] = _plain(
            estimate(integrated_brier(brier_scores(survival, days, event, grid, weights=weights), grid))
        )
    own, seen = held_out.survival_at_own_end()
    calibrated = d_calibration(own[rows], seen[rows])
    high = (held_out.risk > held_out.risk_cut[held_out.fold])[rows].astype(np.int64)
    statistic, p = log_rank(days, event, high, stratum=fold)
    risk = held_out.risk[rows]
    chance = permutation_p(
        lambda order: float(c_index(risk[order], days, event, stratum=fold)[0]), fold, n_permutations=999, rng=rng
    )
    return {
        **brier,
        "time_auc": [{"day": round(float(day), 1), **_plain(estimate(areas[:, k]))} for k, day in enumerate(at_days)],
        "d_calibration": {
            "largest_deviation": round(calibrated.deviation, _DIGITS),
            "p": round(calibrated.p, _DIGITS),
            "share": [round(float(share), _DIGITS) for share in calibrated.fraction],
        },
        "log_rank": {"statistic": round(statistic, _DIGITS), "p": p, "n_high": int(high.sum()), "n": len(high)},
        "permutation_p": chance,
    }


def _stage_scores(truth: Truth, held_out: HeldOut) -> dict[str, Any]:
    p, outcome = beyond_each_stage(held_out.stage_probability, truth.stage)
    known = truth.stage >= 0
    per_patient = held_out.stage_probability.shape[1] - 1
    weights = np.repeat(truth.weights[: 1 + _LINE_DRAWS, known], per_patient, axis=1)
    line = calibration_line(p, outcome, weights=weights)
    curve = calibration_curve(p, outcome)
    return {
        "calibration_intercept": _plain(estimate(line[:, 0])),
        "calibration_slope": _plain(estimate(line[:, 1])),
        "calibration_curve": {
            "stated": [round(float(each), _DIGITS) for each in curve.stated],
            "observed": [round(float(each), _DIGITS) for each in curve.observed],
            "n": curve.n.tolist(),
        },
        "n": int(known.sum()),
    }


def fold_scores(truth: Truth, held_out: HeldOut) -> list[dict[str, Any]]:
    """Return patients, events, sites and the two main scores of every fold."""
    found = []
    for number in np.unique(truth.fold):
        rows = truth.fold == number
        followed = rows & truth.followed
        row: dict[str, Any] = {
            "fold": int(number),
            "n_patients": int(rows.sum()),
            "n_events": int(truth.event[rows].sum()),
            "sites": sorted({str(site) for site in held_out.site[rows] if site}),
        }
        if held_out.has_survival:
            value = c_index(held_out.risk[followed], truth.time_days[followed], truth.event[followed])[0]
            row["c_index"] = round(float(value), _DIGITS) if np.isfinite(value) else None
        if held_out.has_stage:
            value = stage_auc(held_out.stage_probability[rows], truth.stage[rows])[0]
            row["stage_auc"] = round(float(value), _DIGITS) if np.isfinite(value) else None
        found.append(row)
    return found
