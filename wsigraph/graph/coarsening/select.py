"""Which regions merge: rounds of mutually best neighbours on a rising scale, to a bound or to a budget.

The score of two neighbours is the root of Ward's criterion (JASA 1963) in the embedding: the distance of their means
times the root of n m / (n + m), their counts of superpixels; the difference in standard errors, as in statistical
region merging (Nock and Nielsen, TPAMI 2004). To every squared distance is added what chance explains, a quarter of the
square of the slide's median distance between neighbours: without it, two large regions that happen to have the same
mean cost nothing to merge, and regions come out very unequal. Every region names the neighbour of lowest score (ties:
lower id); two that name each other merge if the score is at most k, in rounds after Boruvka. k rises in steps, so that
what is most alike merges first, up to `granularity` times that median, or until a budget of regions is met: to the
region, because the last round merges only its lowest scores. Homogeneous tissue grows into large regions and
heterogeneous tissue keeps small ones. State is integer sums and counts; the order of nodes and threads cannot matter.

Felzenszwalb and Huttenlocher's predicate (IJCV 2004: internal spread plus k over size) was tried first and gives less
pure regions at equal count (``tests/benchmarks/coarsening.py`` measures it). Not optimal: merging is greedy and never
taken back; where a gradual change crosses the tissue, chains of small steps merge; and a region's own spread plays no
part, so that a mixed region is judged by its mean.

A round costs what changed in it, not what is left: a pair is new only if one of its sides changed its choice, and a
region looks at all its neighbours again only if the one it had chosen grew away from it. Lists of neighbours are joined
where they lie and tidied when they are read (``rounds``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.coarsening.rounds import distance, merge_in_rounds
from wsigraph.kernels import njit

_FIRST, _STEP, _CHANCE = 0.75, 1.25, 0.25


def select(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    edge_index: NDArray[np.int64],
    *,
    granularity: float,
    max_area: int,
    n_wanted: int | None = None,
) -> NDArray[np.int64]:
    """Return which regions become one.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding.
    area : int64 (N,)
        Pixels of each region.
    edge_index : int64 (2, E)
        Neighbours, both directions, sorted.
    granularity : float
        Highest k in medians of the distance between neighbours; larger merges more. Without effect where `n_wanted` is
        given.
    max_area : int
        No merge makes a region larger than this, pixels.
    n_wanted : int, optional
        Merge until this many regions are left, whatever k that takes.

    Returns
    -------
    int64 (N,)
        Coarse node of each region, 0..C-1 in order of the lowest region in it. C is `n_wanted`, or what is nearest to
        it where there are fewer superpixels, or where `max_area` or pieces that do not touch forbid to go on.

    Notes
    -----
    Time is linear in nodes and edges: each merge touches the neighbours of one region. Memory: some 300 bytes a node.
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
    return _numbered(leader)


def chance_of(embedding: NDArray[np.int64], edge_index: NDArray[np.int64]) -> float:
    """Return the squared distance that chance explains, in squared units of the embedding.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding.
    edge_index : int64 (2, E)
        Neighbours, both directions.

    Returns
    -------
    float
        What `select` adds to every squared distance; above 0.
    """
    return _CHANCE * _typical_distance(embedding, edge_index) ** 2


def _typical_distance(embedding: NDArray[np.int64], edge_index: NDArray[np.int64]) -> float:
    """Return the median distance between neighbours, at least one unit."""
    if edge_index.shape[1] == 0:
        return 1.0
    return max(float(np.median(_neighbour_distances(embedding, edge_index))), 1.0)


@njit(nogil=True, cache=True)
def _neighbour_distances(embedding: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance across each edge, once a pair."""
    found = np.empty(edges.shape[1] // 2)
    n_found = 0
    for edge in range(edges.shape[1]):
        if edges[0, edge] < edges[1, edge]:
            found[n_found] = distance(embedding, edges[0, edge], edges[1, edge])
            n_found += 1
    return found[:n_found]


@njit(nogil=True, cache=True)
def _numbered(leader: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return groups numbered 0..C-1 by their lowest node, which leads them."""
    assignment = np.empty(len(leader), np.int64)
    n_groups = 0
    for node in range(len(leader)):
        if leader[node] == node:
            assignment[node] = n_groups
            n_groups += 1
        else:
            assignment[node] = assignment[leader[node]]
    return assignment
