"""Connected superpixels from the global graph of components.

SLIC labels fall into many 4-connected components. Which of them stay together is decided here on the graph of all
components of the slide, never in scan order: each label keeps its largest component (tie: first pixel), unless that is
below the minimum area; every other component joins the kept region with which it shares the longest boundary (tie:
lower id), in simultaneous rounds; an island of components without a kept neighbour becomes one region, or leaves the
tissue where it is below the minimum area. Regions are numbered 1..N in raster order of first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsigraph.geometry import Box


@dataclass(frozen=True, slots=True, eq=False)
class ChunkComponents:
    """Components of one chunk, numbered 1..C in raster order.

    Attributes
    ----------
    box : Box
        The chunk.
    label, area, first : int64 (C,)
        SLIC label, pixels, and raster index (y * slide width + x) of the first pixel.
    pair, length : int64 (P, 2), (P,)
        Touching components (lower first) and the pixel pairs between them.
    top, bottom, left, right : int32
        Components along the chunk's sides, 0 outside tissue.
    """

    box: Box
    label: NDArray[np.int64]
    area: NDArray[np.int64]
    first: NDArray[np.int64]
    pair: NDArray[np.int64]
    length: NDArray[np.int64]
    top: NDArray[np.int32]
    bottom: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


@njit(nogil=True, cache=True)
def _root(parent: NDArray[np.int32], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def _join(parent: NDArray[np.int32], first: int, second: int) -> int:
    """Join two provisional numbers, 0 standing for none, and return the lower root."""
    if first == 0 or second == 0 or first == second:
        return max(first, second)
    first, second = _root(parent, first), _root(parent, second)
    parent[max(first, second)] = min(first, second)
    return min(first, second)


@njit(nogil=True, cache=True)
def label_components(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], int]:
    """Return the 4-connected components of equal, non-zero labels.

    Parameters
    ----------
    labels : int32 (h, w)
        Labels; 0 is background.

    Returns
    -------
    components : int32 (h, w)
        1..C in raster order of first pixel; 0 on background.
    n_components : int
        C.
    """
    height, width = labels.shape
    components = np.zeros((height, width), np.int32)
    parent = np.zeros(height * width + 1, np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            value = labels[y, x]
            if value == 0:
                continue
            up = components[y - 1, x] if y > 0 and labels[y - 1, x] == value else 0
            back = components[y, x - 1] if x > 0 and labels[y, x - 1] == value else 0
            if up == 0 and back == 0:
                n += 1
                parent[n] = n
                components[y, x] = n
            else:
                components[y, x] = _join(parent, up, back)
    # the lowest provisional number of a component is that of its first pixel, so roots in order are raster order
    final = np.zeros(n + 1, np.int32)
    n_components = 0
    for node in range(1, n + 1):
        root = _root(parent, node)
        if root == node:
            n_components += 1
            final[node] = n_components
        else:
            final[node] = final[root]
    for y in range(height):
        for x in range(width):
            components[y, x] = final[components[y, x]]
    return components, n_components


@njit(nogil=True, cache=True)
def _touching(components: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return one key a pixel pair of two components: lower number << 32 | higher number."""
    height, width = components.shape
    keys = np.empty(1024, np.int64)
    found = 0
    for y in range(height):
        if found + 2 * width > len(keys):
            grown = np.empty(2 * len(keys) + 2 * width, np.int64)
            grown[:found] = keys[:found]
            keys = grown
        for x in range(width):
            own = np.int64(components[y, x])
            if own == 0:
                continue
            right = np.int64(components[y, x + 1]) if x + 1 < width else own
            if right != own and right != 0:
                keys[found] = (min(own, right) << 32) | max(own, right)
                found += 1
            below = np.int64(components[y + 1, x]) if y + 1 < height else own
            if below != own and below != 0:
                keys[found] = (min(own, below) << 32) | max(own, below)
                found += 1
    return keys[:found]


