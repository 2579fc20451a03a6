"""Uncertainty of a prediction: temperature scaling, conformal stage sets (CV+), and a band for survival.

Temperature scaling (Guo et al., "On calibration of modern neural networks", ICML 2017) divides the stage logits by one
number fitted on patients outside the training part. Stage sets are CV+ (Barber et al., "Predictive inference with the
jackknife+", Annals of Statistics 2021; Romano, Sesia and Candes, NeurIPS 2020). For every held-out patient i, a stage
is compared with patient i's true stage under the member not trained on i; it belongs to the set unless it conforms
worse for all but a fraction `miscoverage` of these patients. A stage with enough held-out patients is compared with
these alone (class-conditional, or Mondrian, sets: Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005), so that rare and difficult stages are covered as often as others. Stages are ordered: a set has no gap.
Sets aim at holding the true stage of exchangeable
patients with probability 1 - miscoverage, and about reach it in practice. What is guaranteed is less, and depends on
the number of folds: `guaranteed_coverage`. At another site there is no guarantee. The band for survival is a pointwise
bootstrap: every draw takes the next ensemble member and recalibrates its hazards by a line fitted to as many held-out
patients, drawn with replacement. It covers the uncertainty from the number of patients, not from a wrong model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from wsigraph.cohort.metrics.stage_sets import compared_with, without_gaps
from wsigraph.cohort.metrics.survival import survival_between
from wsigraph.model.nn.losses import SurvivalTarget

MIN_CALIBRATION = 100
"""Fewest patients of known stage that calibrate stage sets; with fewer, their coverage varies too much."""
N_BAND_DRAWS = 200
"""Draws of the band for survival."""
_MIN_FOR_TEMPERATURE = 20
_NEWTON_STEPS = 12
_RIDGE = 1e-3


def stage_probabilities(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probability of every stage.

    Parameters
    ----------
    logits : float64 (n, K - 1)
        Cumulative logits of a stage beyond the k-th, falling along the second axis.
    temperature : float
        Divides the logits; above 1, probabilities move towards each other.

    Returns
    -------
    float64 (n, K)
        Sums to one along the second axis.
    """
    above = 1.0 / (1.0 + np.exp(-np.clip(logits / temperature, -60, 60)))
    ends = np.ones((len(logits), 1))
    probability = np.concatenate([ends, above], axis=1) - np.concatenate([above, 0 * ends], axis=1)
    return np.asarray(np.maximum(probability, 0.0))


def fit_temperature(logits: NDArray[np.float64], stage: NDArray[np.int64]) -> float:
    """Return the temperature of least negative log-likelihood.

    Parameters
    ----------
    logits : float64 (n, K - 1)
        Cumulative logits of patients outside the training part.
    stage : int64 (n,)
        Their stage, -1 where unknown.

    Returns
    -------
    float
        Between 1/4 and 4; 1 where fewer than 20 stages are known.
    """
    known = stage >= 0
    if known.sum() < _MIN_FOR_TEMPERATURE:
        return 1.0

    def loss(log_temperature: float) -> float:
        probability = stage_probabilities(logits[known], float(np.exp(log_temperature)))
        own = probability[np.arange(len(probability)), stage[known]]
        return float(-np.log(np.maximum(own, 1e-12)).mean())

    minimum = minimize_scalar(loss, bounds=(-np.log(4.0), np.log(4.0)), method="bounded")
    return float(np.exp(minimum.x))


def guaranteed_coverage(n_patients: int, n_folds: int, miscoverage: float) -> float:
    """Return the least probability with which a CV+ set holds the true stage of an exchangeable patient.

    Parameters
    ----------
    n_patients : int
        Held-out patients of known stage.
    n_folds : int
        Folds, of equal size, that they were held out in.
    miscoverage : float
        Alpha.

    Returns
    -------
    float
        ``1 - 2 a - min(2 (1 - 1 / K) / (n / K + 1), (1 - K / n) / (K + 1))`` for n patients in K folds, at least 0; 0
        where there are no two folds or fewer patients than folds.

    Notes
    -----
    With as many folds as patients this is the jackknife+'s ``1 - 2 a``; with few folds it is lower. Nothing is
    guaranteed where folds are whole sites, because patients of different folds are then not exchangeable.

    References
    ----------
    Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021,
    theorem 4.
    """
    if n_folds < 2 or n_patients < n_folds:
        return 0.0
    by_fold_size = 2.0 * (1.0 - 1.0 / n_folds) / (n_patients / n_folds + 1.0)
    by_fold_count = (1.0 - n_folds / n_patients) / (n_folds + 1.0)
    return max(0.0, 1.0 - 2.0 * miscoverage - min(by_fold_size, by_fold_count))


