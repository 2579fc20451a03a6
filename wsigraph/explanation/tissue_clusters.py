"""Tissue clusters: a few k-means clusters of the training regions.

Regions are clustered by their standardised features, without those of shape, which describe how tissue was cut rather
than what it is. Each region is weighted by its area. The start is a seeded k-means++ (Arthur and Vassilvitskii,
"k-means++: the advantages of careful seeding", SODA 2007), followed by Lloyd iterations. A cluster is something to
compare a region with, not a diagnosis. It must not mix tissues that a model distinguishes: with four clusters for
seven simulated tissues, tumour shared a cluster with lymphocytes and attribution leaked between them. A cluster is
labelled by the features in which it differs most from the mean, or by the class of simulated tissue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES

_SHAPE = frozenset(name for name, group in zip(FEATURE_NAMES, FEATURE_GROUPS, strict=True) if group == "shape")
_MAX_ITERATIONS = 50
_N_STARTS = 10
"""Starts, of which the one with the least inertia is used: a single start may split glass and merge all nuclei."""
_LABEL_FEATURES = 2


def without_shape(points: NDArray[np.float64], feature_names: Sequence[str]) -> NDArray[np.float64]:
    """Return standardised features with those of shape set to 0, as clusters use them.

    Parameters
    ----------
    points : float64 (R, F)
        Standardised features.
    feature_names : sequence of str
        Names of the columns.

    Returns
    -------
    float64 (R, F)
        A copy of `points`.
    """
    return np.where([name in _SHAPE for name in feature_names], 0.0, points)


def cluster(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_clusters: int, *, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the centres of k-means clusters.

    Parameters
    ----------
    points : float64 (R, F)
        Standardised features.
    weight : float64 (R,)
        Weight of each point.
    n_clusters : int
        Number of clusters; fewer are returned if there are fewer distinct points.
    rng : numpy.random.Generator
        Source of the k-means++ starts.

    Returns
    -------
    float64 (k, F)
        Centres, by falling weight.
    """
    candidates = [_lloyd(points, weight, _plus_plus(points, weight, n_clusters, rng)) for _ in range(_N_STARTS)]
    inertia = [float(weight @ _square_distance(points, centres).min(axis=1)) for centres in candidates]
    centres = candidates[int(np.argmin(inertia))]
    size = np.bincount(nearest(points, centres), weight, len(centres))
    return np.asarray(centres[np.argsort(-size, kind="stable")])


def _plus_plus(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_clusters: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return points that are far from one another, by k-means++."""
    centres = points[rng.choice(len(points), p=weight / weight.sum())][None]
    while len(centres) < n_clusters:
        far = _square_distance(points, centres).min(axis=1) * weight
        if not far.sum() > 0:
            break
        centres = np.concatenate([centres, points[rng.choice(len(points), p=far / far.sum())][None]])
    return np.asarray(centres)


def _lloyd(
    points: NDArray[np.float64], weight: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return centres after Lloyd iterations."""
    for _ in range(_MAX_ITERATIONS):
        own = nearest(points, centres)
        total = np.bincount(own, weight, len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, own, points * weight[:, None])
        moved = np.where(total[:, None] > 0, sums / np.maximum(total, 1e-300)[:, None], centres)
        if np.allclose(moved, centres, rtol=0, atol=1e-9):
            break
        centres = moved
    return centres


def nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the nearest centre of every point, int64 (R,); ties go to the lower index."""
    return np.asarray(_square_distance(points, centres).argmin(axis=1))


def cluster_labels(centres: NDArray[np.float64], feature_names: Sequence[str]) -> tuple[str, ...]:
    """Return labels such as ``"high nuclear density, low lightness mean"``, all different.

    Parameters
    ----------
    centres : float64 (k, F)
        Standardised centres.
    feature_names : sequence of str
        Names of the columns.

    Returns
    -------
    tuple of str
        One label per cluster.
    """
    labels: list[str] = []
    for centre in centres:
        order = np.argsort(-np.abs(centre), kind="stable")
        parts = [
            f"{'high' if centre[column] > 0 else 'low'} {feature_label(feature_names[column])}" for column in order
        ]
        n_parts = _LABEL_FEATURES
        while ", ".join(parts[:n_parts]) in labels and n_parts < len(parts):
            n_parts += 1
        labels.append(", ".join(parts[:n_parts]))
    return tuple(labels)


def feature_label(feature: str) -> str:
    """Return a feature's name in words, e.g. ``"hematoxylin SD"`` for ``hematoxylin_sd``."""
    words = feature.replace("_um2", "").replace("_um", "").split("_")
    phrases = {"sd": "SD", "p10": "10th percentile", "p50": "median", "p90": "90th percentile"}
    return " ".join(phrases.get(word, word) for word in words)


def _square_distance(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances, float64 (R, k); k is small, so memory stays linear in R."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