@njit(nogil=True, cache=True)
def _tabulate(
    components: NDArray[np.int32], labels: NDArray[np.int32], n: int, y0: int, x0: int, slide_width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return label, area and first pixel of each component."""
    label, area, first = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, -1, np.int64)
    for y in range(components.shape[0]):
        for x in range(components.shape[1]):
            own = components[y, x] - 1
            if own < 0:
                continue
            area[own] += 1
            if first[own] < 0:
                first[own] = np.int64(y + y0) * slide_width + x + x0
                label[own] = labels[y, x]
    return label, area, first


def chunk_components(
    labels: NDArray[np.int32], box: Box, slide_width: int
) -> tuple[NDArray[np.int32], ChunkComponents]:
    """Return the component image of a chunk and its table.

    Parameters
    ----------
    labels : int32 (h, w)
        SLIC labels of the chunk.
    box : Box
        The chunk, in working pixels.
    slide_width : int
        Working pixels a row of the slide.

    Returns
    -------
    components : int32 (h, w)
        1..C, 0 outside tissue.
    table : ChunkComponents
        What the global decision needs of this chunk.
    """
    components, n = label_components(labels)
    label, area, first = _tabulate(components, labels, n, box.y0, box.x0, slide_width)
    unique, length = np.unique(_touching(components), return_counts=True)
    return components, ChunkComponents(
        box=box,
        label=label,
        area=area,
        first=first,
        pair=np.stack([unique >> 32, unique & 0xFFFFFFFF], axis=1),
        length=length.astype(np.int64),
        top=components[0].copy(),
        bottom=components[-1].copy(),
        left=components[:, 0].copy(),
        right=components[:, -1].copy(),
    )


def resolve(chunks: list[ChunkComponents], min_area_px: int) -> tuple[list[NDArray[np.int32]], int, int]:
    """Return the final label of every component of every chunk.

    Parameters
    ----------
    chunks : list of ChunkComponents
        All chunks of the slide that hold tissue.
    min_area_px : int
        Least area of a region, except that a region may not be split to reach it.

    Returns
    -------
    tables : list of int32 (C + 1,)
        For each chunk, the final label by component number; entry 0 is 0.
    n_superpixels : int
        N.
    dropped_px : int
        Tissue pixels on islands below the minimum area, which leave the tissue.
    """
    offset = np.concatenate([[0], np.cumsum([len(chunk.label) for chunk in chunks])]).astype(np.int64)
    node, label, area, first, pair, length = _join_seams(chunks, offset)
    if len(label) == 0:
        return [np.zeros(1, np.int32) for _ in chunks], 0, 0
    region = _grow(_kept(label, area, first, min_area_px), pair, length)
    region, dropped_px = _settle_islands(region, pair, area, min_area_px)
    final, n_superpixels = _number(region, first)
    merged = final[node]
    tables = [np.concatenate([[0], merged[start:stop]]).astype(np.int32) for start, stop in pairwise(offset)]
    return tables, n_superpixels, dropped_px


Table = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]
]


def _join_seams(chunks: list[ChunkComponents], offset: NDArray[np.int64]) -> Table:
    """Join components over seams; return node of each local component, and label, area, first, pairs of the nodes.

    Nodes are numbered in raster order of first pixel, so that the lower id means the same for every tiling.
    """
    label = np.concatenate([np.zeros(0, np.int64), *(chunk.label for chunk in chunks)])
    area = np.concatenate([np.zeros(0, np.int64), *(chunk.area for chunk in chunks)])
    first = np.concatenate([np.zeros(0, np.int64), *(chunk.first for chunk in chunks)])
    pairs = [chunk.pair + start - 1 for chunk, start in zip(chunks, offset[:-1], strict=True)]
    lengths = [chunk.length for chunk in chunks]
    seams = np.concatenate([np.zeros((0, 2), np.int64), *_seams(chunks, offset)])
    same = label[seams[:, 0]] == label[seams[:, 1]]
    n = len(label)
    joins = coo_array((np.ones(int(same.sum()), np.int8), (seams[same, 0], seams[same, 1])), shape=(n, n))
    n_nodes, group = connected_components(joins, directed=False)
    node_first = np.full(n_nodes, np.iinfo(np.int64).max)
    np.minimum.at(node_first, group, first)
    order = np.argsort(node_first)
    rank = np.empty(n_nodes, np.int64)
    rank[order] = np.arange(n_nodes)
    node = rank[group]
    node_area, node_label = np.zeros(n_nodes, np.int64), np.zeros(n_nodes, np.int64)
    np.add.at(node_area, node, area)
    node_label[node] = label
    ends = node[np.concatenate([*pairs, seams[~same]]).astype(np.int64)]
    counts = np.concatenate([*lengths, np.ones(int((~same).sum()), np.int64)]).astype(np.int64)
    pair, length = _sum_pairs(ends, counts, n_nodes)
    return node, node_label, node_area, node_first[order], pair, length


def _seams(chunks: list[ChunkComponents], offset: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the pairs of local components that face each other over the seams, one row a pixel pair."""
    by_corner = {(chunk.box.y0, chunk.box.x0): index for index, chunk in enumerate(chunks)}
    found = []
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
            found.append(np.stack([own, other_side[touching].astype(np.int64) - 1 + offset[other]], axis=1))
    return found


def _sum_pairs(
    ends: NDArray[np.int64], counts: NDArray[np.int64], n_nodes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return unique unordered pairs, lower first, and the sum of their counts."""
    low, high = ends.min(axis=1), ends.max(axis=1)
    unique, inverse = np.unique(low * n_nodes + high, return_inverse=True)
    length = np.zeros(len(unique), np.int64)
    np.add.at(length, inverse, counts)
    return np.stack([unique // n_nodes, unique % n_nodes], axis=1), length


def _kept(
    label: NDArray[np.int64], area: NDArray[np.int64], first: NDArray[np.int64], min_area_px: int
) -> NDArray[np.int64]:
    """Return the region of each node: itself for the largest of each label, -1 for the rest."""
    order = np.lexsort((first, -area, label))
    leads = np.concatenate([[True], label[order][1:] != label[order][:-1]])
    largest = order[leads]
    region = np.full(len(label), -1, np.int64)
    largest = largest[area[largest] >= min_area_px]
    region[largest] = largest
    return region


def _grow(region: NDArray[np.int64], pair: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let every node without a region join the region it touches longest, in simultaneous rounds."""
    region = region.copy()
    source = np.concatenate([pair[:, 0], pair[:, 1]])
    target = np.concatenate([pair[:, 1], pair[:, 0]])
    weight = np.concatenate([length, length])
    while True:
        open_ = region[source] < 0
        source, target, weight = source[open_], target[open_], weight[open_]
        ready = region[target] >= 0
        if not ready.any():
            return region
        n = len(region)
        key, inverse = np.unique(source[ready] * n + region[target[ready]], return_inverse=True)
        shared = np.zeros(len(key), np.int64)
        np.add.at(shared, inverse, weight[ready])
        joining, candidate = key // n, key % n
        order = np.lexsort((candidate, -shared, joining))
        leads = np.concatenate([[True], joining[order][1:] != joining[order][:-1]])
        region[joining[order][leads]] = candidate[order][leads]


def _settle_islands(
    region: NDArray[np.int64], pair: NDArray[np.int64], area: NDArray[np.int64], min_area_px: int
) -> tuple[NDArray[np.int64], int]:
    """Make each island without a kept region one region, or drop it; return regions and the pixels dropped."""
    lost = region < 0
    if not lost.any():
        return region, 0
    n = len(region)
    inside = lost[pair[:, 0]] & lost[pair[:, 1]]
    ones = np.ones(int(inside.sum()), np.int8)
    _, island = connected_components(
        coo_array((ones, (pair[inside, 0], pair[inside, 1])), shape=(n, n)), directed=False
    )
    total, lead = np.zeros(n, np.int64), np.full(n, n, np.int64)
    np.add.at(total, island[lost], area[lost])
    np.minimum.at(lead, island[lost], np.flatnonzero(lost))
    large = lost & (total[island] >= min_area_px)
    region = region.copy()
    region[large] = lead[island[large]]
    return region, int(area[region < 0].sum())


def _number(region: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the final label of each node, 1..N by first pixel of its region, 0 where it left the tissue."""
    n = len(region)
    earliest = np.full(n, np.iinfo(np.int64).max)
    inside = region >= 0
    np.minimum.at(earliest, region[inside], first[inside])
    regions = np.unique(region[inside])
    number = np.zeros(n, np.int64)
    number[regions[np.argsort(earliest[regions])]] = np.arange(1, len(regions) + 1)
    return np.where(inside, number[np.maximum(region, 0)], 0), len(regions)
