"""Connected components of one chunk, and the table of them that the decision over the whole slide needs.

Labels are split into 4-connected components run by run: the runs of a row join those of the row above under the same
label. A second sweep numbers components in raster order of first pixel, measures them and counts which touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    components, final, n = _provisional(labels)
    label, area, first, low, high, length = _measure(components, final, n, labels, box.y0, box.x0, slide_width)
    low, high, length = _merged(low, high, length, n)
    return components, ChunkComponents(
        box=box,
        label=label,
        area=area,
        first=first,
        pair=np.stack([low, high], axis=1).astype(np.int64),
        length=length.astype(np.int64),
        top=components[0].copy(),
        bottom=components[-1].copy(),
        left=components[:, 0].copy(),
        right=components[:, -1].copy(),
    )


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
    components, final, n_components = _provisional(labels)
    return relabel(components, final), n_components


@njit(nogil=True, cache=True)
def relabel(components: NDArray[np.int32], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ``table[components]``.

    Parameters
    ----------
    components : int32 (h, w)
        Component numbers.
    table : int32 (C + 1,)
        What stands for each number.

    Returns
    -------
    int32 (h, w)
        What stands for each pixel's number.
    """
    painted = np.empty(components.shape, np.int32)
    for y in range(components.shape[0]):
        for x in range(components.shape[1]):
            painted[y, x] = table[components[y, x]]
    return painted


@njit(nogil=True, cache=True)
def root(parent: NDArray[np.int32], node: int) -> int:
    """Return the representative of a node, halving the way to it.

    Parameters
    ----------
    parent : int32 (n,)
        A forest: the node above each node, itself at a root.
    node : int
        A node.

    Returns
    -------
    int
        Its root.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def join(parent: NDArray[np.int32], first: int, second: int) -> int:
    """Join two trees under the lower of their roots and return it.

    Parameters
    ----------
    parent : int32 (n,)
        A forest: the node above each node, itself at a root.
    first, second : int
        Nodes.

    Returns
    -------
    int
        The lower root.
    """
    first, second = root(parent, first), root(parent, second)
    parent[max(first, second)] = min(first, second)
    return min(first, second)


@njit(nogil=True, cache=True)
def _longer(array: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """Return the array with room for at least `least` and twice what it held."""
    grown = np.empty(max(least, 2 * len(array)), np.int32)
    grown[: len(array)] = array
    return grown


@njit(nogil=True, cache=True)
def _provisional(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Return provisional component numbers, the final number of each in raster order of first pixel, and their count."""
    height, width = labels.shape
    components = np.zeros((height, width), np.int32)
    parent = np.zeros(1024, np.int32)
    n = 0
    for y in range(height):
        if n + width >= len(parent):
            parent = _longer(parent, n + width + 1)
        row, own = labels[y], components[y]
        above, over = labels[max(y - 1, 0)], components[max(y - 1, 0)]
        x = 0
        while x < width:
            value = row[x]
            if value == 0:
                x += 1
                continue
            start, number, last = x, 0, 0
            while x < width and row[x] == value:
                if y > 0 and above[x] == value and over[x] != last:
                    last = over[x]
                    number = last if number == 0 else join(parent, number, last)
                x += 1
            if number == 0:
                n += 1
                parent[n] = n
                number = n
            own[start:x] = number
    # the lowest provisional number of a component is that of its first pixel, so roots in order are raster order
    final = np.zeros(n + 1, np.int32)
    n_components = 0
    for node in range(1, n + 1):
        top = root(parent, node)
        if top == node:
            n_components += 1
            final[node] = n_components
        else:
            final[node] = final[top]
    return components, final, n_components


Measured = tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]
]


@njit(nogil=True, cache=True)
def _measure(
    components: NDArray[np.int32],
    final: NDArray[np.int32],
    n: int,
    labels: NDArray[np.int32],
    y0: int,
    x0: int,
    slide_width: int,
) -> Measured:
    """Number the components for good; return label, area, first pixel, and contacts (lower, higher, pixel pairs).

    A contact along a stretch of a row is one entry; the same two components may have many.
    """
    height, width = components.shape
    label, area, first = np.zeros(n, np.int64), np.zeros(n, np.int64), np.full(n, -1, np.int64)
    low, high, length = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, np.int32)
    found = 0
    for y in range(height):
        if found + 2 * width > len(low):
            low, high = _longer(low, found + 2 * width), _longer(high, found + 2 * width)
            length = _longer(length, found + 2 * width)
        row, over = components[y], components[max(y - 1, 0)]
        before, above = 0, 0
        for x in range(width):
            own = final[row[x]]
            row[x] = own
            up = over[x] if y > 0 else 0
            if own > 0:
                area[own - 1] += 1
                if own != before:
                    if first[own - 1] < 0:
                        first[own - 1] = np.int64(y + y0) * slide_width + x + x0
                        label[own - 1] = labels[y, x]
                    if before > 0:
                        low[found], high[found], length[found] = min(own, before), max(own, before), 1
                        found += 1
                if up > 0 and up != own:
                    # the entry of the pixel to the left goes on, unless one of the two has changed
                    if own == before and up == above:
                        length[found - 1] += 1
                    else:
                        low[found], high[found], length[found] = min(own, up), max(own, up), 1
                        found += 1
            before, above = own, up
    return label, area, first, low[:found], high[:found], length[:found]


@njit(nogil=True, cache=True)
def _merged(
    low: NDArray[np.int32], high: NDArray[np.int32], length: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return contacts with one entry a pair of components, by lower component."""
    start = np.zeros(n + 2, np.int64)
    for i in range(len(low)):
        start[low[i] + 1] += 1
    start = np.cumsum(start)
    order, place = np.empty(len(low), np.int64), start.copy()
    for i in range(len(low)):
        order[place[low[i]]] = i
        place[low[i]] += 1
    merged_low, merged_high = np.empty(len(low), np.int32), np.empty(len(low), np.int32)
    merged_length = np.zeros(len(low), np.int32)
    seen = np.full(n + 1, -1, np.int64)
    found = 0
    for node in range(1, n + 1):
        fresh = found
        for i in order[start[node] : start[node + 1]]:
            at = seen[high[i]]
            if at < fresh:
                at = found
                seen[high[i]] = at
                merged_low[at], merged_high[at] = node, high[i]
                found += 1
            merged_length[at] += length[i]
    return merged_low[:found].copy(), merged_high[:found].copy(), merged_length[:found].copy()
