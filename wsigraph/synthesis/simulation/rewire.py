"""Graphs whose edges lead to the wrong neighbours, and are the same in everything else.

A network that does as well on them as on the right ones has learned nothing from neighbourhood.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wsigraph.graph.feature.moments import COLUMN
from wsigraph.records import CoarseGraph

_OWN = [COLUMN["edge_straight"], COLUMN["edge_diagonal"]]


def rewire(coarse: CoarseGraph, *, rng: np.random.Generator) -> CoarseGraph:
    """Return a graph with the far ends of its edges exchanged at random.

    Parameters
    ----------
    coarse : CoarseGraph
        Any graph.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    CoarseGraph
        The same regions with the same features and nearly the same degrees; edges that would join a region to itself
        or repeat another are left out. What a region's perimeter gains or loses by it is booked on the slide's edge,
        so that its total stays exact.
    """
    graph = coarse.graph
    source, target = graph.edge_index
    once = source < target
    one, other = source[once], rng.permutation(target[once])
    low, high = np.minimum(one, other), np.maximum(one, other)
    _, kept = np.unique(low * graph.n_nodes + high, return_index=True)
    kept = kept[low[kept] != high[kept]]
    ends = np.concatenate([np.stack([low[kept], high[kept]]), np.stack([high[kept], low[kept]])], axis=1)
    order = np.lexsort((ends[1], ends[0]))
    edge_index, boundary = ends[:, order], np.tile(graph.boundary[once][kept], (2, 1))[order]
    moments = graph.moments.copy()
    for index, crossings, sign in ((graph.edge_index, graph.boundary, 1), (edge_index, boundary, -1)):
        total = np.zeros((graph.n_nodes, 2), np.int64)
        np.add.at(total, index[0], crossings)
        moments[:, _OWN] += sign * total
    return replace(coarse, graph=replace(graph, moments=moments, edge_index=edge_index, boundary=boundary))
