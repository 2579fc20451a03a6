"""Predicted survival at a horizon: calibration, net benefit, and the log-rank test by risk.

Observed survival is the Kaplan-Meier estimate, so censored patients count while they are followed. Net benefit
(Vickers and Elkin, Medical Decision Making 2006; with censoring, Vickers et al., BMC Medical Informatics 2008) is the
rate of true positives less that of false positives, weighted by the odds of the treatment threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.metrics.survival import log_rank
from wsigraph.cohort.statistics.external_only import followed, risk_group
from wsigraph.cohort.statistics.frame import horizons, survival_column
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 19))
"""Thresholds of the event probability for decision curves."""


def log_rank_by_risk(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the log-rank statistic of high against low risk, stratified by fold, and its p-value.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.

    Returns
    -------
    statistic, p : float
        Chi-squared with one degree of freedom.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.risk_group`.
    """
    known = followed(frame)
    high = (risk_group(known) == "high").to_numpy(np.int64)
    days, event, fold = (known[name].to_numpy() for name in ("time_days", "event", "fold"))
    return log_rank(days, event, high, stratum=fold)


def calibration_at(frame: pd.DataFrame, day: float, n_bins: int = 5) -> pd.DataFrame:
    """Return predicted and observed probability of the event by a day.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    day : float
        One of the frame's horizons.
    n_bins : int
        Groups of equally many patients, by predicted probability.

    Returns
    -------
    pandas.DataFrame
        One row per group: ``predicted`` (mean), ``observed``, ``low``, ``high`` (Kaplan-Meier with Greenwood's 95 %
        interval on the log-log scale, NaN if all died), ``n``, ``n_events``. ``observed`` is NaN if
        nobody in the group was followed until then and some had not died.

    Raises
    ------
    CohortError
        If the frame has no such horizon, or as `followed`.
    """
    import pandas as pd

    known, probability = _at(frame, day)
    order = np.argsort(probability, kind="stable")
    parts = [part for part in np.array_split(order, n_bins) if len(part)]
    return pd.DataFrame([_group(known.iloc[part], probability[part], day) for part in parts])


def _at(frame: pd.DataFrame, day: float) -> tuple[pd.DataFrame, np.ndarray]:
    known = followed(frame)
    name = survival_column(day)
    if name not in known.columns or known[name].isna().all():
        raise CohortError(
            f"no survival at day {day:g}; this frame has {horizons(frame)}, and none beyond the model's last interval: "
            "load it with horizons_days=[...]"
        )
    known = known[known[name].notna()]
    return known, 1.0 - known[name].to_numpy(float)


def _group(part: pd.DataFrame, probability: np.ndarray, day: float) -> dict[str, float | int]:
    row = {"predicted": float(probability.mean()), "observed": np.nan, "low": np.nan, "high": np.nan}
    time_days, event = part["time_days"].to_numpy(float), part["event"].to_numpy(bool)
    early = event & (time_days <= day)
    # follow-up is cut at the day, so the last step is that of the day
    steps = kaplan_meier(np.minimum(time_days, day), early)
    survival, low, high = (float(band[-1]) if len(band) else 1.0 for band in (steps.survival, steps.low, steps.high))
    if survival == 0.0:
        row["observed"] = 1.0
    elif time_days.max() >= day:
        row |= {"observed": 1.0 - survival, "low": 1.0 - high, "high": 1.0 - low}
    return {**row, "n": len(part), "n_events": int(early.sum())}


def decision_curve(frame: pd.DataFrame, day: float, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Return the net benefit of treating patients whom the model predicts to have the event by a day.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    day : float
        One of the frame's horizons.
    thresholds : sequence of float
        Treatment thresholds, probabilities in (0, 1).

    Returns
    -------
    pandas.DataFrame
        One row per threshold: ``threshold``, ``model``, ``all`` (everybody is treated), ``none`` (0), in net true
        positives per patient; ``n_treated``. A model is useful where its line is above both others.

    Raises
    ------
    CohortError
        If the frame has no such horizon, a threshold is outside (0, 1), or as `followed`.
    """
    import pandas as pd

    if not all(0.0 < threshold < 1.0 for threshold in thresholds):
        raise CohortError(f"thresholds are {list(thresholds)}, expected probabilities between 0 and 1")
    known, probability = _at(frame, day)
    everybody = np.ones(len(known), bool)
    rows = [
        {
            "threshold": threshold,
            "model": _net_benefit(known, probability >= threshold, day, threshold),
            "all": _net_benefit(known, everybody, day, threshold),
            "none": 0.0,
            "n_treated": int((probability >= threshold).sum()),
        }
        for threshold in thresholds
    ]
    return pd.DataFrame(rows)


def _net_benefit(known: pd.DataFrame, treated: np.ndarray, day: float, threshold: float) -> float:
    if not treated.any():
        return 0.0
    part = known[treated]
    steps = kaplan_meier(part["time_days"].to_numpy(float), part["event"].to_numpy(bool))
    survival = float(steps.survival_at(np.array([float(day)]))[0])
    return float(treated.mean() * ((1.0 - survival) - survival * threshold / (1.0 - threshold)))
