"""Attributions one level down and one level up: superpixels, and neighbourhoods of one kind of tissue.

A region's attribution is shared among its superpixels by their area, so that a pixel of a region carries the same
everywhere and nothing is lost or added. A neighbourhood is a connected patch of regions of one kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def to_superpixels(
    node: NDArray[np.float64], assignment: NDArray[np.int64], superpixel_px: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the attribution of every superpixel.

    Parameters
    ----------
    node : float64 (C,)
        Attribution of coarse nodes.
    assignment : int64 (N,)
        Coarse node of every superpixel.
    superpixel_px : int64 (N,)
        Pixels of every superpixel; divided by them, the result is the attribution of a pixel.

    Returns
    -------
    float64 (N,)
        With the same sum.
    """
    total = np.bincount(assignment, superpixel_px, len(node))
    return np.asarray(node[assignment] * superpixel_px / total[assignment])


def find_neighbourhoods(kind: NDArray[np.int64], edge_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected patch of one kind that every region belongs to.

    Parameters
    ----------
    kind : int64 (C,)
        Kind of every region.
    edge_index : int64 (2, E)
        Neighbours.

    Returns
    -------
    int64 (C,)
        Numbers from 0, in the order of their first region.
    """
    same = kind[edge_index[0]] == kind[edge_index[1]]
    source, end = edge_index[:, same]
    links = coo_matrix((np.ones(len(source), np.int8), (source, end)), shape=(len(kind), len(kind)))
    found = connected_components(links, directed=False)[1]
    first, inverse = np.unique(found, return_index=True, return_inverse=True)[1:]
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return np.asarray(number[inverse], np.int64)


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; 0 where a side is constant."""
    ranks = [_ranks(each) for each in (left, right)]
    spread = [float(each.std()) for each in ranks]
    if min(spread) == 0:
        return 0.0
    return float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (spread[0] * spread[1]))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks, equal values sharing their mean."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray(((last - count + last - 1) / 2)[inverse])
