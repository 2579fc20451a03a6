"""Scores of predicted survival under right censoring.

Higher risk is worse, so a model worse than chance is below 0.5. If patients were scored by different models (folds),
only pairs within a `stratum` are compared, because risks from different models are on different scales. Uno's C,
the time-dependent area and the Brier score weight by the inverse probability of not being censored (IPCW), with the
censoring distribution estimated by Kaplan and Meier, events coming before censorings of the same day.

References: Harrell et al., JAMA 1982; Uno et al., "On the C-statistics for evaluating overall adequacy of risk
prediction procedures with censored survival data", Statistics in Medicine 2011; Uno et al., JASA 2007 (cumulative
area); Graf et al., Statistics in Medicine 1999 (Brier score); Mantel 1966 (log-rank).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from wsigraph.cohort.metrics.concordance import all_once, area_under_curve, concordance, dense_rank, ratio
from wsigraph.cohort.metrics.kaplan_meier import product_limit


def log_cumulative_hazard(survival: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the risk, ``log(-log S)``, finite for any survival.

    Parameters
    ----------
    survival : float64, any shape
        Survival probability in [0, 1].

    Returns
    -------
    float64, same shape
        Log cumulative hazard; higher is worse. The cumulative hazard is bounded below by the smallest float32 and
        above by that of survival 1e-300.
    """
    cumulative = -np.log(np.clip(survival, 1e-300, 1.0))
    return np.asarray(np.log(np.maximum(cumulative, np.finfo(np.float32).tiny)))