def stage_sets(
    probability: NDArray[np.float64],
    score: NDArray[np.float64],
    member: NDArray[np.int64],
    miscoverage: float,
    *,
    stage: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Return which stages belong to the CV+ set of each patient.

    Parameters
    ----------
    probability : float64 (members, n, K)
        Of every stage, by every member of the ensemble.
    score : float64 (m,)
        One minus the probability of the true stage, for the m held-out patients.
    member : int64 (m,)
        Member that was not trained on each of them.
    miscoverage : float
        Alpha.
    stage : int64 (m,), optional
        Their true stage, for class-conditional sets: a stage of at least
        `wsigraph.cohort.metrics.stage_sets.MIN_OF_STAGE` held-out patients is compared with these alone, every other
        with all of them. Where left out, all are compared with all.

    Returns
    -------
    bool (n, K)
        A run of neighbouring stages without a gap; the likeliest always belongs.
    """
    _, n, n_stages = probability.shape
    inside = np.zeros((n, n_stages), bool)
    for k in range(n_stages):
        compared = compared_with(k, stage, len(score))
        better = np.zeros(n)
        for number in np.unique(member[compared]):
            scores = np.sort(score[compared & (member == number)])
            better += np.searchsorted(scores, 1.0 - probability[number, :, k], side="left")
        inside[:, k] = better < (1.0 - miscoverage) * (compared.sum() + 1)
    inside[np.arange(n), probability.mean(axis=0).argmax(axis=1)] = True
    return without_gaps(inside)


def recalibration_draws(
    logits: NDArray[np.float64], target: SurvivalTarget, *, rng: np.random.Generator, n_draws: int = N_BAND_DRAWS
) -> NDArray[np.float64]:
    """Return intercept and slope of held-out hazards, on bootstrap draws of the patients.

    Parameters
    ----------
    logits : float64 (n, T)
        Hazard logits of patients by the member not trained on them.
    target : SurvivalTarget
        Their follow-up by interval.
    rng : numpy.random.Generator
        Source of randomness.
    n_draws : int
        Draws.

    Returns
    -------
    float64 (n_draws, 2)
        Centred on intercept 0 and slope 1, for the band shows spread and must hold the curve itself.
    """
    died, at_risk = target.died.astype(np.float64), (target.died + target.survived).astype(np.float64)
    weights = rng.multinomial(len(logits), np.full(len(logits), 1 / len(logits)), n_draws).astype(np.float64)
    lines = _logistic_lines(np.concatenate([np.ones((1, len(logits))), weights]), logits, died, at_risk)
    return np.asarray(lines[1:] - lines[0] + np.array([0.0, 1.0]))


def _logistic_lines(
    weights: NDArray[np.float64],
    logits: NDArray[np.float64],
    died: NDArray[np.float64],
    at_risk: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return intercept and slope of every weighting, by Newton's steps under a slight ridge towards 0 and 1."""
    line = np.tile([0.0, 1.0], (len(weights), 1))
    for _ in range(_NEWTON_STEPS):
        sums = np.zeros((len(weights), 5))
        for k in range(logits.shape[1]):
            z = logits[:, k]
            expected = 1.0 / (1.0 + np.exp(-np.clip(line[:, :1] + line[:, 1:] * z, -30, 30)))
            residual = weights * (died[:, k] - at_risk[:, k] * expected)
            curvature = weights * at_risk[:, k] * expected * (1 - expected)
            sums += np.stack(
                [residual.sum(axis=1), residual @ z, curvature.sum(axis=1), curvature @ z, curvature @ z**2], axis=1
            )
        up, across, a, b, c = sums.T
        up, across = up - _RIDGE * line[:, 0], across - _RIDGE * (line[:, 1] - 1.0)
        a, c = a + _RIDGE, c + _RIDGE
        determinant = a * c - b * b
        step = np.stack([c * up - b * across, a * across - b * up], axis=1) / determinant[:, None]
        line = line + np.clip(step, -1.0, 1.0)
    return line


def survival_band(
    logits: Sequence[NDArray[np.float64]],
    draws: NDArray[np.float64],
    ends_days: Sequence[NDArray[np.float64]],
    at_days: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the pointwise 95 % band of one patient's survival.

    Parameters
    ----------
    logits : sequence of float64 (T,)
        Hazard logits of every member.
    draws : float64 (draws, 2)
        From `recalibration_draws`.
    ends_days : sequence of float64 (T,)
        Right ends of every member's intervals.
    at_days : float64 (m,)
        Days.

    Returns
    -------
    float64 (2, m)
        Lower and upper end.
    """
    curves = []
    for number in range(len(ends_days)):
        own = draws[number :: len(ends_days)]
        hazard_logit = own[:, :1] + own[:, 1:] * logits[number]
        survival = np.exp(-np.logaddexp(0.0, hazard_logit).cumsum(axis=1))
        curves.append(survival_between(ends_days[number], survival, at_days))
    return np.asarray(np.quantile(np.concatenate(curves), [0.025, 0.975], axis=0))
