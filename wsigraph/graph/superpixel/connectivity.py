"""Connected superpixels from the component graph of the whole slide.

SLIC labels fall into many 4-connected components. Which of them survive is decided here on the graph of all components
of the slide, never in scan order, so it cannot depend on the tiling:

1. Every component with at least the minimum area A is a region.
2. In simultaneous rounds, every other component v that touches a region joins the region r with the longest common
   boundary: argmax over r of the pixel pairs between v and r; ties go to the lower id.
3. A group of components without any region beside it (an island) becomes one region if its area is at least A.
   Otherwise it leaves the tissue.

Regions are numbered 1..N in raster order of their first pixel. scikit-image's and OpenCV's connectivity steps scan the
pixels of one image and merge a small component into whichever neighbour the scan met last; scipy's ``csgraph`` finds
components of a graph but has no such rule of growth.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.superpixel.components import ChunkComponents, join, root
from wsigraph.kernels import njit

Integers = NDArray[np.int64]


def resolve(chunks: list[ChunkComponents], min_area_px: int) -> tuple[list[NDArray[np.int32]], int, int]:
    """Return the final label of every component of every chunk.

    Parameters
    ----------
    chunks : list of ChunkComponents
        All chunks of the slide that hold tissue.
    min_area_px : int
        Least area A of a region, pixels.

    Returns
    -------
    tables : list of int32 (C + 1,)
        For each chunk, the final label of each component number; entry 0 is 0.
    n_superpixels : int
        Number of regions, N.
    dropped_px : int
        Tissue pixels on islands below the minimum area, which leave the tissue.
    """
    # (chunks + 1,) first component of each chunk
    offset = np.concatenate([[0], np.cumsum([len(chunk.label) for chunk in chunks])]).astype(np.int64)
    if offset[-1] == 0:
        return [np.zeros(1, np.int32) for _ in chunks], 0, 0
    node, area, low, high, length = _join_seams(chunks, offset)
    region = np.where(area >= min_area_px, np.arange(len(area)), -1)
    start, target, weight = _neighbours(low, high, length, len(area))
    _grow(region, start, target, weight)
    dropped_px = _resolve_islands(region, low, high, area, min_area_px)
    final, n_superpixels = _number(region)
    merged = final[node]
    tables = [np.concatenate([[0], merged[first:last]]).astype(np.int32) for first, last in pairwise(offset)]
    return tables, n_superpixels, dropped_px


def _join_seams(
    chunks: list[ChunkComponents], offset: Integers
) -> tuple[Integers, Integers, Integers, Integers, Integers]:
    """Join components across the seams of chunks; return the node of each component, and the nodes' area and contacts.

    Nodes are numbered in raster order of their first pixel, so "the lower id" means the same for every tiling.

    Returns
    -------
    node : int64 (components,)
        Node of each component of each chunk.
    area : int64 (nodes,)
        Pixels of each node.
    low, high, length : int64 (K,)
        Two nodes that touch and the pixel pairs between them; the same two nodes may occur several times.
    """
    label = np.concatenate([chunk.label for chunk in chunks])  # (components,)
    first = np.concatenate([chunk.first for chunk in chunks])
    seams = np.concatenate([np.zeros((0, 2), np.int64), *_seams(chunks, offset)])  # (pixel pairs, 2)
    same = label[seams[:, 0]] == label[seams[:, 1]]
    # rank components by first pixel, so that the root of a union (its lowest rank) holds the first pixel
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.int64)  # (components,) place in raster order of first pixel
    rank[order] = np.arange(len(order))
    node = _number_nodes(rank, seams[same])
    area = np.zeros(int(node.max()) + 1, np.int64)  # (nodes,)
    np.add.at(area, node, np.concatenate([chunk.area for chunk in chunks]))
    pairs = [chunk.pair + (start - 1) for chunk, start in zip(chunks, offset[:-1], strict=True)]
    ends = node[np.concatenate([*pairs, seams[~same]])]
    # (K,) pixel pairs of each contact
    counts = np.concatenate([*(chunk.length for chunk in chunks), np.ones(int((~same).sum()), np.int64)])
    return node, area, ends[:, 0].copy(), ends[:, 1].copy(), counts


def _seams(chunks: list[ChunkComponents], offset: Integers) -> list[Integers]:
    """Return the components that face each other across the seams, int64 (k, 2) arrays with one row a pixel pair."""
    by_corner = {(chunk.box.y0, chunk.box.x0): index for index, chunk in enumerate(chunks)}
    pairs = []
    for index, chunk in enumerate(chunks):
        right = by_corner.get((chunk.box.y0, chunk.box.x1))
        below = by_corner.get((chunk.box.y1, chunk.box.x0))
        for other, own_side, other_side in (
            (right, chunk.right, chunks[right].left if right is not None else None),
            (below, chunk.bottom, chunks[below].top if below is not None else None),
        ):
            if other is None or other_side is None:
                continue
            touching = (own_side > 0) & (other_side > 0)
            own = own_side[touching].astype(np.int64) - 1 + offset[index]
            pairs.append(np.stack([own, other_side[touching].astype(np.int64) - 1 + offset[other]], axis=1))
    return pairs


@njit(nogil=True, cache=True)
def _number_nodes(rank: Integers, joins: Integers) -> Integers:
    """Return the node of every component, int64 (components,), nodes in the order of their lowest rank.

    rank int64 (components,); joins int64 (k, 2), pairs of components to unite.
    """
    n = len(rank)
    parent = np.arange(n).astype(np.int32)
    for i in range(len(joins)):
        join(parent, rank[joins[i, 0]], rank[joins[i, 1]])
    number = np.empty(n, np.int64)
    n_nodes = 0
    for place in range(n):
        top = root(parent, place)
        if top == place:
            number[place] = n_nodes
            n_nodes += 1
        else:
            number[place] = number[top]
    return number[rank]


@njit(nogil=True, cache=True)
def _neighbours(low: Integers, high: Integers, length: Integers, n: int) -> tuple[Integers, Integers, Integers]:
    """Return the contacts as a CSR matrix: start int64 (n + 1,), neighbour and pixel pairs int64 (2 K,) each."""
    start = np.zeros(n + 1, np.int64)  # (n + 1,) row pointers
    for i in range(len(low)):
        start[low[i] + 1] += 1
        start[high[i] + 1] += 1
    start = np.cumsum(start)
    place = start[:-1].copy()
    # (2 K,) each contact in both directions
    target, weight = np.empty(2 * len(low), np.int64), np.empty(2 * len(low), np.int64)
    for i in range(len(low)):
        for own, other in ((low[i], high[i]), (high[i], low[i])):
            target[place[own]] = other
            weight[place[own]] = length[i]
            place[own] += 1
    return start, target, weight


@njit(nogil=True, cache=True)
def _grow(region: Integers, start: Integers, target: Integers, weight: Integers) -> None:
    """Let every node without a region join the region with the longest common boundary, in simultaneous rounds.

    region int64 (nodes,) holds the region of each node, or -1, and is updated in place after each round, so a round
    only sees the state before it.
    """
    waiting = np.flatnonzero(region < 0)
    shared = np.zeros(len(region), np.int64)  # pixel pairs between one node and each region; 0 again after each node
    while True:
        chosen = np.full(len(waiting), -1, np.int64)  # (waiting,) region to join
        for i, node in enumerate(waiting):
            contacts = range(start[node], start[node + 1])
            for at in contacts:
                if region[target[at]] >= 0:
                    shared[region[target[at]]] += weight[at]
            best = np.int64(0)
            for at in contacts:
                beyond = region[target[at]]
                if beyond >= 0 and (shared[beyond] > best or (shared[beyond] == best and beyond < chosen[i])):
                    best, chosen[i] = shared[beyond], beyond
            for at in contacts:
                if region[target[at]] >= 0:
                    shared[region[target[at]]] = 0
        joined = chosen >= 0
        if not joined.any():
            return
        region[waiting[joined]] = chosen[joined]
        waiting = waiting[~joined]


@njit(nogil=True, cache=True)
def _resolve_islands(region: Integers, low: Integers, high: Integers, area: Integers, min_area_px: int) -> int:
    """Turn each island without a region into one region, or drop it; return the number of dropped pixels."""
    if not (region < 0).any():
        return 0
    parent = np.arange(len(region)).astype(np.int32)
    for i in range(len(low)):
        if region[low[i]] < 0 and region[high[i]] < 0:
            join(parent, low[i], high[i])
    total = np.zeros(len(region), np.int64)  # (nodes,) area of an island, at its root
    for node in range(len(region)):
        if region[node] < 0:
            total[root(parent, node)] += area[node]
    dropped = 0
    for node in range(len(region)):
        if region[node] >= 0:
            continue
        island = root(parent, node)
        if total[island] >= min_area_px:
            region[node] = island
        else:
            dropped += area[node]
    return dropped


@njit(nogil=True, cache=True)
def _number(region: Integers) -> tuple[Integers, int]:
    """Return the final label of each node, int64 (nodes,), 1..N by first pixel of its region, and N; 0 if dropped."""
    number, final = np.zeros(len(region), np.int64), np.zeros(len(region), np.int64)
    n = 0
    # nodes are sorted by first pixel, so the first node of a region holds the region's first pixel
    for node in range(len(region)):
        if region[node] >= 0:
            if number[region[node]] == 0:
                n += 1
                number[region[node]] = n
            final[node] = number[region[node]]
    return final, n
