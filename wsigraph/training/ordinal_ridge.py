"""Ridge regression of an ordered stage: proportional odds, averaged over three penalties of which none is chosen.

With a few dozen patients, choosing a penalty inside the training rows is mostly chance. A mean over three needs no
choice. With two stages this is a ridge logistic regression.

References
----------
McCullagh, "Regression models for ordinal data", JRSS B 1980.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from wsigraph.training.cox_ridge import Table

STAGE_PENALTIES = (0.1, 1.0, 10.0)
"""Penalties per patient and on standardised columns; settled on scenarios ``few_patients`` and ``hospital``."""
_MIN_GAP = 1e-3


def ordinal_ridge(
    x: Table, stage: NDArray[np.int64], n_stages: int, penalties: Sequence[float] = STAGE_PENALTIES
) -> tuple[Table, Table]:
    """Return weights and thresholds of a proportional-odds ridge.

    Parameters
    ----------
    x : float64 (n, p)
        Standardised covariates of rows of known stage.
    stage : int64 (n,)
        0 to K - 1.
    n_stages : int
        K.
    penalties : sequence of float
        Weights and thresholds are averaged over them.

    Returns
    -------
    weight : float64 (p,)
        Of the score.
    threshold : float64 (K - 1,)
        Rising; the logit of lying beyond the k-th stage is score minus threshold.
    """
    counts = np.bincount(stage, minlength=n_stages) + 0.5
    beyond = 1.0 - np.cumsum(counts)[:-1] / counts.sum()
    start = -np.log(beyond / (1.0 - beyond))
    if len(np.unique(stage)) < 2 or not x.shape[1]:
        return np.zeros(x.shape[1]), start
    axes = None
    if x.shape[1] > len(x):
        _, size, axes = np.linalg.svd(x, full_matrices=False)
        axes = axes[size > 1e-9 * size[0]]
        x = x @ axes.T
    fits = [_fit(x, stage, start, penalty) for penalty in penalties]
    weight = np.mean([fitted for fitted, _ in fits], axis=0)
    threshold = np.mean([fitted for _, fitted in fits], axis=0)
    return weight if axes is None else np.asarray(axes.T @ weight), threshold


def _fit(x: Table, stage: NDArray[np.int64], start: Table, penalty: float) -> tuple[Table, Table]:
    n, p = x.shape
    first = np.concatenate([start[:1], np.log(np.diff(start) + _MIN_GAP)])

    def loss(values: Table) -> tuple[float, Table]:
        weight, raw = values[:p], values[p:]
        threshold = np.cumsum(np.concatenate([raw[:1], np.exp(raw[1:])]))
        score = x @ weight
        edges = np.concatenate([[-np.inf], threshold, [np.inf]])
        # P(stage) = s(score - lower) - s(score - upper)
        lower, upper = expit(score - edges[stage]), expit(score - edges[stage + 1])
        own = np.maximum(lower - upper, 1e-12)
        slope_lower, slope_upper = lower * (1 - lower) / own, upper * (1 - upper) / own
        by_score = slope_upper - slope_lower
        by_edge = np.bincount(stage, weights=slope_lower, minlength=len(edges)) - np.bincount(
            stage + 1, weights=slope_upper, minlength=len(edges)
        )
        by_threshold = by_edge[1:-1] / n
        later = np.cumsum(by_threshold[::-1])[::-1]
        by_raw = np.concatenate([later[:1], later[1:] * np.exp(raw[1:])])
        value = -np.log(own).mean() + 0.5 * penalty * weight @ weight
        return float(value), np.concatenate([x.T @ by_score / n + penalty * weight, by_raw])

    result = minimize(loss, np.concatenate([np.zeros(p), first]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    raw = result.x[p:]
    return result.x[:p], np.cumsum(np.concatenate([raw[:1], np.exp(raw[1:])]))
