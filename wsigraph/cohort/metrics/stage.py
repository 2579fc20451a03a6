"""Scores of predicted stages; patients of unknown stage (-1) never count.

Every score is computed under many weightings at once, for confidence intervals. Balanced accuracy and macro AUC are
means over the stages that a draw contains.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.concordance import all_once, area_under_curve, ratio


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
    predicted: NDArray[np.int64], stage: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mean recall of the stages.

    Parameters
    ----------
    predicted, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        Mean over the stages in a draw; NaN if there is none.
    """
    counted = all_once(len(stage)) if weights is None else weights
    member = (stage[:, None] == np.unique(stage[stage >= 0])).astype(np.float64)  # (n, stages)
    total = counted @ member
    recall = ratio(counted @ (member * (predicted == stage)[:, None]), total)
    return ratio(np.nansum(recall, axis=1), (total > 0).sum(axis=1).astype(np.float64))


def quadratic_kappa(
    predicted: NDArray[np.int64], stage: NDArray[np.int64], n_stages: int, *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return Cohen's kappa with squared distances between stages.

    Parameters
    ----------
    predicted, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    n_stages : int
        Number of stages, K.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        1 is agreement, 0 is chance; NaN if both sides have one and the same stage.

    References
    ----------
    Cohen, "Weighted kappa", Psychological Bulletin 1968.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    observed = counted @ ((predicted - stage) ** 2).astype(np.float64)
    levels = np.arange(n_stages)
    by_predicted = counted @ (predicted[:, None] == levels).astype(np.float64)
    by_stage = counted @ (stage[:, None] == levels).astype(np.float64)
    distance = ((levels[:, None] - levels[None, :]) ** 2).astype(np.float64)
    expected = np.einsum("bi,ij,bj->b", by_predicted, distance, by_stage)
    return 1.0 - ratio(observed * counted.sum(axis=1), expected)


def stage_brier(
    probability: NDArray[np.float64], stage: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mean over patients of the summed squared error over stages (Brier 1950), 0 to 2.

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
