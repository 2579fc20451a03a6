"""Bootstrap confidence intervals over patients, and permutation p-values.

A draw is a row of integer weights: how often each patient counts. All scores of all baselines use the same draws, so
that differences are paired (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Patients are drawn within
their fold. If folds are made of sites, whole sites are drawn instead, because patients of one site are alike.
Percentile intervals of a cluster bootstrap are rough below about ten sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_DRAWS = 2000
"""Draws of every reported interval."""
_LEAST_DEFINED = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score with its confidence interval.

    Attributes
    ----------
    value : float
        Score of the original sample.
    low, high : float
        Ends of the 95 % percentile confidence interval; NaN if the score is undefined in over a tenth of the draws.
    """

    value: float
    low: float
    high: float

    @property
    def is_above(self) -> bool:
        """Whether the lower end of the interval is above 0, for a paired difference."""
        return self.low > 0

    def is_no_loss(self, margin: float) -> bool:
        """Return whether the lower end of a paired difference is above ``-margin``."""
        return self.low > -margin


def draw_weights(
    stratum: NDArray[np.int64],
    *,
    cluster: NDArray[np.int64] | None = None,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return how often each patient counts in the original sample and in every draw.

    Parameters
    ----------
    stratum : int64 (n,)
        Fold of every patient; the size of each fold is kept.
    cluster : int64 (n,), optional
        Site of every patient. If given, whole sites are drawn with replacement, regardless of folds.
    n_draws : int
        Draws.
    rng : numpy.random.Generator
        Random source.

    Returns
    -------
    float64 (1 + n_draws, n)
        The first row is all ones, the original sample.
    """
    n = len(stratum)
    weights = np.ones((1 + n_draws, n))
    if cluster is not None:
        number = np.unique(cluster, return_inverse=True)[1]
        n_clusters = int(number.max()) + 1 if n else 0
        weights[1:] = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_draws)[:, number]
        return weights
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        weights[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), n_draws)
    return weights


def estimate(values: NDArray[np.float64]) -> Estimate:
    """Return a score with its confidence interval.

    Parameters
    ----------
    values : float64 (1 + draws,)
        The score under every row of `draw_weights`.

    Returns
    -------
    Estimate
        Percentile interval over the draws in which the score is defined.
    """
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or len(drawn) < _LEAST_DEFINED * max(1, len(values) - 1):
        return Estimate(float(values[0]), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def permutation_p(
    statistic: Callable[[NDArray[np.int64]], float],
    stratum: NDArray[np.int64],
    *,
    n_permutations: int = 999,
    rng: np.random.Generator,
) -> float:
    """Return the one-sided p-value of a score against chance.

    Parameters
    ----------
    statistic : callable
        From an order of the patients, int64 (n,), to a score; larger is better. The identity gives the score itself.
    stratum : int64 (n,)
        Patients are permuted within their stratum.
    n_permutations : int
        Permutations.
    rng : numpy.random.Generator
        Random source.

    Returns
    -------
    float
        ``(1 + number of permutations that score as high) / (1 + permutations)``, never 0 (Phipson and Smyth 2010).
    """
    identity = np.arange(len(stratum))
    observed = statistic(identity)
    members = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    as_high = 0
    for _ in range(n_permutations):
        order = identity.copy()
        for rows in members:
            order[rows] = rng.permutation(rows)
        as_high += statistic(order) >= observed
    return (1 + as_high) / (1 + n_permutations)
