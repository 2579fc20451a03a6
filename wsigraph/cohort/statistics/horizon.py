"""Predicted survival at a day against what came: calibration, net benefit, and curves by risk.

Observed survival is Kaplan and Meier's, so that the censored count for as long as they were followed. Net benefit
(Vickers and Elkin, Medical Decision Making 2006; with censoring, Vickers et al., BMC Medical Informatics 2008) weighs
events found against patients treated for nothing at the odds of the threshold at which one would treat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.metrics.survival import log_rank
from wsigraph.cohort.statistics.external_only import followed, risk_group
from wsigraph.cohort.statistics.frame import horizons
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 19))
"""Probabilities of the event at which net benefit is asked."""


def log_rank_by_risk(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the log-rank statistic of high against low risk, stratified by fold, and its p-value.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, a row a patient.

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


def calibration_at(frame: pd.DataFrame, day: int, n_bins: int = 5) -> pd.DataFrame:
    """Return predicted against observed probability of the event by a day.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, a row a patient.
    day : int
        One of the frame's horizons.
    n_bins : int
        Groups of equally many patients, by predicted probability.

    Returns
    -------
    pandas.DataFrame
        A row a group: ``predicted`` (mean), ``observed``, ``low``, ``high`` (Kaplan and Meier with Greenwood's 95 %
        interval on the log-log scale, NaN where all died), ``n``, ``n_events``. ``observed`` is NaN where nobody of
        the group was followed until then and some had not died.

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


def _at(frame: pd.DataFrame, day: int) -> tuple[pd.DataFrame, np.ndarray]:
    known = followed(frame)
    name = f"survival_{day:d}"
    if name not in known.columns or known[name].isna().all():
        raise CohortError(
            f"no survival at day {day}; this frame has {horizons(frame)}, and none beyond the model's last interval: "
            "load it with horizons_days=[...]"
        )
    known = known[known[name].notna()]
    return known, 1.0 - known[name].to_numpy(float)


def _group(part: pd.DataFrame, probability: np.ndarray, day: int) -> dict[str, float | int]:
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


def decision_curve(frame: pd.DataFrame, day: int, thresholds: Sequence[float] = THRESHOLDS) -> pd.DataFrame:
    """Return the net benefit of treating whoever the model says will have the event by a day.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, a row a patient.
    day : int
        One of the frame's horizons.
    thresholds : sequence of float
        Probabilities in (0, 1) from which on one would treat.

    Returns
    -------
    pandas.DataFrame
        A row a threshold: ``threshold``, ``model``, ``all`` (everybody is treated), ``none`` (0), each in events
        found a patient; ``n_treated``. A model is of use where its line lies above both others.

    Raises
    ------
    CohortError
        If the frame has no such horizon, a threshold is outside (0, 1), or as `followed`.
    """
    import pandas as pd

    if not all(0.0 < each < 1.0 for each in thresholds):
        raise CohortError(f"thresholds are {list(thresholds)}, expected probabilities between 0 and 1")
    known, probability = _at(frame, day)
    everybody = np.ones(len(known), bool)
    rows = [
        {
            "threshold": each,
            "model": _net_benefit(known, probability >= each, day, each),
            "all": _net_benefit(known, everybody, day, each),
            "none": 0.0,
            "n_treated": int((probability >= each).sum()),
        }
        for each in thresholds
    ]
    return pd.DataFrame(rows)


def _net_benefit(known: pd.DataFrame, treated: np.ndarray, day: int, threshold: float) -> float:
    if not treated.any():
        return 0.0
    part = known[treated]
    steps = kaplan_meier(part["time_days"].to_numpy(float), part["event"].to_numpy(bool))
    survival = float(steps.survival_at(np.array([float(day)]))[0])
    return float(treated.mean() * ((1.0 - survival) - survival * threshold / (1.0 - threshold)))
