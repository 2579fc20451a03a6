"""Kaplan-Meier's curve with its pointwise band, for a page that draws it beside a prediction.

References
----------
Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 1958; Kalbfleisch and Prentice, "The
statistical analysis of failure time data", 1980 (band on the log-log scale with Greenwood's variance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurvivalSteps:
    """An estimated survival curve.

    Attributes
    ----------
    time_days : float64 (J,)
        Distinct times of events, days.
    survival, low, high : float64 (J,)
        Survival from each time on, and its pointwise 95 % band.
    n_patients, n_events : int
        What it was estimated from.
    """

    time_days: NDArray[np.float64]
    survival: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_patients: int
    n_events: int


def kaplan_meier(time_days: NDArray[np.float64], event: NDArray[np.bool_]) -> SurvivalSteps:
    """Return the estimate from follow-up that may be censored.

    Parameters
    ----------
    time_days : float64 (n,)
        Follow-up, days; NaN where unknown, and then left out.
    event : bool (n,)
        Whether it ended with the event.

    Returns
    -------
    SurvivalSteps
        No steps where there is no event.
    """
    known = np.isfinite(time_days)
    time_days, event = time_days[known], event[known]
    days, where = np.unique(time_days, return_inverse=True)
    died = np.bincount(where, event, len(days)) if len(days) else np.zeros(0)
    left = np.bincount(where, minlength=len(days)) if len(days) else np.zeros(0)
    at_risk = len(time_days) - np.concatenate([[0], np.cumsum(left)[:-1]]) if len(days) else np.zeros(0)
    steps = died > 0
    days, died, at_risk = days[steps], died[steps], at_risk[steps]
    survival = np.cumprod(1 - died / at_risk) if len(days) else np.zeros(0)
    remaining = at_risk - died
    greenwood = np.cumsum(np.divide(died, at_risk * remaining, out=np.zeros(len(days)), where=remaining > 0))
    # where all have died the band is degenerate, as the curve is
    inside = (survival > 0) & (survival < 1)
    log_survival = np.log(np.where(inside, survival, 0.5))
    spread = np.exp(_Z * np.sqrt(greenwood) / np.abs(log_survival))
    low, high = (np.where(inside, np.exp(log_survival * factor), survival) for factor in (spread, 1 / spread))
    return SurvivalSteps(
        time_days=days,
        survival=np.asarray(survival),
        low=np.asarray(low),
        high=np.asarray(high),
        n_patients=len(time_days),
        n_events=int(event.sum()),
    )
