"""Losses of stage and survival, either of which may be unknown for a patient.

Both are mean negative log-likelihoods over the patients whose outcome is known. They are exactly 0, with a gradient of
0, where no patient of a batch has one; a batch without an event is valid. Survival follows Gensheimer and Narasimhan
(PeerJ 2019): a patient contributes ``log(1 - hazard)`` for every interval survived and ``log(hazard)`` for the interval
of the event. A patient censored within an interval survived it if censored in its second half.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from wsigraph.errors import ModelError

NO_STAGE = -1
"""Stage index of a patient whose stage is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurvivalTarget:
    """Follow-up of patients by time interval.

    Attributes
    ----------
    survived : float32 (B, T)
        1 where the interval was survived.
    died : float32 (B, T)
        1 in the interval of the event; at most one a row. A row of zeros in both is an unknown follow-up.
    """

    survived: NDArray[np.float32]
    died: NDArray[np.float32]


def survival_intervals(
    time_days: NDArray[np.float64], event: NDArray[np.bool_], n_intervals: int
) -> NDArray[np.float64]:
    """Return interval ends with about the same number of events in each interval.

    Parameters
    ----------
    time_days : float64 (B,)
        Follow-up of the training patients, days.
    event : bool (B,)
        Whether follow-up ended with the event.
    n_intervals : int
        Largest number of intervals.

    Returns
    -------
    float64 (T,)
        Rising right ends, days, at quantiles of the event times; fewer than `n_intervals` where event times repeat.

    Raises
    ------
    ModelError
        If there is no event, or an event at or before day 0.
    """
    times = time_days[event]
    if not len(times):
        raise ModelError(
            f"none of {len(time_days)} training patients had an event, expected at least one; "
            "add patients or longer follow-up"
        )
    if times.min() <= 0:
        raise ModelError(f"an event at day {times.min():g}, expected event times above 0; correct the manifest")
    quantiles = np.arange(1, n_intervals + 1) / n_intervals
    return np.unique(np.quantile(times, quantiles))


def survival_target(
    time_days: NDArray[np.float64], event: NDArray[np.bool_], ends_days: NDArray[np.float64]
) -> SurvivalTarget:
    """Return follow-up by time interval.

    Parameters
    ----------
    time_days : float64 (B,)
        Follow-up, days; NaN where unknown.
    event : bool (B,)
        Whether follow-up ended with the event; False where unknown.
    ends_days : float64 (T,)
        Right ends of the intervals, days; an interval includes its right end.

    Returns
    -------
    SurvivalTarget
        An event after the last interval counts as survival of all intervals.
    """
    starts = np.concatenate([[0.0], ends_days])[: len(ends_days)]
    time, is_event = time_days[:, None], event[:, None]
    died = is_event & (time > starts) & (time <= ends_days)
    # NaN compares as False: an unknown follow-up gives a row of zeros
    survived = np.where(is_event, time > ends_days, time >= 0.5 * (starts + ends_days))
    return SurvivalTarget(survived=survived.astype(np.float32), died=died.astype(np.float32))


