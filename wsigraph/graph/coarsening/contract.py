"""A graph contracted along an assignment: moments and boundaries of merged regions are exact sums."""

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
        Rows to add up.
    group : int64 (N,)
        Group of each row, in 0..n_groups-1.
    n_groups : int
        C.

    Returns
    -------
    int64 (C, M)
        Sums.
    """
    sums = np.zeros((n_groups, values.shape[1]), np.int64)
    _add_up(sums, values, group)
    return sums


@njit(nogil=True, cache=True)
def _add_up(sums: NDArray[np.int64], values: NDArray[np.int64], group: NDArray[np.int64]) -> None:
    for row in range(len(values)):
        for column in range(values.shape[1]):
            sums[group[row], column] += values[row, column]


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
    size = np.bincount(assignment, minlength=n_coarse)
    first = np.concatenate([[0], np.cumsum(size)])
    start = np.searchsorted(edge_index[0], np.arange(len(assignment) + 1))
    members = np.argsort(assignment, kind="stable")
    return _joined(edge_index[1], boundary, assignment, start, members, first)


@njit(nogil=True, cache=True)
def _joined(
    target: NDArray[np.int64],
    boundary: NDArray[np.int64],
    assignment: NDArray[np.int64],
    start: NDArray[np.int64],
    members: NDArray[np.int64],
    first: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges of each group in turn, its neighbours in order."""
    n_coarse = len(first) - 1
    edge_index = np.empty((2, len(target)), np.int64)
    sums = np.zeros((len(target), 2), np.int64)
    place = np.full(n_coarse, -1, np.int64)
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
