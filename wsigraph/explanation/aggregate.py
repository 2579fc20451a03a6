"""Attributions of superpixels (one level down) and of neighbourhoods (one level up).

A region's attribution is divided among its superpixels in proportion to their area, so the sum is conserved. A
neighbourhood is a connected patch of regions of one tissue cluster.
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
        Pixels of every superpixel.

    Returns
    -------
    float64 (N,)
        Attributions with the same sum as `node`.
    """
    total = np.bincount(assignment, superpixel_px, len(node))
    return np.asarray(node[assignment] * superpixel_px / total[assignment])


def find_neighbourhoods(cluster: NDArray[np.int64], edge_index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the connected patch of one tissue cluster that every region belongs to.

    Parameters
    ----------
    cluster : int64 (C,)
        Tissue cluster of every region.
    edge_index : int64 (2, E)
        Directed edges between neighbours.

    Returns
    -------
    int64 (C,)
        Number of the patch, from 0, in the order of the first region of each.
    """
    is_same = cluster[edge_index[0]] == cluster[edge_index[1]]
    source, target = edge_index[:, is_same]
    adjacency = coo_matrix((np.ones(len(source), np.int8), (source, target)), shape=(len(cluster), len(cluster)))
    component = connected_components(adjacency, directed=False)[1]
    first, inverse = np.unique(component, return_index=True, return_inverse=True)[1:]
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return np.asarray(number[inverse], np.int64)


def rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; 0 if one side is constant."""
    ranks = [_ranks(values) for values in (left, right)]
    std = [float(rank.std()) for rank in ranks]
    if min(std) == 0:
        return 0.0
    return float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (std[0] * std[1]))


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks; equal values get the mean of their ranks."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray(((last - count + last - 1) / 2)[inverse])