def ordinal_loss(logits: Tensor, stage: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the known stages.

    Parameters
    ----------
    logits : Tensor float32 (B, K - 1)
        Cumulative logits, falling along the second axis.
    stage : Tensor int64 (B,)
        Stage index 0..K-1, or -1 where unknown.

    Returns
    -------
    Tensor float32 ()
        0 where no stage is known.
    """
    known = stage != NO_STAGE
    index = stage.clamp_min(0)[:, None]
    # P(stage k) = s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)), with a the logit of "above k - 1" and b of "above k".
    # The outer logits are infinite; an actual infinity would make the gradient of the difference NaN.
    edge = torch.full_like(logits[:, :1], 1e4)
    upper = torch.cat([edge, logits], dim=1).gather(1, index).squeeze(1)
    lower = torch.cat([logits, -edge], dim=1).gather(1, index).squeeze(1)
    likelihood = logsigmoid(upper) + logsigmoid(-lower) + torch.log1p(-torch.exp(lower - upper))
    return -_mean_where(likelihood, known)


def survival_loss(logits: Tensor, survived: Tensor, died: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the known follow-up.

    Parameters
    ----------
    logits : Tensor float32 (B, T)
        Hazard logits.
    survived, died : Tensor float32 (B, T)
        See `SurvivalTarget`.

    Returns
    -------
    Tensor float32 ()
        Mean over the patients of known follow-up; 0 where there is none.
    """
    likelihood = (survived * logsigmoid(-logits) + died * logsigmoid(logits)).sum(dim=1)
    return -_mean_where(likelihood, (survived + died).sum(dim=1) > 0)


def cox_loss(log_hazard: Tensor, time_days: Tensor, event: Tensor) -> Tensor:
    """Return the mean negative log partial likelihood of the events, ties by Efron's approximation.

    Parameters
    ----------
    log_hazard : Tensor float32 (B,)
        Log hazard ratios.
    time_days : Tensor float64 (B,)
        Follow-up, days; NaN where unknown, which puts the patient in no risk set.
    event : Tensor bool (B,)
        Whether follow-up ended with the event.

    Returns
    -------
    Tensor float32 ()
        0, with a gradient of 0, where there is no event.

    References
    ----------
    Efron, "The efficiency of Cox's likelihood function for censored data", JASA 1977.
    """
    known = torch.isfinite(time_days)
    if not bool((event & known).any()):
        return (log_hazard * 0.0).sum()
    order = torch.argsort(time_days[known], descending=True, stable=True)
    risk, time, died = (values[known][order] for values in (log_hazard, time_days, event))
    _, group, size = torch.unique_consecutive(time, return_inverse=True, return_counts=True)
    log_at_risk = torch.logcumsumexp(risk, 0)[size.cumsum(0) - 1]  # (groups,): all whose follow-up is as long or longer
    tied = torch.zeros_like(log_at_risk).index_add(0, group, (risk - log_at_risk[group]).exp() * died)
    n_tied = torch.zeros_like(log_at_risk).index_add(0, group, died.to(risk.dtype))
    of_event = group[died]
    # Efron: for the l-th of d tied events, the risk set minus l/d of those who die that day
    rank = torch.cumsum(died, 0)[died] - 1
    first = torch.cat([rank.new_zeros(1), n_tied.cumsum(0)[:-1].long()])[of_event]
    fraction = (rank - first) / n_tied[of_event]
    denominator = log_at_risk[of_event] + torch.log1p(-fraction * tied[of_event])
    return -(risk[died] - denominator).mean()


def breslow_increments(
    log_hazard: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    ends_days: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the increment of Breslow's baseline cumulative hazard in every interval.

    Parameters
    ----------
    log_hazard : float64 (B,)
        Log hazard ratios of the training patients.
    time_days, event
        Their follow-up; NaN where unknown.
    ends_days : float64 (T,)
        Right ends of the intervals.

    Returns
    -------
    float64 (T,)
        Above 0.

    References
    ----------
    Breslow, discussion of Cox, JRSS B 1972.
    """
    known = np.isfinite(time_days)
    risk, time, died = np.exp(log_hazard[known]), time_days[known], event[known]
    days = np.unique(time[died])
    jumps = np.array([(died & (time == day)).sum() / risk[time >= day].sum() for day in days])
    interval = np.searchsorted(ends_days, days, side="left")
    inside = interval < len(ends_days)
    increment = np.bincount(interval[inside], weights=jumps[inside], minlength=len(ends_days))
    return np.asarray(np.maximum(increment, 1e-8))


def _mean_where(values: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp_min(1)


def marginal_hazard(targets: Sequence[SurvivalTarget] | SurvivalTarget) -> NDArray[np.float32]:
    """Return events over patients at risk in every interval, float32 (T,), strictly inside (0, 1)."""
    rows = [targets] if isinstance(targets, SurvivalTarget) else list(targets)
    died = np.concatenate([row.died for row in rows]).sum(axis=0)
    survived = np.concatenate([row.survived for row in rows]).sum(axis=0)
    return np.asarray((died + 0.5) / (died + survived + 1.0), np.float32)