def c_index(
    risk: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    *,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return Harrell's C-index.

    Parameters
    ----------
    risk : float64 (n,)
        Higher is worse.
    time_days : float64 (n,)
        Follow-up.
    event : bool (n,)
        Whether follow-up ended with the event.
    stratum : int64 (n,), optional
        Only pairs within a stratum are compared.
    weights : float64 (draws, n), optional
        How often each patient counts; once by default.

    Returns
    -------
    float64 (draws,)
        Fraction of comparable pairs in which the patient who died first had the higher risk. Ties of risk count half;
        two events of one day are not compared. NaN for a draw without comparable pairs.
    """
    counted = all_once(len(risk)) if weights is None else weights
    return ratio(*_pairs(risk, time_days, event, stratum, counted, counted))


def comparable_pairs(
    time_days: NDArray[np.float64], event: NDArray[np.bool_], *, stratum: NDArray[np.int64] | None = None
) -> int:
    """Return the number of pairs that a C-index compares.

    Parameters
    ----------
    time_days, event
        As in `c_index`.
    stratum : int64 (n,), optional
        Pairs are formed within it.

    Returns
    -------
    int
        Pairs of a patient with an event and one who was followed longer, or was censored on the same day.
    """
    strata = np.zeros(len(time_days), np.int64) if stratum is None else stratum
    pairs = 0
    for value in np.unique(strata):
        rows = strata == value
        days, died = time_days[rows], event[rows]
        longer = len(days) - np.searchsorted(np.sort(days), days[died], side="right")
        censored = np.sort(days[~died])
        same_day = np.searchsorted(censored, days[died], side="right") - np.searchsorted(censored, days[died])
        pairs += int(longer.sum() + same_day.sum())
    return pairs


def uno_c(
    risk: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    *,
    until_days: float | None = None,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return Uno's C-index, which does not depend on when patients were censored.

    Parameters
    ----------
    risk, time_days, event
        As in `c_index`.
    until_days : float, optional
        Events from this day on do not count; all count where left out.
    stratum, weights
        As in `c_index`.

    Returns
    -------
    float64 (draws,)
        NaN for a draw without comparable pairs.
    """
    counted = all_once(len(risk)) if weights is None else weights
    uncensored = not_censored(time_days, event, time_days, counted)
    factor = ratio(np.ones_like(counted), uncensored**2)
    early = event if until_days is None else event & (time_days < until_days)
    query = np.where(early & np.isfinite(factor), counted * factor, 0.0)
    return ratio(*_pairs(risk, time_days, event, stratum, query, counted))


def _pairs(
    risk: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    stratum: NDArray[np.int64] | None,
    query_weight: NDArray[np.float64],
    tree_weight: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return concordance(
        risk,
        # from the last day on: patients in the tree lived longer, including those censored on the day of the event
        -dense_rank(time_days),
        np.zeros(len(risk), np.int64) if stratum is None else stratum,
        first=~event,
        query=event,
        query_weight=query_weight,
        tree_weight=tree_weight,
    )


def not_censored(
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    at_days: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the probability of not being censored before a day.

    Parameters
    ----------
    time_days, event
        Follow-up of the n patients.
    at_days : float64 (m,)
        Days at which to evaluate.
    weights : float64 (draws, n)
        How often each patient counts.

    Returns
    -------
    float64 (draws, m)
        Kaplan and Meier's estimate just before each day.
    """
    order = np.argsort(time_days, kind="stable")
    days, starts = np.unique(time_days[order], return_index=True)
    sorted_weights, sorted_event = weights[:, order], event[order]
    total = np.add.reduceat(sorted_weights, starts, axis=1)
    died = np.add.reduceat(sorted_weights * sorted_event, starts, axis=1)
    at_risk = np.cumsum(total[:, ::-1], axis=1)[:, ::-1] - died
    remaining = product_limit(total - died, at_risk)
    before = np.concatenate([np.ones((len(weights), 1)), remaining], axis=1)
    return np.asarray(before[:, np.searchsorted(days, at_days, side="left")])


def time_auc(
    risk: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    at_days: NDArray[np.float64],
    *,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the cumulative, dynamic area under the curve at some days.

    Parameters
    ----------
    risk : float64 (n,) or (n, m)
        Higher is worse. A model of hazards by interval ranks patients differently at different days: give one minus its
        survival to each day.
    time_days, event
        As in `c_index`.
    at_days : float64 (m,)
        Days. Patients with the event by then are compared with those still alive.
    stratum, weights
        As in `c_index`.

    Returns
    -------
    float64 (draws, m)
        NaN without pairs.
    """
    counted = all_once(len(risk)) if weights is None else weights
    uncensored = not_censored(time_days, event, time_days, counted)
    case_weight = np.divide(counted, uncensored, out=np.zeros_like(counted), where=event & (uncensored > 0))
    by_day = np.broadcast_to(risk.reshape(len(risk), -1), (len(risk), len(at_days)))
    areas = [
        area_under_curve(
            np.ascontiguousarray(by_day[:, k]),
            case_weight * (time_days <= day),
            counted * (time_days > day),
            stratum=stratum,
        )
        for k, day in enumerate(at_days)
    ]
    return np.stack(areas, axis=1)


def survival_between(
    ends_days: NDArray[np.float64], survival: NDArray[np.float64], at_days: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return survival at any day from survival at the ends of intervals.

    Parameters
    ----------
    ends_days : float64 (T,)
        Rising right ends.
    survival : float64 (n, T)
        Survival to each.
    at_days : float64 (m,)
        Days at which to evaluate; survival is constant after the last end.

    Returns
    -------
    float64 (n, m)
        The hazard rate is constant within an interval, so log survival is linear.
    """
    days = np.concatenate([[0.0], ends_days])
    logs = np.log(np.concatenate([np.ones((len(survival), 1)), np.maximum(survival, 1e-12)], axis=1))
    clipped = np.clip(at_days, 0.0, ends_days[-1])
    right = np.clip(np.searchsorted(days, clipped, side="left"), 1, len(days) - 1)
    fraction = (clipped - days[right - 1]) / (days[right] - days[right - 1])
    return np.asarray(np.exp(logs[:, right - 1] * (1 - fraction) + logs[:, right] * fraction))


def brier_scores(
    survival: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    at_days: NDArray[np.float64],
    *,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the mean squared error of survival at some days.

    Parameters
    ----------
    survival : float64 (n, m)
        Predicted survival to each day.
    time_days, event
        Follow-up.
    at_days : float64 (m,)
        Days.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws, m)
        0 is perfect; predicting one half for everybody gives 0.25.
    """
    counted = all_once(len(time_days)) if weights is None else weights
    own = not_censored(time_days, event, time_days, counted)
    inverse_own = np.divide(1.0, own, out=np.zeros_like(own), where=own > 0)
    # just after the day, because patients who are alive then were not censored on it
    later = not_censored(time_days, event, np.nextafter(at_days, np.inf), counted)
    columns = []
    for column, day in enumerate(at_days):
        dead = event & (time_days <= day)
        alive = time_days > day
        inverse_later = np.divide(1.0, later[:, column], out=np.zeros(len(counted)), where=later[:, column] > 0)
        error = counted * dead * inverse_own @ survival[:, column] ** 2
        error += inverse_later * (counted @ (alive * (1.0 - survival[:, column]) ** 2))
        columns.append(error / counted.sum(axis=1))
    return np.stack(columns, axis=1)


def integrated_brier(scores: NDArray[np.float64], at_days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Brier scores (draws, m) averaged over time between the first and the last day, float64 (draws,)."""
    return np.asarray(np.trapezoid(scores, at_days, axis=1) / (at_days[-1] - at_days[0]))


def log_rank(
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    group: NDArray[np.int64],
    *,
    stratum: NDArray[np.int64] | None = None,
) -> tuple[float, float]:
    """Return the log-rank statistic of groups and its p-value.

    Parameters
    ----------
    time_days, event
        Follow-up of the n patients.
    group : int64 (n,)
        Group of every patient.
    stratum : int64 (n,), optional
        Expected events are counted within a stratum.

    Returns
    -------
    statistic, p : float
        Chi-squared with one degree of freedom fewer than groups; (0, 1) where there is a single group.
    """
    names = np.unique(group)
    if len(names) < 2:
        return 0.0, 1.0
    member = (group[:, None] == names[None, :-1]).astype(np.float64)
    strata = np.zeros(len(group), np.int64) if stratum is None else stratum
    difference, covariance = np.zeros(len(names) - 1), np.zeros((len(names) - 1, len(names) - 1))
    for value in np.unique(strata):
        rows = strata == value
        for day in np.unique(time_days[rows & event]):
            at_risk = member[rows & (time_days >= day)]
            dying = member[rows & event & (time_days == day)]
            n, d = len(at_risk), len(dying)
            fraction = at_risk.mean(axis=0)
            difference += dying.sum(axis=0) - d * fraction
            if n > 1:
                covariance += d * (n - d) / (n - 1) * (np.diag(fraction) - np.outer(fraction, fraction))
    statistic = float(difference @ np.linalg.pinv(covariance) @ difference)
    return statistic, float(chdtrc(len(names) - 1, statistic))
