"""Slope and thresholds of the stage offset: the ridge's, corrected by predictions out of part as far as they say.

The slope corrects a ridge that is too sure of itself, the thresholds its base rates. Fitted to a dozen patients, they
vary from fold to fold more than they correct, and folds end on different scales. So both have Gaussian priors, centred
at the ridge's own: slope 1, and its thresholds times the slope. The prior weighs about as much as 100 to 150
patients, so with thousands of them this is the maximum likelihood fit. Form and numbers were settled on scenario
``few_patients`` (docs/learning.md).

References
----------
Van Houwelingen and Le Cessie, "Predictive value of statistical models", Statistics in Medicine 1990 (shrinkage by a
calibration slope).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from wsigraph.training.cox_ridge import Table

SLOPE_LIMITS = (0.1, 3.0)
"""The slope never turns the offset round, whatever a small cohort says."""
_MIN_GAP = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationPrior:
    """How far a small cohort may move slope and thresholds.

    Attributes
    ----------
    slope : float
        Centre of the slope's prior.
    slope_sd : float
        Its standard deviation.
    threshold_sd : float
        Standard deviation of the prior of each threshold, a logit.
    """

    slope: float = 1.0
    slope_sd: float = 0.2
    threshold_sd: float = 0.2


PRIOR = CalibrationPrior()
"""Settled on simulated cohorts of 7 to 300 patients."""


def calibrate_stage(
    score: Table, stage: NDArray[np.int64], threshold: Table, prior: CalibrationPrior = PRIOR
) -> tuple[float, Table]:
    """Return slope and thresholds of greatest posterior density; the logits are slope times score minus threshold.

    Parameters
    ----------
    score : float64 (n,)
        Scores out of part, of rows of known stage.
    stage : int64 (n,)
        0 to K - 1.
    threshold : float64 (K - 1,)
        Of the ridge, rising.
    prior : CalibrationPrior
        Of slope and thresholds.

    Returns
    -------
    slope : float
        Within `SLOPE_LIMITS`.
    threshold : float64 (K - 1,)
        Rising.
    """
    centre = prior.slope
    by_slope, by_threshold = prior.slope_sd**-2, prior.threshold_sd**-2
    n_edges = len(threshold) + 2

    def loss(values: Table) -> tuple[float, Table]:
        slope, raw = values[0], values[1:]
        edges = np.concatenate([[-np.inf], _rising(raw), [np.inf]])
        # P(stage) = s(slope score - lower) - s(slope score - upper)
        lower, upper = expit(slope * score - edges[stage]), expit(slope * score - edges[stage + 1])
        own = np.maximum(lower - upper, 1e-12)
        to_lower, to_upper = lower * (1 - lower) / own, upper * (1 - upper) / own
        at_edges = np.bincount(stage, weights=to_lower, minlength=n_edges) - np.bincount(
            stage + 1, weights=to_upper, minlength=n_edges
        )
        moved = edges[1:-1] - slope * threshold
        d_edges = at_edges[1:-1] + by_threshold * moved
        d_slope = (to_upper - to_lower) @ score + by_slope * (slope - centre) - by_threshold * threshold @ moved
        later = np.cumsum(d_edges[::-1])[::-1]
        d_raw = np.concatenate([later[:1], later[1:] * np.exp(raw[1:])])
        value = -np.log(own).sum() + 0.5 * by_slope * (slope - centre) ** 2 + 0.5 * by_threshold * moved @ moved
        return float(value), np.concatenate([[d_slope], d_raw])

    first = centre * threshold
    start = np.concatenate([[centre], first[:1], np.log(np.maximum(np.diff(first), _MIN_GAP))])
    fitted = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    slope = float(np.clip(fitted[0], *SLOPE_LIMITS))
    return slope, _rising(fitted[1:])


def _rising(raw: Table) -> Table:
    """Return rising thresholds from the first and the logarithms of the gaps."""
    return np.cumsum(np.concatenate([raw[:1], np.exp(raw[1:])]))
