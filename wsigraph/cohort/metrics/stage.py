"""Scores of predicted stages; patients of unknown stage (-1) never count.

Every score is computed under many weightings at once, for confidence intervals. Balanced accuracy and macro AUC are
means over the stages that a draw contains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.concordance import all_once, area_under_curve, ratio


def stage_pairs(stage: NDArray[np.int64], stratum: NDArray[np.int64] | None = None) -> int:
    """Return the number of pairs of patients of two known stages, within a stratum where strata are given."""
    pairs = 0
    for rows in _strata(stratum, len(stage)):
        counts = np.bincount(stage[rows & (stage >= 0)])
        pairs += (int(counts.sum()) ** 2 - int((counts**2).sum())) // 2
    return pairs


def stage_auc(
    probability: NDArray[np.float64],
    stage: NDArray[np.int64],
    *,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the mean over stages of the area under the curve of one stage against the rest.

    Parameters
    ----------
    probability : float64 (n, K)
        Probability of every stage.
    stage : int64 (n,)
        True stage, -1 where unknown.
    stratum : int64 (n,), optional
        Only pairs within a stratum are compared.
    weights : float64 (draws, n), optional
        How often each patient counts; once by default.

    Returns
    -------
    float64 (draws,)
        NaN for a draw with fewer than two stages.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    areas = np.stack(
        [
            area_under_curve(probability[:, k], counted * (stage == k), counted * (stage != k), stratum=stratum)
            for k in range(probability.shape[1])
        ]
    )
    defined = np.isfinite(areas)
    return ratio(np.where(defined, areas, 0.0).sum(axis=0), defined.sum(axis=0).astype(np.float64))


def balanced_accuracy(
    predicted: NDArray[np.int64],
    stage: NDArray[np.int64],
    *,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the mean recall of the stages.

    Parameters
    ----------
    predicted, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    stratum : int64 (n,), optional
        The accuracy is that within each stratum, averaged over patients. Folds have models, and frequencies of stages,
        of their own.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        Mean over the stages in a draw; NaN if there is none.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    member = (stage[:, None] == np.unique(stage[stage >= 0])).astype(np.float64)  # (n, stages)
    right = member * (predicted == stage)[:, None]
    sums, patients = np.zeros(len(counted)), np.zeros(len(counted))
    for rows in _strata(stratum, len(stage)):
        total = counted[:, rows] @ member[rows]
        recall = ratio(counted[:, rows] @ right[rows], total)
        n = counted[:, rows].sum(axis=1)
        sums += n * np.nan_to_num(ratio(np.nansum(recall, axis=1), (total > 0).sum(axis=1).astype(np.float64)))
        patients += n
    return ratio(sums, patients)


def _strata(stratum: NDArray[np.int64] | None, n: int) -> list[NDArray[np.bool_]]:
    """Return the rows of each stratum, as masks."""
    return [np.ones(n, bool)] if stratum is None else [stratum == value for value in np.unique(stratum)]


def quadratic_kappa(
    predicted: NDArray[np.int64],
    stage: NDArray[np.int64],
    n_stages: int,
    *,
    stratum: NDArray[np.int64] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return Cohen's kappa with squared distances between stages.

    Parameters
    ----------
    predicted, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    n_stages : int
        Number of stages, K.
    stratum : int64 (n,), optional
        Agreement by chance is that within each stratum, summed: so a model that answers every fold with one stage has
        a kappa of 0, whatever the stage.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        1 is agreement, 0 is chance; NaN if both sides have one and the same stage.

    References
    ----------
    Cohen, "Weighted kappa", Psychological Bulletin 1968. Barlow, Lai and Azen, "A comparison of methods for calculating
    a stratified kappa", Statistics in Medicine 1991.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    observed = counted @ ((predicted - stage) ** 2).astype(np.float64)
    levels = np.arange(n_stages)
    distance = ((levels[:, None] - levels[None, :]) ** 2).astype(np.float64)
    expected = np.zeros(len(counted))
    for rows in _strata(stratum, len(stage)):
        by_predicted = counted[:, rows] @ (predicted[rows, None] == levels).astype(np.float64)
        by_stage = counted[:, rows] @ (stage[rows, None] == levels).astype(np.float64)
        chance = np.einsum("bi,ij,bj->b", by_predicted, distance, by_stage)
        expected += np.nan_to_num(ratio(chance, counted[:, rows].sum(axis=1)))
    return 1.0 - ratio(observed, expected)


def stage_brier(
    probability: NDArray[np.float64], stage: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mean over patients of the summed squared error over stages (Brier 1950), 0 to 2.

    It compares no patient with another, so the mean over strata, weighted by patients, is the same number.

    Parameters
    ----------
    probability : float64 (n, K)
        Probability of every stage.
    stage : int64 (n,)
        True stage, -1 where unknown.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        NaN if no stage is known.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    truth = (stage[:, None] == np.arange(probability.shape[1])).astype(np.float64)
    return ratio(counted @ ((probability - truth) ** 2).sum(axis=1), counted.sum(axis=1))
