"""Scores of predicted stages; patients of unknown stage (-1) never count.

Every score is taken under many weightings at once, for intervals. Stages that a draw does not hold leave its balanced
accuracy and its macro area to the others.
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
        Of every stage.
    stage : int64 (n,)
        True stage, -1 where unknown.
    stratum : int64 (n,), optional
        Pairs are compared within a stratum alone.
    weights : float64 (draws, n), optional
        How often each patient counts; once where left out.

    Returns
    -------
    float64 (draws,)
        NaN where no stage can be told from another.
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
    found: NDArray[np.int64], stage: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mean recall of the stages.

    Parameters
    ----------
    found, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        Over the stages that a draw holds; NaN where it holds none.
    """
    counted = all_once(len(stage)) if weights is None else weights
    member = (stage[:, None] == np.unique(stage[stage >= 0])).astype(np.float64)  # (n, stages)
    total = counted @ member
    recall = ratio(counted @ (member * (found == stage)[:, None]), total)
    return ratio(np.nansum(recall, axis=1), (total > 0).sum(axis=1).astype(np.float64))


def quadratic_kappa(
    found: NDArray[np.int64], stage: NDArray[np.int64], n_stages: int, *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return Cohen's kappa with squared distances between stages.

    Parameters
    ----------
    found, stage : int64 (n,)
        Predicted and true stage; -1 where the truth is unknown.
    n_stages : int
        K.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        1 is agreement, 0 is chance; NaN where both sides are one same stage throughout.

    References
    ----------
    Cohen, "Weighted kappa", Psychological Bulletin 1968.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    observed = counted @ ((found - stage) ** 2).astype(np.float64)
    levels = np.arange(n_stages)
    by_found = counted @ (found[:, None] == levels).astype(np.float64)
    by_stage = counted @ (stage[:, None] == levels).astype(np.float64)
    distance = ((levels[:, None] - levels[None, :]) ** 2).astype(np.float64)
    expected = np.einsum("bi,ij,bj->b", by_found, distance, by_stage)
    return 1.0 - ratio(observed * counted.sum(axis=1), expected)


def stage_brier(
    probability: NDArray[np.float64], stage: NDArray[np.int64], *, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the mean over patients of the summed squared error over stages (Brier 1950), 0 to 2.

    Parameters
    ----------
    probability : float64 (n, K)
        Of every stage.
    stage : int64 (n,)
        True stage, -1 where unknown.
    weights : float64 (draws, n), optional
        How often each patient counts.

    Returns
    -------
    float64 (draws,)
        NaN where no stage is known.
    """
    counted = (all_once(len(stage)) if weights is None else weights) * (stage >= 0)
    truth = (stage[:, None] == np.arange(probability.shape[1])).astype(np.float64)
    return ratio(counted @ ((probability - truth) ** 2).sum(axis=1), counted.sum(axis=1))
