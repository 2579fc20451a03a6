"""How much of a correction counts: the fraction that lowers the loss of patients its networks were not trained on.

For every epoch and every fraction, the loss is summed over all parts, each predicted by the network that had left it
out. The best pair is taken, and only if its gain over the offset alone is above two standard errors. The unit of that
error is what a part keeps whole: the site where parts are whole sites, else the patient (with several images of a
patient, their sum). With few units the error is rough: with 15 patients it has itself an error of about a fifth. So a
correction has to be clearly better there, and with one or two units none is accepted.

References
----------
Breslow, discussion of Cox, JRSS B 1972 (ties); Hastie, Tibshirani and Friedman, "The elements of statistical learning",
2009, section 7.10 (the rule of one standard error; one was found too lax here).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.training.inner_parts import InnerParts

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Fractions of the correction that are tried; 0 is the offset alone."""
N_STANDARD_ERRORS = 2.0
"""A gain counts from this many standard errors."""
_MIN_UNITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """The fraction of a correction that counts, and what it rests on.

    Attributes
    ----------
    fraction : float
        0 where nothing was earned.
    epoch : int
        Epoch of the weights, from 0.
    best_fraction : float
        Fraction of least loss, whether earned or not.
    gain : float
        By how much it lowers the loss, summed over patients (nats).
    standard_error : float
        Of the gain, over units.
    """

    fraction: float
    epoch: int
    best_fraction: float
    gain: float
    standard_error: float


def earn_fraction(base: NDArray[np.float64], losses: NDArray[np.float64], parts: InnerParts) -> Earned:
    """Return the fraction of a correction that counts.

    Parameters
    ----------
    base : float64 (n,)
        Loss of every row by the offset alone.
    losses : float64 (epochs, fractions, n)
        Loss of every row with a fraction of the correction after an epoch.
    parts : InnerParts
        Units of the rows.

    Returns
    -------
    Earned
        The earliest of equally good epochs and the smallest of equally good fractions.
    """
    totals = losses.sum(axis=2)
    epoch, number = (int(index) for index in np.unravel_index(int(totals.argmin()), totals.shape))
    gains = np.bincount(parts.unit, weights=base - losses[epoch, number], minlength=parts.n_units)
    error = float(np.sqrt(len(gains)) * gains.std(ddof=1)) if len(gains) > 1 else float("inf")
    gain = float(gains.sum())
    counts = len(gains) >= _MIN_UNITS and gain > N_STANDARD_ERRORS * error
    return Earned(
        fraction=FRACTIONS[number] if counts else 0.0,
        epoch=epoch,
        best_fraction=FRACTIONS[number] if gain > 0 else 0.0,
        gain=gain,
        standard_error=error,
    )


def cox_losses(
    log_ratio: NDArray[np.float64],
    time_days: NDArray[np.float64],
    event: NDArray[np.bool_],
    part: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return every row's term of the negative log partial likelihood within its part, float64 (n,).

    Parameters
    ----------
    log_ratio : float64 (n,)
        Log hazard ratios.
    time_days, event
        Follow-up; NaN where unknown.
    part : int64 (n,)
        Risk sets do not cross parts.

    Returns
    -------
    float64 (n,)
        0 for rows without an event.
    """
    losses = np.zeros(len(log_ratio))
    for number in np.unique(part):
        rows = np.flatnonzero((part == number) & np.isfinite(time_days))
        order = rows[np.argsort(-time_days[rows], kind="stable")]
        cumulative = np.logaddexp.accumulate(log_ratio[order])
        days = -time_days[order]
        # the risk set of a day holds all that are followed to it, so ties share the last sum
        last = np.searchsorted(days, days, side="right") - 1
        losses[order] = np.where(event[order], cumulative[last] - log_ratio[order], 0.0)
    return losses


def stage_losses(logits: NDArray[np.float64], stage: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the negative log likelihood of every row's stage, float64 (n,), from logits (n, K - 1); 0 if unknown."""
    above = 1.0 / (1.0 + np.exp(-np.clip(logits, -60.0, 60.0)))
    ends = np.ones((len(logits), 1))
    probability = np.concatenate([ends, above], axis=1) - np.concatenate([above, 0.0 * ends], axis=1)
    own = probability[np.arange(len(stage)), np.maximum(stage, 0)]
    return np.where(stage >= 0, -np.log(np.maximum(own, 1e-12)), 0.0)
