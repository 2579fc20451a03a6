"""The selection spelled slowly, every round over every region: what the compiled one has to equal."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsigraph.coarsening.contract import sum_by

_SQUARE_BITS = 4


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
    Linear in edges a round; rounds grow with the logarithm of the largest region's size.
    """
    n_nodes = len(embedding)
    assignment = np.arange(n_nodes, dtype=np.int64)
    if edge_index.shape[1] == 0:
        return assignment
    # columns: count, area, sum of squared norms, sum of the embedding
    state = np.column_stack([np.ones(n_nodes, np.int64), area, (embedding**2).sum(axis=1), embedding])
    edges = edge_index
    k = granularity * float(np.median(_distance(state, edges)))
    for _ in range(max_rounds):
        merged = _mutually_best(state, edges, k, max_area)
        if merged is None:
            break
        n_groups = int(merged.max()) + 1
        state = sum_by(state, merged, n_groups)
        edges = _join(edges, merged, n_groups)
        assignment = merged[assignment]
        if edges.shape[1] == 0:
            break
    return assignment


def _join(edges: NDArray[np.int64], merged: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Return the edges between groups, sorted, each once."""
    source, target = merged[edges[0]], merged[edges[1]]
    key = np.unique((source * n_groups + target)[source != target])
    return np.stack([key // n_groups, key % n_groups])


@njit(nogil=True, cache=True)
def _distance(state: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the distance of the mean embeddings across each edge, on a fixed grid of squared distance."""
    result = np.empty(edges.shape[1])
    for edge in range(edges.shape[1]):
        first, second = state[edges[0, edge]], state[edges[1, edge]]
        square = 0.0
        for k in range(3, state.shape[1]):
            gap = first[k] / first[0] - second[k] / second[0]
            square += gap * gap
        result[edge] = np.sqrt(np.floor(square * (1 << _SQUARE_BITS)) / (1 << _SQUARE_BITS))
    return result


def _mutually_best(
    state: NDArray[np.int64], edges: NDArray[np.int64], k: float, max_area: int
) -> NDArray[np.int64] | None:
    """Return the group of each region after one round, or None if nothing merges."""
    n_nodes = len(state)
    n = state[:, 0].astype(np.float64)
    mean = state[:, 3:] / n[:, None]
    spread = np.sqrt(np.maximum(state[:, 2] / n - (mean**2).sum(axis=1), 0.0))
    tolerance = spread + k / n
    source, target = edges
    distance = _distance(state, edges)
    allowed = distance <= np.minimum(tolerance[source], tolerance[target])
    allowed &= state[source, 1] + state[target, 1] <= max_area
    if not allowed.any():
        return None
    source, target, distance = source[allowed], target[allowed], distance[allowed]
    order = np.lexsort((target, distance, source))
    leads = np.concatenate([[True], source[order][1:] != source[order][:-1]])
    best = np.full(n_nodes, -1, np.int64)
    best[source[order][leads]] = target[order][leads]
    node = np.arange(n_nodes)
    mutual = (best >= 0) & (best[best] == node)
    lead = np.where(mutual, np.minimum(node, best), node)
    if not mutual.any():
        return None
    return np.unique(lead, return_inverse=True)[1].astype(np.int64)
