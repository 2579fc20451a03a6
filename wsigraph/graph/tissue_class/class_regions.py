"""Superpixels of one name merged into regions: compartments of 0.1 mm2 and more, or structures of 0.01 to 0.1 mm2.

Neighbours that have the same name are merged: for compartments all of them, for structures by Ward's criterion in the
learned embedding and only up to 0.1 mm2, the edges between two names being closed. Pieces smaller than the level then
join the neighbour with which they share the longest boundary, so that outlines lose specks and fringes and every region
has a size that can be drawn; a structure does not grow beyond its limit by that. Glass is never merged with tissue. The
moments of the regions are sums, so their features stay exact.

This is a cut by names, at a scale of area, and no optimum. A piece that joins keeps its own name in the amounts, which
are counted over superpixels. Pieces of tissue that touch nothing else stay smaller than the level.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from wsigraph.geometry import um2_to_px
from wsigraph.graph.coarsening.contract import contract, contract_edges
from wsigraph.graph.coarsening.embed import embed, load_embedding
from wsigraph.graph.coarsening.select import select
from wsigraph.records import CoarseGraph, TissueGraph

_ROUNDS = 64
_WARD_SCALE = 4.0
"""Merging scale of structures, in medians of the embedding distance; the limit of area stops most merges."""
STRUCTURE_UM2, COMPARTMENT_UM2 = 1e4, 1e5
"""Smallest structure and smallest compartment; the latter is also the largest structure."""


def cut_by_class(
    graph: TissueGraph, label: NDArray[np.int64], *, level: Literal["structure", "compartment"], apart: int
) -> tuple[CoarseGraph, NDArray[np.int64]]:
    """Return regions of one name each, of the size of a level.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels.
    label : int64 (N,)
        Name of each superpixel, as a number.
    level : {"structure", "compartment"}
        Structures have 0.01 to 0.1 mm2, compartments at least 0.1 mm2.
    apart : int
        Name that joins no other and that no other joins.

    Returns
    -------
    regions : CoarseGraph
        Connected regions, numbered by their lowest superpixel.
    region_label : int64 (C,)
        Name of each region.

    Notes
    -----
    Linear in regions and edges.
    """
    if level == "compartment":
        return merge_by_class(graph, label, min_area_um2=COMPARTMENT_UM2, apart=apart)
    inside = label[graph.edge_index[0]] == label[graph.edge_index[1]]
    start = select(
        embed(graph, load_embedding()),
        graph.moment("n"),
        np.ascontiguousarray(graph.edge_index[:, inside]),
        granularity=_WARD_SCALE,
        max_area=um2_to_px(COMPARTMENT_UM2, graph.mpp),
    )
    return merge_by_class(
        graph, label, min_area_um2=STRUCTURE_UM2, apart=apart, start=start, max_area_um2=COMPARTMENT_UM2
    )


def merge_by_class(
    graph: TissueGraph,
    label: NDArray[np.int64],
    *,
    min_area_um2: float,
    apart: int,
    start: NDArray[np.int64] | None = None,
    max_area_um2: float = np.inf,
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
    start : int64 (N,), optional
        Regions to begin with, each connected and of one name; all neighbours of one name if omitted.
    max_area_um2 : float
        No region grows beyond this by joining.

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
    if start is None:
        group, group_label = _components(len(label), graph.edge_index, label[source] == label[target], label)
    else:
        group, group_label = start, label[np.unique(start, return_index=True)[1]]
    area = np.asarray(np.bincount(group, graph.moment("n"), minlength=len(group_label)), np.float64)
    least = um2_to_px(min_area_um2, graph.mpp)
    most = np.inf if np.isinf(max_area_um2) else um2_to_px(max_area_um2, graph.mpp)
    for _ in range(_ROUNDS):
        edges, boundary = contract_edges(graph.edge_index, graph.boundary, group, len(group_label))
        chosen = _longest(edges, boundary, group_label, area, (least, most), apart)
        moved = np.flatnonzero(chosen >= 0)
        if not len(moved):
            break
        if np.isfinite(most):
            # one region for each target and round, so that several joining at once do not exceed the limit
            moved = moved[np.unique(chosen[moved], return_index=True)[1]]
            moved = moved[~np.isin(chosen[moved], moved)]
        joined = np.stack([moved, chosen[moved]])
        merged, _ = _components(len(group_label), joined, np.ones(len(moved), np.bool_), group_label)
        # the name of the largest part is that of the whole
        order = np.lexsort((np.arange(len(area)), -area, merged))
        first = np.unique(merged[order], return_index=True)[1]
        group_label = group_label[order[first]]
        area = np.asarray(np.bincount(merged, area), np.float64)
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
    limits: tuple[float, float],
    apart: int,
) -> NDArray[np.int64]:
    """Return for every small region the neighbour with the longest common boundary, int64 (C,); -1 if it stays.

    A region joins only one that is larger, or equal and of lower number, so that no two wait for each other.
    """
    source, target = edges
    larger = (area[target] > area[source]) | ((area[target] == area[source]) & (target < source))
    allowed = (area[source] < limits[0]) & larger & (label[source] != apart) & (label[target] != apart)
    allowed &= area[source] + area[target] <= limits[1]
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
