"""Sets of stages that hold the true one with a stated probability, and how often they do.

A set is built stage by stage: a stage belongs to it unless it conforms worse than the true stage of all but a fraction
alpha of other patients (cross-conformal sets; Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
Intelligence 2015). Compared with patients of all stages, sets hold the truth often enough on average, and too seldom in
the stages that are rare or difficult. Compared with patients of the same stage (class-conditional, or Mondrian, sets),
they hold it as often in every stage, where a stage has enough patients to compare with. Stages are ordered, so gaps of
a set are filled, which can only raise its coverage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval

MIN_OF_STAGE = 30
"""Fewest patients of a stage that its sets are calibrated on alone; with fewer, their coverage varies too much."""
_DIGITS = 4


def compared_with(k: int, stage: NDArray[np.int64] | None, n: int) -> NDArray[np.bool_]:
    """Return which of n patients calibrate the k-th stage.

    Parameters
    ----------
    k : int
        Index of the stage.
    stage : int64 (n,) or None
        True stage of the patients.
    n : int
        Patients.

    Returns
    -------
    bool (n,)
        Patients of that stage, where they are at least `MIN_OF_STAGE`; else all.
    """
    if stage is not None and (own := stage == k).sum() >= MIN_OF_STAGE:
        return np.asarray(own)
    return np.ones(n, bool)


def without_gaps(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return sets of ordered stages with every stage between two of theirs, bool (n, K)."""
    from_left = np.logical_or.accumulate(inside, axis=1)
    from_right = np.logical_or.accumulate(inside[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(from_left & from_right)


def cross_conformal_sets(
    probability: NDArray[np.float64], stage: NDArray[np.int64], fold: NDArray[np.int64], miscoverage: float
) -> NDArray[np.bool_]:
    """Return the sets of held-out patients, calibrated on the patients of the other folds.

    Parameters
    ----------
    probability : float64 (n, K)
        Of every stage, by the member that was not trained on the patient.
    stage : int64 (n,)
        Known true stage.
    fold : int64 (n,)
        Fold of every patient, two or more.
    miscoverage : float
        Alpha.

    Returns
    -------
    bool (n, K)
        The likeliest stage always belongs; sets have no gap.
    """
    rows = np.arange(len(stage))
    score = 1.0 - probability[rows, stage]
    inside = np.zeros(probability.shape, bool)
    for number in np.unique(fold):
        own = fold == number
        for k in range(probability.shape[1]):
            compared = compared_with(k, stage[~own], int((~own).sum()))
            scores = np.sort(score[~own][compared])
            better = np.searchsorted(scores, 1.0 - probability[own, k], side="left")
            inside[own, k] = better < (1.0 - miscoverage) * (len(scores) + 1)
    inside[rows, probability.argmax(axis=1)] = True
    return without_gaps(inside)


def coverage_by_stage(
    inside: NDArray[np.bool_], stage: NDArray[np.int64], names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return how often sets hold the true stage, over all patients and by stage.

    Parameters
    ----------
    inside : bool (n, K)
        Which stages belong to each set.
    stage : int64 (n,)
        Known true stage.
    names : tuple of str
        The K stages.

    Returns
    -------
    dict
        ``all`` and every stage that a patient has: ``covered`` with the ends ``low`` and ``high`` of its 95 % interval
        (Wilson's), ``mean_size`` and ``n``.
    """
    held = inside[np.arange(len(stage)), stage]
    parts = {"all": np.ones(len(stage), bool), **{name: stage == k for k, name in enumerate(names)}}
    table = {}
    for name, rows in parts.items():
        if not rows.any():
            continue
        low, high = wilson_confidence_interval(int(held[rows].sum()), int(rows.sum()))
        table[name] = {
            "covered": round(float(held[rows].mean()), _DIGITS),
            "low": round(low, _DIGITS),
            "high": round(high, _DIGITS),
            "mean_size": round(float(inside[rows].sum(axis=1).mean()), 3),
            "n": int(rows.sum()),
        }
    return table
