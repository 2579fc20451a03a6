"""Calibration of predicted survival on patients of another cohort, and a baseline hazard fitted to them.

In the large: events over the events that were expected, the sum of the predicted cumulative hazards at each patient's
last day (Crowson, Atkinson and Therneau, "Assessing calibration of prognostic risk scores", Statistical Methods in
Medical Research 2016). Slope: the coefficient of the predicted risk, a log cumulative hazard, in a Cox model of the new
patients (van Houwelingen, "Validation, calibration, revision and combination of prognostic survival models", Statistics
in Medicine 2000). Below 1, predictions are too extreme. With slope and Breslow's baseline hazard of the new patients,
the same risks predict survival there. Ties are Breslow's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.concordance import all_once, ratio

_NEWTON_STEPS = 30


def observed_over_expected(
    cumulative_hazard: NDArray[np.float64], event: NDArray[np.bool_], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return events over expected events.

    Parameters
    ----------
    cumulative_hazard : float64 (n,)
        Predicted, at each patient's last day.
    event : bool (n,)
        Whether follow-up ended with the event.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        1 where as many died as predicted, above 1 where more did; NaN where no event is expected.
    """
    counted = all_once(len(event)) if weights is None else weights
    return ratio(counted @ event.astype(np.float64), counted @ cumulative_hazard)


def calibration_slope(
    risk: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    *,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the Cox coefficient of the predicted risk.

    Parameters
    ----------
    risk : float64 (n,)
        Log cumulative hazard, predicted.
    time_days, event
        Follow-up of the n patients.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        1 where risks differ as predicted; NaN where there is no event, one risk alone, or the fit diverges.
    """
    counted = all_once(len(risk)) if weights is None else weights
    order = np.argsort(-time_days, kind="stable")
    x, w, died, days = risk[order] - risk.mean(), counted[:, order], event[order], time_days[order]
    # the last row of each day: everybody followed at least as long comes before it
    last = np.searchsorted(-days, -days, side="right") - 1
    slope = np.zeros(len(w))
    step = np.full(len(w), np.nan)
    for _ in range(_NEWTON_STEPS):
        z = slope[:, None] * x
        hazard = w * np.exp(np.clip(z - z.max(axis=1, keepdims=True), -700.0, 0.0))
        sums = [np.cumsum(hazard * x**power, axis=1)[:, last][:, died] for power in range(3)]
        mean = np.divide(sums[1], sums[0], out=np.zeros_like(sums[0]), where=sums[0] > 0)
        square = np.divide(sums[2], sums[0], out=np.zeros_like(sums[0]), where=sums[0] > 0)
        gradient = (w[:, died] * (x[died] - mean)).sum(axis=1)
        curvature = (w[:, died] * (square - mean**2)).sum(axis=1)
        step = np.divide(gradient, curvature, out=np.full_like(slope, np.nan), where=curvature > 1e-12)
        slope = slope + np.clip(step, -2.0, 2.0)
        if not (np.abs(step) > 1e-10).any():
            break
    return np.where(np.abs(step) < 1e-6, slope, np.nan)


def breslow_cumulative_hazard(
    log_ratio: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    at_days: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the cumulative baseline hazard of patients with known hazard ratios.

    Parameters
    ----------
    log_ratio : float64 (n,)
        Log hazard ratio to the baseline.
    time_days, event
        Follow-up of the n patients.
    at_days : float64 (m,)
        Days at which to evaluate.

    Returns
    -------
    float64 (m,)
        Breslow's estimate; it stays constant after the last event.
    """
    days = np.unique(time_days[event])
    ratios = np.exp(log_ratio)
    at_risk = np.array([ratios[time_days >= day].sum() for day in days])
    died = np.array([(event & (time_days == day)).sum() for day in days])
    cumulative = np.concatenate([[0.0], np.cumsum(died / np.maximum(at_risk, 1e-300))])
    return np.asarray(cumulative[np.searchsorted(days, at_days, side="right")])
