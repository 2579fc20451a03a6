"""Scores of tissue classes on held-out regions: balanced accuracy, confusion, calibration and conformal thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 10


def score_classes(
    label: NDArray[np.int64], probability: NDArray[np.float64], fold: NDArray[np.int64], of_one_slide: NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the scores of held-out probabilities.

    Parameters
    ----------
    label : int64 (n,)
        True classes.
    probability : float64 (n, K)
        By a fit that has not seen the row's fold.
    fold : int64 (n,)
        What was held out together.
    of_one_slide : bool (K,)
        Classes that are on one slide alone.

    Returns
    -------
    dict
        balanced_accuracy, the mean recall over the classes of several slides, or over all where there is none; recall,
        by class, the mean over folds of the recall in each, so that a slide with much of a class does not decide;
        confusion, K lists of counts, rows
        true and columns predicted; calibration_error, the expected calibration error in ten bins; by_fold, accuracy.
    """
    predicted = probability.argmax(axis=1)
    n_classes = len(of_one_slide)
    confusion = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(confusion, (label, predicted), 1)
    recall = np.zeros(n_classes)
    for number in range(n_classes):
        own = fold[label == number]
        right = np.bincount(own, predicted[label == number] == number)
        count = np.bincount(own)
        recall[number] = float((right[count > 0] / count[count > 0]).mean()) if len(own) else 0.0
    held = recall if of_one_slide.all() else recall[~of_one_slide]
    return {
        "balanced_accuracy": round(float(held.mean()), 4),
        "recall": [round(value, 4) for value in recall.tolist()],
        "confusion": confusion.tolist(),
        "calibration_error": round(calibration_error(label, probability), 4),
        "by_fold": {
            str(number): round(float((predicted == label)[fold == number].mean()), 4)
            for number in np.unique(fold).tolist()
        },
    }


def calibration_error(label: NDArray[np.int64], probability: NDArray[np.float64]) -> float:
    """Return the expected calibration error of the most likely class, in ten bins of equal width.

    Parameters
    ----------
    label : int64 (n,)
        True classes.
    probability : float64 (n, K)
        Predicted.

    Returns
    -------
    float
        Mean over rows of |accuracy - confidence| of the row's bin.
    """
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == label
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    gap = np.bincount(bins, right - confidence, _BINS)
    return float(np.abs(gap).sum() / len(label))


def class_thresholds(
    probability: NDArray[np.float64], label: NDArray[np.int64], coverage: float, *, n_classes: int | None = None
) -> NDArray[np.float64]:
    """Return the least probability of each class in a conformal set.

    Parameters
    ----------
    probability : float64 (n, K)
        Held-out probabilities.
    label : int64 (n,)
        True classes.
    coverage : float
        Probability with which a set holds the true class.
    n_classes : int, optional
        K; by default the columns of `probability`.

    Returns
    -------
    float64 (K,)
        The floor((1 - coverage) (m + 1))-th smallest probability of the true class over its m rows; 0 where m is too
        small for one, so that the class is in every set.
    """
    n_classes = probability.shape[1] if n_classes is None else n_classes
    thresholds = np.zeros(n_classes)
    for number in range(n_classes):
        own = np.sort(probability[label == number, number])
        rank = int((1.0 - coverage) * (len(own) + 1) + 1e-9)
        if rank > 0:
            thresholds[number] = own[rank - 1]
    return thresholds
