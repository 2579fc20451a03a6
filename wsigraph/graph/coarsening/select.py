"""Which regions merge: rounds of mutual nearest neighbours on a rising scale, up to a bound or down to a budget.

The score of two neighbours is the root of Ward's criterion (JASA 1963) in the embedding::

    score(i, j) = sqrt((|m_i - m_j|**2 + c) * n_i n_j / (n_i + n_j))

with means m and counts of superpixels n: the difference in standard errors, as in statistical region merging (Nock and
Nielsen, TPAMI 2004). c is what chance explains: a quarter of the square of the slide's median distance between
neighbours. Without c, two large regions that happen to have equal means merge at no cost, and regions become very
unequal.

Each region names the neighbour of least score (ties: lower id). Two regions that name each other merge if the score is
at most k, in rounds after Boruvka. k rises in steps of 1.25, so the most similar regions merge first, up to
`granularity` times the median distance or until a budget of regions is reached. A budget is met exactly, because the
last round only performs its lowest merges. Homogeneous tissue grows into large regions; heterogeneous tissue keeps
small ones. State is integer sums and counts, so the order of nodes and threads cannot matter. ``rounds`` holds the
kernel, its cost, and why no library serves.

Felzenszwalb and Huttenlocher's predicate (IJCV 2004: internal variation plus k over size) was tried first and gives
less pure regions at equal count (``tests/benchmarks/coarsening.py`` measures it).

Limits: merging is greedy and never undone. Where tissue changes gradually, chains of small steps merge. A region's own
variance plays no part, so a mixed region is judged by its mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.coarsening.rounds import distance, merge_in_rounds
from wsigraph.kernels import njit

_FIRST, _STEP, _CHANCE = 0.75, 1.25, 0.25
"""First k in median distances; factor between scales; c in squared median distances."""


def select(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    edge_index: NDArray[np.int64],
    *,
    granularity: float,
    max_area: int,
    n_wanted: int | None = None,
) -> NDArray[np.int64]:
    """Return the coarse region of each superpixel.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding.
    area : int64 (N,)
        Area of each superpixel, pixels.
    edge_index : int64 (2, E)
        Edges in both directions, sorted by source.
    granularity : float
        Highest k, in medians of the distance between neighbours; a larger value merges more. Ignored if `n_wanted` is
        given.
    max_area : int
        Largest area that a merge may produce, pixels.
    n_wanted : int, optional
        Number of regions to merge down to, whatever k that takes.

    Returns
    -------
    int64 (N,)
        Coarse region of each superpixel, 0..C-1 in the order of its lowest superpixel. C is `n_wanted`; it is smaller
        if there are fewer superpixels, and larger if `max_area` or pieces of tissue that do not touch forbid further
        merges.

    Notes
    -----
    Time is linear in nodes and edges: each merge touches the neighbours of one region. Memory: about 300 bytes a node.
    """
    n_nodes = len(embedding)
    if edge_index.shape[1] == 0:
        return np.arange(n_nodes, dtype=np.int64)
    typical = _typical_distance(embedding, edge_index)
    last_k = granularity * typical if n_wanted is None else np.inf
    leader = merge_in_rounds(
        embedding,
        area,
        np.searchsorted(edge_index[0], np.arange(n_nodes + 1)),
        edge_index[1].astype(np.int32),
        first_k=min(_FIRST * typical, last_k),
        step=_STEP,
        last_k=last_k,
        max_area=max_area,
        n_wanted=1 if n_wanted is None else n_wanted,
        chance=_CHANCE * typical * typical,
    )
    return _number_groups(leader)


def chance_of(embedding: NDArray[np.int64], edge_index: NDArray[np.int64]) -> float:
    """Return c, the squared distance that chance explains, in squared units of the embedding.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding.
    edge_index : int64 (2, E)
        Edges in both directions.

    Returns
    -------
    float
        Allowance that `select` adds to every squared distance; above 0.
    """
    return _CHANCE * _typical_distance(embedding, edge_index) ** 2


def _typical_distance(embedding: NDArray[np.int64], edge_index: NDArray[np.int64]) -> float:
    """Return the median distance between neighbours, at least one unit."""
    if edge_index.shape[1] == 0:
        return 1.0
    return max(float(np.median(_neighbour_distances(embedding, edge_index))), 1.0)


@njit(nogil=True, cache=True)
def _neighbour_distances(embedding: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance between the two ends of each edge, once a pair, float64 (E / 2,)."""
    distances = np.empty(edges.shape[1] // 2)  # (E / 2,)
    n_pairs = 0
    for edge in range(edges.shape[1]):
        if edges[0, edge] < edges[1, edge]:
            distances[n_pairs] = distance(embedding, edges[0, edge], edges[1, edge])
            n_pairs += 1
    return distances[:n_pairs]


@njit(nogil=True, cache=True)
def _number_groups(leader: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return groups numbered 0..C-1 in the order of their leaders; leader int32 (N,), result int64 (N,)."""
    assignment = np.empty(len(leader), np.int64)  # (N,)
    n_groups = 0
    for node in range(len(leader)):
        if leader[node] == node:
            assignment[node] = n_groups
            n_groups += 1
        else:
            assignment[node] = assignment[leader[node]]
    return assignment
