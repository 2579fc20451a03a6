"""Counts concordant pairs in O(n log n), under many weightings of the patients at once.

Harrell's and Uno's C and every area under a curve count pairs of a patient i who should score higher and a patient j
who should score lower: ``sum_ij w_i v_j ([s_i > s_j] + [s_i = s_j] / 2) / sum_ij w_i v_j``. A compiled loop counts them
with a binary indexed tree over the ranks of the score (Fenwick, "A new data structure for cumulative frequency tables",
Software: Practice and Experience 1994). Groups are visited in order. In each group, `first` members enter the tree,
`query` members are compared with the tree, and then the other members enter. A bootstrap draw is a row of weights, so
2,000 draws of 2,000 patients take about a second, without a matrix of pairs. Libraries take one weighting at a time and
need O(n^2) pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit


def all_once(n: int) -> NDArray[np.float64]:
    """Return the weighting in which each of `n` patients counts once, float64 (1, n)."""
    return np.ones((1, n))


def dense_rank(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rank of every value among the distinct ones, int64 (n,) from 0."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def concordance(
    score: NDArray[np.float64],
    group: NDArray[np.int64],
    stratum: NDArray[np.int64],
    *,
    first: NDArray[np.bool_],
    query: NDArray[np.bool_],
    query_weight: NDArray[np.float64],
    tree_weight: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return concordant and comparable pairs, weighted, of every draw.

    Parameters
    ----------
    score : float64 (n,)
        The score.
    group : int64 (n,)
        Groups are visited by rising number within a stratum.
    stratum : int64 (n,)
        Only pairs within a stratum are compared.
    first : bool (n,)
        Members that enter the tree before the queries of their own group.
    query : bool (n,)
        Members that should have the higher score. A member must not be both `first` and `query`.
    query_weight, tree_weight : float64 (draws, n)
        Weight of a patient as the one who should score higher, and as the one who should score lower.

    Returns
    -------
    concordant, comparable : float64 (draws,)
        Sums over pairs of the product of the two weights.
    """
    order = np.lexsort((~first, group, stratum))
    rank = dense_rank(score)[order]
    concordant, comparable = _count(
        rank,
        np.ascontiguousarray(group[order]),
        np.ascontiguousarray(stratum[order]),
        first[order],
        query[order],
        np.ascontiguousarray(query_weight[:, order], dtype=np.float64),
        np.ascontiguousarray(tree_weight[:, order], dtype=np.float64),
    )
    return concordant, comparable


@njit(nogil=True, cache=True)
def _count(
    rank: NDArray[np.int64],
    group: NDArray[np.int64],
    stratum: NDArray[np.int64],
    first: NDArray[np.bool_],
    query: NDArray[np.bool_],
    query_weight: NDArray[np.float64],
    tree_weight: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return concordant and comparable weight, float64 (draws,), of members sorted by stratum, group and ``~first``."""
    n_draws, n = query_weight.shape
    n_ranks = rank.max() + 1 if n else 0
    sums = np.zeros((n_draws, 2))
    late = ~first
    for draw in range(n_draws):
        tree = np.zeros(n_ranks + 1)
        total = 0.0
        start = 0
        while start < n:
            if start > 0 and stratum[start] != stratum[start - 1]:
                tree[:] = 0.0
                total = 0.0
            stop = start
            while stop < n and group[stop] == group[start] and stratum[stop] == stratum[start]:
                stop += 1
            total += _enter(tree, rank, first, tree_weight[draw], start, stop)
            _compare(tree, total, rank, query, query_weight[draw], start, stop, sums[draw])
            total += _enter(tree, rank, late, tree_weight[draw], start, stop)
            start = stop
    return sums[:, 0], sums[:, 1]


@njit(nogil=True, cache=True)
def _enter(
    tree: NDArray[np.float64],
    rank: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    weight: NDArray[np.float64],
    start: int,
    stop: int,
) -> float:
    """Add the chosen members [start, stop) to the tree and return their total weight."""
    entered = 0.0
    for member in range(start, stop):
        if chosen[member] and weight[member] != 0.0:
            entered += weight[member]
            node = rank[member] + 1
            while node < len(tree):
                tree[node] += weight[member]
                node += node & -node
    return entered


@njit(nogil=True, cache=True)
def _compare(
    tree: NDArray[np.float64],
    total: float,
    rank: NDArray[np.int64],
    query: NDArray[np.bool_],
    weight: NDArray[np.float64],
    start: int,
    stop: int,
    sums: NDArray[np.float64],
) -> None:
    """Add the pairs of queries [start, stop) with the tree to ``sums``: concordant, comparable."""
    for member in range(start, stop):
        if total > 0.0 and query[member] and weight[member] > 0.0:
            lower = _sum_below(tree, rank[member])
            upto = _sum_below(tree, rank[member] + 1)
            sums[0] += weight[member] * 0.5 * (lower + upto)
            sums[1] += weight[member] * total


@njit(nogil=True, cache=True)
def _sum_below(tree: NDArray[np.float64], rank: int) -> float:
    """Return the total weight of ranks below ``rank``."""
    total = 0.0
    node = rank
    while node > 0:
        total += tree[node]
        node -= node & -node
    return total


def area_under_curve(
    score: NDArray[np.float64],
    positive_weight: NDArray[np.float64],
    negative_weight: NDArray[np.float64],
    *,
    stratum: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return the probability that a positive scores above a negative, under every weighting.

    Parameters
    ----------
    score : float64 (n,)
        Higher for positives.
    positive_weight, negative_weight : float64 (draws, n)
        Weight of every patient as a positive and as a negative; nobody may be both.
    stratum : int64 (n,), optional
        Only pairs within a stratum are compared.

    Returns
    -------
    float64 (draws,)
        NaN for a draw without pairs.
    """
    negative: NDArray[np.bool_] = np.any(negative_weight > 0, axis=0)
    positive: NDArray[np.bool_] = np.logical_not(negative)
    zeros = np.zeros(len(score), np.int64)
    concordant, comparable = concordance(
        score,
        zeros,
        zeros if stratum is None else stratum,
        first=negative,
        query=positive,
        query_weight=positive_weight,
        tree_weight=negative_weight,
    )
    return ratio(concordant, comparable)


def ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``top / bottom``; NaN where the divisor is 0."""
    undefined = np.full(np.broadcast(top, bottom).shape, np.nan)
    return np.asarray(np.divide(top, bottom, out=undefined, where=bottom > 0))
