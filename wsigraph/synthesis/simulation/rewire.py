"""Graphs with randomly rewired edges, otherwise unchanged.

A network that scores as well on them as on the original graphs has learned nothing from neighbourhood.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wsigraph.graph.feature.moments import COLUMN
from wsigraph.records import CoarseGraph

_OWN = [COLUMN["edge_straight"], COLUMN["edge_diagonal"]]


def rewire(coarse: CoarseGraph, *, rng: np.random.Generator) -> CoarseGraph:
    """Return a graph with the target nodes of its edges permuted at random.

    Parameters
    ----------
    coarse : CoarseGraph
        Any graph.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    CoarseGraph
        The same regions with the same features and nearly the same degrees. Edges that would be self-loops or
        duplicates are left out. The change of each region's boundary is added to its boundary with the edge of the
        slide, so that its perimeter stays exact.
    """
    graph = coarse.graph
    source, target = graph.edge_index
    once = source < target
    one, other = source[once], rng.permutation(target[once])
    low, high = np.minimum(one, other), np.maximum(one, other)
    _, unique = np.unique(low * graph.n_nodes + high, return_index=True)
    unique = unique[low[unique] != high[unique]]
    ends = np.concatenate([np.stack([low[unique], high[unique]]), np.stack([high[unique], low[unique]])], axis=1)
    order = np.lexsort((ends[1], ends[0]))
    edge_index, boundary = ends[:, order], np.tile(graph.boundary[once][unique], (2, 1))[order]
    moments = graph.moments.copy()
    for index, crossings, sign in ((graph.edge_index, graph.boundary, 1), (edge_index, boundary, -1)):
        total = np.zeros((graph.n_nodes, 2), np.int64)
        np.add.at(total, index[0], crossings)
        moments[:, _OWN] += sign * total
    return replace(coarse, graph=replace(graph, moments=moments, edge_index=edge_index, boundary=boundary))
