"""Calibration: whether events happen as often as predicted.

Stage: being beyond each stage is an outcome with a probability of its own; slope and intercept of a logistic fit on its
logit are 1 and 0 where the probabilities are true (Cox 1958), and the curve shows where they are not. Survival:
D-calibration (Haider et al., "Effective ways to build and evaluate individual survival distributions", JMLR 2020): the
predicted survival at a patient's own day of the event is uniform; a censored patient spreads over what is left below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from wsigraph.cohort.metrics.concordance import all_once

_NEWTON_STEPS = 25
_SMALL = 1e-6


def beyond_each_stage(
    probability: NDArray[np.float64], stage: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return probability and outcome of lying beyond each stage but the last, for patients of known stage.

    Parameters
    ----------
    probability : float64 (n, K)
        Of every stage.
    stage : int64 (n,)
        True stage, -1 where unknown.

    Returns
    -------
    probability, outcome : float64 (m * (K - 1),)
        Of the m patients of known stage.
    """
    known = stage >= 0
    beyond = 1.0 - np.cumsum(probability[known], axis=1)[:, :-1]
    outcome = stage[known][:, None] > np.arange(probability.shape[1] - 1)
    return np.clip(beyond, 0.0, 1.0).ravel(), outcome.astype(np.float64).ravel()


def calibration_line(
    probability: NDArray[np.float64], outcome: NDArray[np.float64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return intercept and slope of the outcome's logit on the stated logit.

    Parameters
    ----------
    probability : float64 (n,)
        Stated.
    outcome : float64 (n,)
        1 if the outcome happened.
    weights : float64 (draws, n), optional
        Weight of each row in each draw.

    Returns
    -------
    float64 (draws, 2)
        Intercept and slope; a slope below 1 means overconfidence. NaN if the fit does not exist.
    """
    counted = all_once(len(outcome)) if weights is None else weights
    clipped = np.clip(probability, _SMALL, 1 - _SMALL)
    logit = np.log(clipped / (1 - clipped))
    # from no slope, where the curvature is greatest, Newton's steps do not overshoot
    line = np.zeros((len(counted), 2))
    step = np.zeros_like(line)
    for _ in range(_NEWTON_STEPS):
        expected = 1.0 / (1.0 + np.exp(-np.clip(line[:, :1] + line[:, 1:] * logit, -30, 30)))
        residual = counted * (outcome - expected)
        curvature = counted * expected * (1 - expected)
        a, b, c = curvature.sum(axis=1), curvature @ logit, curvature @ logit**2
        determinant = a * c - b * b
        solvable = determinant > _SMALL * np.maximum(a * c, 1e-300)
        up, across = residual.sum(axis=1), residual @ logit
        step = np.stack([c * up - b * across, a * across - b * up], axis=1)
        step = np.divide(step, determinant[:, None], out=np.full_like(step, np.nan), where=solvable[:, None])
        line = line + np.clip(step, -1.0, 1.0)
        if not (np.abs(step) > 1e-9).any():
            break
    # for separated outcomes the slope diverges
    return np.where((np.abs(step) < _SMALL).all(axis=1, keepdims=True), line, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CalibrationCurve:
    """Predicted and observed probability, in bins of equally many rows.

    Attributes
    ----------
    stated, observed : float64 (bins,)
        Mean predicted probability and observed fraction.
    n : int64 (bins,)
        Number of rows in each bin.
    """

    stated: NDArray[np.float64]
    observed: NDArray[np.float64]
    n: NDArray[np.int64]


def calibration_curve(
    probability: NDArray[np.float64], outcome: NDArray[np.float64], n_bins: int = 10
) -> CalibrationCurve:
    """Return the calibration curve of stated probabilities.

    Parameters
    ----------
    probability, outcome : float64 (n,)
        Stated probability, and 1 where it came true.
    n_bins : int
        Most bins.

    Returns
    -------
    CalibrationCurve
        By rising probability.
    """
    parts = [part for part in np.array_split(np.argsort(probability, kind="stable"), n_bins) if len(part)]
    return CalibrationCurve(
        stated=np.array([probability[part].mean() for part in parts]),
        observed=np.array([outcome[part].mean() for part in parts]),
        n=np.array([len(part) for part in parts], np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DCalibration:
    """D-calibration: whether predicted survival at the patients' own last days is uniform.

    Attributes
    ----------
    fraction : float64 (bins,)
        Fraction of the patients in each bin of survival, from 0 to 1.
    deviation : float
        Largest difference between a fraction and the uniform one.
    p : float
        Of the chi-squared test with bins - 1 degrees of freedom.
    """

    fraction: NDArray[np.float64]
    deviation: float
    p: float


def d_calibration(survival: NDArray[np.float64], event: NDArray[np.bool_], n_bins: int = 10) -> DCalibration:
    """Return the D-calibration of predicted survival.

    Parameters
    ----------
    survival : float64 (n,)
        Predicted survival at the patient's own last day, in [0, 1].
    event : bool (n,)
        Whether that day brought the event; False for censored.
    n_bins : int
        Bins of survival.

    Returns
    -------
    DCalibration
        One censored at survival s counts in the bins below s in proportion to their length.
    """
    edges = np.arange(n_bins + 1) / n_bins
    clipped = np.clip(survival, _SMALL, 1.0)
    inside = np.clip(np.ceil(clipped * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    exact = np.bincount(inside[event], minlength=n_bins).astype(np.float64)
    left = clipped[~event, None]
    below = np.clip(left - edges[:-1], 0.0, 1.0 / n_bins) / left
    count = exact + below.sum(axis=0)
    expected = len(survival) / n_bins
    statistic = float(((count - expected) ** 2 / expected).sum())
    fraction = count / len(survival)
    return DCalibration(
        fraction=fraction, deviation=float(np.abs(fraction - 1 / n_bins).max()), p=float(chdtrc(n_bins - 1, statistic))
    )
