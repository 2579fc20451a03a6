"""Kinds of tissue: a few k-means clusters of the training regions.

Regions are clustered by their standardised features but those of shape, which say how tissue was cut rather than what
it is, each weighing as much as its area, with a seeded k-means++ start
(Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007) and Lloyd's rounds. Broad kinds
are wanted, something to hold a region against, not a diagnosis; but what a model tells apart must not be one kind: with
four kinds for seven painted tissues, tumour lay with lymphocytes and lent them its attribution. Each is named by the
features in which it differs most from the rest, or by the classes of simulated tissue where those are known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES

_SHAPE = frozenset(name for name, group in zip(FEATURE_NAMES, FEATURE_GROUPS, strict=True) if group == "shape")
_ROUNDS = 50
_STARTS = 10
"""Starts of which the tightest counts: a single one may cut glass into three and leave all nuclei in one."""
_TELLING = 2


def of_tissue(points: NDArray[np.float64], feature_names: Sequence[str]) -> NDArray[np.float64]:
    """Return standardised features with those of shape set to 0, which is how kinds are told apart.

    Parameters
    ----------
    points : float64 (R, F)
        Standardised features.
    feature_names : sequence of str
        What the columns are.

    Returns
    -------
    float64 (R, F)
        A copy.
    """
    return np.where([name in _SHAPE for name in feature_names], 0.0, points)


def cluster(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_kinds: int, *, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the centres of k-means clusters.

    Parameters
    ----------
    points : float64 (R, F)
        Standardised features.
    weight : float64 (R,)
        What each point counts.
    n_kinds : int
        Clusters; no more than distinct points are returned.
    rng : numpy.random.Generator
        Source of the start.

    Returns
    -------
    float64 (k, F)
        Centres, the one with most weight first.
    """
    found = [_converged(points, weight, _start(points, weight, n_kinds, rng)) for _ in range(_STARTS)]
    spread = [float(weight @ _square_distance(points, centres).min(axis=1)) for centres in found]
    centres = found[int(np.argmin(spread))]
    size = np.bincount(nearest(points, centres), weight, len(centres))
    return np.asarray(centres[np.argsort(-size, kind="stable")])


def _start(
    points: NDArray[np.float64], weight: NDArray[np.float64], n_kinds: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return points far from one another, by k-means++."""
    centres = points[rng.choice(len(points), p=weight / weight.sum())][None]
    while len(centres) < n_kinds:
        far = _square_distance(points, centres).min(axis=1) * weight
        if not far.sum() > 0:
            break
        centres = np.concatenate([centres, points[rng.choice(len(points), p=far / far.sum())][None]])
    return np.asarray(centres)


def _converged(
    points: NDArray[np.float64], weight: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return centres after Lloyd's rounds."""
    for _ in range(_ROUNDS):
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
    """Return the nearest centre of every point, int64 (R,); ties go to the lower one."""
    return np.asarray(_square_distance(points, centres).argmin(axis=1))


def telling_names(centres: NDArray[np.float64], feature_names: Sequence[str]) -> tuple[str, ...]:
    """Return names such as ``"high nuclear density, low lightness mean"``, each once.

    Parameters
    ----------
    centres : float64 (k, F)
        Standardised centres.
    feature_names : sequence of str
        What the columns are.

    Returns
    -------
    tuple of str
        One a kind.
    """
    found: list[str] = []
    for centre in centres:
        order = np.argsort(-np.abs(centre), kind="stable")
        words = [f"{'high' if centre[column] > 0 else 'low'} {spoken(feature_names[column])}" for column in order]
        n_words = _TELLING
        while ", ".join(words[:n_words]) in found and n_words < len(words):
            n_words += 1
        found.append(", ".join(words[:n_words]))
    return tuple(found)


def spoken(feature: str) -> str:
    """Return a feature's name as words."""
    words = feature.replace("_um2", "").replace("_um", "").split("_")
    sayings = {"sd": "spread", "p10": "10th percentile", "p50": "median", "p90": "90th percentile"}
    return " ".join(sayings.get(word, word) for word in words)


def _square_distance(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared distances, (R, k); k is small, so no matrix over pairs of points arises."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)
