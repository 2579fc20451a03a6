"""Contraction of a graph along an assignment: the moments and boundaries of merged regions are exact sums.

With assignment a (node to group), moments X (N, M) and boundary lengths B of edges::

    X'[c] = sum over i with a_i = c of X[i]
    B'[c, d] = sum over edges (i, j) with a_i = c, a_j = d of B[i, j],   c != d

The second line is S.T B S for the membership matrix S without its diagonal. ``scipy.sparse`` products and
``torch_geometric.utils.coalesce`` sort all edges; the kernel here visits each group's edges twice and only sorts the
neighbours of each group, because edges are already sorted by source.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.records import TissueGraph


def sum_by(values: NDArray[np.int64], group: NDArray[np.int64], n_groups: int) -> NDArray[np.int64]:
    """Return the sum of the rows of each group.

    Parameters
    ----------
    values : int64 (N, M)
        Rows to sum.
    group : int64 (N,)
        Group of each row, in 0..n_groups-1.
    n_groups : int
        Number of groups, C.

    Returns
    -------
    int64 (C, M)
        Sum of each group's rows; 0 for a group without rows.
    """
    sums = np.zeros((n_groups, values.shape[1]), np.int64)
    _add_rows(sums, values, group)
    return sums


@njit(nogil=True, cache=True)
def _add_rows(sums: NDArray[np.int64], values: NDArray[np.int64], group: NDArray[np.int64]) -> None:
    """Compute ``sums[group[i]] += values[i]``: sums int64 (C, M), values int64 (N, M), group int64 (N,)."""
    for row in range(len(values)):
        for column in range(values.shape[1]):
            sums[group[row], column] += values[row, column]


def contract_edges(
    edge_index: NDArray[np.int64], boundary: NDArray[np.int64], assignment: NDArray[np.int64], n_coarse: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges between groups and their summed boundaries; edges inside a group are dropped.

    Parameters
    ----------
    edge_index : int64 (2, E)
        Edges in both directions, sorted by source.
    boundary : int64 (E, 2)
        Straight and diagonal crossings of each edge.
    assignment : int64 (N,)
        Group of each node.
    n_coarse : int
        Number of groups, C.

    Returns
    -------
    edge_index : int64 (2, E')
        Edges between groups in both directions, sorted by (source, target).
    boundary : int64 (E', 2)
        Summed crossings.
    """
    # CSR of the nodes of each group (first, members) and of the edges of each node (start)
    size = np.bincount(assignment, minlength=n_coarse)
    first = np.concatenate([[0], np.cumsum(size)])  # (C + 1,)
    start = np.searchsorted(edge_index[0], np.arange(len(assignment) + 1))
    members = np.argsort(assignment, kind="stable")
    return _sum_parallel_edges(edge_index[1], boundary, assignment, start, members, first)


@njit(nogil=True, cache=True)
def _sum_parallel_edges(
    target: NDArray[np.int64],
    boundary: NDArray[np.int64],
    assignment: NDArray[np.int64],
    start: NDArray[np.int64],
    members: NDArray[np.int64],
    first: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges of each group in turn, sorted by neighbour, int64 (2, E'), and their sums, int64 (E', 2).

    target int64 (E,), boundary int64 (E, 2), assignment int64 (N,), start int64 (N + 1,), members int64 (N,),
    first int64 (C + 1,). `place` (C,) maps a neighbouring group to its edge: values before `begin` belong to earlier
    groups, so it never has to be cleared.
    """
    n_coarse = len(first) - 1
    edge_index = np.empty((2, len(target)), np.int64)  # (2, E), cut to E' at the end
    sums = np.zeros((len(target), 2), np.int64)  # (E, 2), cut to E'
    place = np.full(n_coarse, -1, np.int64)  # (C,)
    n_edges = 0
    for group in range(n_coarse):
        begin = n_edges
        for member in members[first[group] : first[group + 1]]:
            for edge in range(start[member], start[member + 1]):
                other = assignment[target[edge]]
                if other != group and place[other] < begin:
                    place[other] = n_edges
                    edge_index[1, n_edges] = other
                    n_edges += 1
        edge_index[0, begin:n_edges] = group
        edge_index[1, begin:n_edges].sort()
        for at in range(begin, n_edges):
            place[edge_index[1, at]] = at
        for member in members[first[group] : first[group + 1]]:
            for edge in range(start[member], start[member + 1]):
                other = assignment[target[edge]]
                if other != group:
                    sums[place[other], 0] += boundary[edge, 0]
                    sums[place[other], 1] += boundary[edge, 1]
    return edge_index[:, :n_edges].copy(), sums[:n_edges].copy()


def contract(graph: TissueGraph, assignment: NDArray[np.int64], n_coarse: int) -> TissueGraph:
    """Return the graph whose nodes are groups of nodes.

    Parameters
    ----------
    graph : TissueGraph
        Graph to contract.
    assignment : int64 (N,)
        Group of each node, in 0..C-1; every group must have a node.
    n_coarse : int
        Number of groups, C.

    Returns
    -------
    TissueGraph
        Graph with C nodes. The totals of area, of every moment and of the outer boundary do not change.
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
        class_names=graph.class_names,
        class_pixels=None if graph.class_pixels is None else sum_by(graph.class_pixels, assignment, n_coarse),
        nuclei=graph.nuclei,
        mark=graph.mark,
    )
