"""Which regions merge: rounds of mutually best neighbours under an adaptive predicate.

Boruvka-style rounds on the region graph: every region names the neighbour nearest in embedding among those the
predicate allows (ties: lower id); two that name each other merge. The predicate is Felzenszwalb and Huttenlocher's
("Efficient graph-based image segmentation", IJCV 2004) in the embedding: the distance of the means must not exceed
either side's internal spread plus k / size, so that homogeneous tissue grows into large regions and heterogeneous
tissue keeps small ones. State is integer sums; the order of nodes and threads cannot matter. Not optimal where a
gradual change crosses the tissue: chains of small steps merge.

A round costs what changed in it, not what is left: a pair is new only if one of its sides changed its choice, and a
region looks at all its neighbours again only if the one it had chosen grew away from it. Lists of neighbours are
joined where they lie and tidied when they are read (``rounds``).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsigraph.coarsening.rounds import distance, merge_in_rounds


def select(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    edge_index: NDArray[np.int64],
    *,
    granularity: float,
    max_area: int,
    max_rounds: int,
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
        k in medians of the distance between neighbours; larger merges more.
    max_area : int
        No merge makes a region larger than this, pixels.
    max_rounds : int
        Most rounds.

    Returns
    -------
    int64 (N,)
        Coarse node of each region, 0..C-1 in order of the lowest region in it.

    Notes
    -----
    Time is linear in nodes and edges: each merge touches the neighbours of one region. Memory: some 300 bytes a node.
    """
    n_nodes = len(embedding)
    if edge_index.shape[1] == 0:
        return np.arange(n_nodes, dtype=np.int64)
    k = granularity * float(np.median(_neighbour_distances(embedding, edge_index)))
    start = np.searchsorted(edge_index[0], np.arange(n_nodes + 1))
    leader = merge_in_rounds(
        embedding, area, start, edge_index[1].astype(np.int32), k=k, max_area=max_area, max_rounds=max_rounds
    )
    return _numbered(leader)


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
