"""A graph contracted along an assignment: moments and boundaries of merged regions are exact sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.records import TissueGraph


def sum_by(values: NDArray[np.int64], group: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Return the sum of the rows of each group.

    Parameters
    ----------
    values : int64 (N, M)
        Rows to add up.
    group : int64 (N,)
        Group of each row, in 0..n_groups-1; every group must occur.
    n_groups : int
        C.

    Returns
    -------
    int64 (C, M)
        Sums.
    """
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(n_groups))
    return np.add.reduceat(values[order], start, axis=0)


def contract_edges(
    edge_index: NDArray[np.int64], boundary: NDArray[np.int64], assignment: NDArray[np.int64], n_coarse: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges between groups and their summed boundaries; edges inside a group vanish.

    Parameters
    ----------
    edge_index : int64 (2, E)
        Edges, both directions.
    boundary : int64 (E, 2)
        Crossings.
    assignment : int64 (N,)
        Group of each node.
    n_coarse : int
        C.

    Returns
    -------
    edge_index : int64 (2, E')
        Sorted by (source, target).
    boundary : int64 (E', 2)
        Sums.
    """
    source, target = assignment[edge_index[0]], assignment[edge_index[1]]
    across = source != target
    if not across.any():
        return np.zeros((2, 0), np.int64), np.zeros((0, 2), np.int64)
    key, inverse = np.unique(source[across] * n_coarse + target[across], return_inverse=True)
    return np.stack([key // n_coarse, key % n_coarse]), sum_by(boundary[across], inverse, len(key))


def contract(graph: TissueGraph, assignment: NDArray[np.int64], n_coarse: int) -> TissueGraph:
    """Return the graph whose nodes are groups of nodes.

    Parameters
    ----------
    graph : TissueGraph
        Fine graph.
    assignment : int64 (N,)
        Coarse node of each fine node, in 0..C-1, each used.
    n_coarse : int
        C.

    Returns
    -------
    TissueGraph
        C nodes; areas, every moment and the outer boundary are kept in total.
    """
    edge_index, boundary = contract_edges(graph.edge_index, graph.boundary, assignment, n_coarse)
    return TissueGraph(
        slide_id=graph.slide_id,
        mpp=graph.mpp,
        size=graph.size,
        moments=sum_by(graph.moments, assignment, n_coarse),
        moment_names=graph.moment_names,
        edge_index=edge_index,
        boundary=boundary,
        stain=graph.stain,
        encoding_sum=None if graph.encoding_sum is None else sum_by(graph.encoding_sum, assignment, n_coarse),
        encoder=graph.encoder,
    )
