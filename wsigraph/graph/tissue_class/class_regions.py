"""Superpixels of one name merged into regions: compartments, or structures of a given size.

Neighbours that have the same name are merged. Pieces smaller than a limit then join the neighbour with which they share
the longest boundary, the smallest first, so that outlines lose specks and fringes and every region has a size that can
be drawn. Glass is never merged with tissue. The moments of the regions are sums, so their features stay exact.

This is a cut by names, at a scale of area. It is no optimum: a piece that joins keeps its own name in the composition,
which is counted over superpixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from wsigraph.geometry import um2_to_px
from wsigraph.graph.coarsening.contract import contract, contract_edges
from wsigraph.records import CoarseGraph, TissueGraph

_ROUNDS = 64


def merge_by_class(
    graph: TissueGraph, label: NDArray[np.int64], *, min_area_um2: float, apart: int
) -> tuple[CoarseGraph, NDArray[np.int64]]:
    """Return the regions of one name each.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels.
    label : int64 (N,)
        Name of each superpixel, as a number.
    min_area_um2 : float
        Smaller regions join the neighbour with the longest common boundary.
    apart : int
        Name that joins no other and that no other joins.

    Returns
    -------
    regions : CoarseGraph
        Connected regions, numbered by their lowest superpixel; one that touches no other keeps its size.
    region_label : int64 (C,)
        Name of each region.

    Notes
    -----
    Linear in edges for each round; a round joins every small region once, and the area of the smallest doubles.
    """
    label = np.asarray(label, np.int64)
    source, target = graph.edge_index
    group, group_label = _components(len(label), graph.edge_index, label[source] == label[target], label)
    area = np.bincount(group, graph.moment("n"), minlength=len(group_label))
    least = um2_to_px(min_area_um2, graph.mpp)
    for _ in range(_ROUNDS):
        edges, boundary = contract_edges(graph.edge_index, graph.boundary, group, len(group_label))
        chosen = _longest(edges, boundary, group_label, area, least, apart)
        moved = np.flatnonzero(chosen >= 0)
        if not len(moved):
            break
        joined = np.stack([moved, chosen[moved]])
        merged, _ = _components(len(group_label), joined, np.ones(len(moved), np.bool_), group_label)
        # the name of the largest part is that of the whole
        order = np.lexsort((np.arange(len(area)), -area, merged))
        first = np.unique(merged[order], return_index=True)[1]
        group_label = group_label[order[first]]
        area = np.bincount(merged, area)
        group = merged[group]
    group, group_label = _renumber(group, group_label)
    coarse = contract(graph, group, len(group_label))
    return CoarseGraph(graph=coarse, assignment=group, embedding_id="tissue-classes"), group_label


def _components(
    n_nodes: int, edges: NDArray[np.int64], kept: NDArray[np.bool_], label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the component of each node over the kept edges, int64 (N,), and the label of its first node, (C,)."""
    pairs = edges[:, kept]
    linked = csr_array((np.ones(pairs.shape[1], np.int8), (pairs[0], pairs[1])), shape=(n_nodes, n_nodes))
    component = connected_components(linked, directed=False)[1].astype(np.int64)
    return component, label[np.unique(component, return_index=True)[1]]


def _longest(
    edges: NDArray[np.int64],
    boundary: NDArray[np.int64],
    label: NDArray[np.int64],
    area: NDArray[np.float64],
    least: float,
    apart: int,
) -> NDArray[np.int64]:
    """Return for every small region the neighbour with the longest common boundary, int64 (C,); -1 if it stays.

    A region joins only one that is larger than itself, or equal and of lower number, so that no two wait for each other.
    """
    source, target = edges
    larger = (area[target] > area[source]) | ((area[target] == area[source]) & (target < source))
    allowed = (area[source] < least) & larger & (label[source] != apart) & (label[target] != apart)
    length = 2 * boundary[:, 0] + boundary[:, 1]
    candidates = np.flatnonzero(allowed)
    order = candidates[np.lexsort((target[candidates], -length[candidates], source[candidates]))]
    chosen = np.full(len(label), -1, np.int64)
    first, where = np.unique(source[order], return_index=True)
    chosen[first] = target[order[where]]
    return chosen


def _renumber(group: NDArray[np.int64], label: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return groups numbered by their lowest member, and their labels in that order."""
    present, first = np.unique(group, return_index=True)
    order = np.argsort(first, kind="stable")
    number = np.empty(len(label), np.int64)
    number[present[order]] = np.arange(len(present))
    return number[group], label[present[order]]
