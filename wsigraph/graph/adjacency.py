"""Boundaries between regions, counted as straight and diagonal pixel pairs.

A pair of 8-neighbours with two different labels is a crossing of their boundary. For labels u < v of an image l::

    straight(u, v) = pairs of pixels side by side or one above the other with labels {u, v}
    diagonal(u, v) = pairs of pixels diagonal to each other with labels {u, v}

Counts are integers and additive over tiles and merges; ``geometry.crofton_um`` turns them into a length (Crofton's
formula with four directions). scikit-image's ``RAG`` keeps no diagonal counts and is a networkx graph, one Python
dictionary an edge; sorting all crossings with ``np.unique`` takes memory for every pixel pair instead of every edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box
from wsigraph.kernels import njit

_LABEL_BITS = 32
"""A key holds two labels: ``lower << 32 | higher``."""
_LOW_MASK = (1 << _LABEL_BITS) - 1


def count_boundaries(labels: NDArray[np.int32], window: Box, core: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the boundaries whose crossings are owned by pixels of the core.

    A crossing is owned by its upper pixel, or by the left pixel within a row, so that every crossing of the slide is
    counted in exactly one core.

    Parameters
    ----------
    labels : int32 (h, w)
        Labels of the window; 0 is not tissue.
    window, core : Box
        In working pixels; the window extends one pixel beyond the core, clipped to the slide.

    Returns
    -------
    key : int64 (k,)
        ``lower label << 32 | higher label``, ascending.
    boundary : int64 (k, 2)
        Straight and diagonal crossings.
    """
    inner = core.relative_to(window)
    return _sort_keys(*_crossings(labels, inner.y0, inner.x0, inner.y1, inner.x1))


def sum_boundaries(keys: NDArray[np.int64], boundary: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct keys, ascending, and the sum of their boundaries.

    A radix sort: two passes of a counting sort, by the higher and by the lower label. Time is linear in the number of
    keys and the highest label.

    Parameters
    ----------
    keys : int64 (k,)
        ``lower label << 32 | higher label``; a key may occur many times.
    boundary : int64 (k, 2)
        Straight and diagonal crossings of each key.

    Returns
    -------
    keys : int64 (E,)
        Distinct keys, ascending.
    boundary : int64 (E, 2)
        Summed crossings.
    """
    if len(keys) == 0:
        return keys, boundary
    n_labels = int((keys & _LOW_MASK).max()) + 1
    order = _counting_sort(keys & _LOW_MASK, np.arange(len(keys)), n_labels)
    order = _counting_sort(keys >> _LABEL_BITS, order, n_labels)
    return _sum_equal_keys(keys, boundary, order)


def both_directions(
    low: NDArray[np.int64], high: NDArray[np.int64], boundary: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return edges in both directions, sorted by (source, target).

    Parameters
    ----------
    low, high : int64 (k,)
        Nodes of each unordered pair.
    boundary : int64 (k, 2)
        Straight and diagonal crossings of each pair.

    Returns
    -------
    edge_index : int64 (2, 2k)
        Sources and targets, as in torch_geometric.
    boundary : int64 (2k, 2)
        Crossings of each directed edge.
    """
    n_nodes = int(max(low.max(initial=-1), high.max(initial=-1))) + 1
    n_pairs = len(low)
    source, target = np.concatenate([low, high]), np.concatenate([high, low])  # (2 k,)
    # of a node, edges to lower nodes come first: list the reversed pairs first, and the sort by source keeps that order
    order = np.concatenate([np.arange(n_pairs, 2 * n_pairs), np.arange(n_pairs)])
    if not _is_sorted(low, high):
        order = _counting_sort(target, order, n_nodes)
    order = _counting_sort(source, order, n_nodes)
    return np.stack([source[order], target[order]]), boundary[order % max(n_pairs, 1)]


def _sort_keys(keys: NDArray[np.int64], boundary: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return keys (k,), ascending, and their boundaries (k, 2) in the same order."""
    order = np.argsort(keys)
    return keys[order], boundary[order]


@njit(nogil=True, cache=True)
def _crossings(  # noqa: C901 - one pass over the pixels; parts would be calls inside its loops
    labels: NDArray[np.int32], y0: int, x0: int, y1: int, x1: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the boundaries whose crossings core pixels own: distinct keys (n,), unsorted, and counts (n, 2), int64.

    The keys are in a hash table with open addressing. Most crossings repeat one of the last two keys, which are
    compared first.
    """
    height, width = labels.shape
    slots = np.full(1 << 12, -1, np.int64)  # hash table: index of a key in `keys`, or -1
    keys, boundary = np.empty(1 << 10, np.int64), np.zeros((1 << 10, 2), np.int64)  # (n,), (n, 2); grown as needed
    n, last, before = 0, -1, -1
    for y in range(y0, y1):
        for x in range(x0, x1):
            own = labels[y, x]
            if own == 0:
                continue
            if y + 1 < height and 0 < x < width - 1:
                below = labels[y + 1]
                if own == labels[y, x + 1] and own == below[x - 1] and own == below[x] and own == below[x + 1]:
                    continue
            # steps 0 and 1 are straight: right, below; steps 2 and 3 diagonal: below right, below left
            for step in range(4):
                yy = y if step == 0 else y + 1
                xx = x + 1 if step in (0, 2) else (x if step == 1 else x - 1)
                if yy >= height or xx >= width or xx < 0:
                    continue
                other = labels[yy, xx]
                if other == own or other == 0:
                    continue
                key = (int(min(own, other)) << _LABEL_BITS) | int(max(own, other))
                if last >= 0 and keys[last] == key:
                    at = last
                elif before >= 0 and keys[before] == key:
                    at = before
                else:
                    at, slot = _find_slot(slots, keys, key)
                    if at < 0:
                        if n == len(keys):
                            slots, keys, boundary = _grow_table(keys, boundary)
                            at, slot = _find_slot(slots, keys, key)
                        keys[n], slots[slot], at = key, n, n
                        n += 1
                if at != last:
                    before, last = last, at
                boundary[at, step >> 1] += 1
    return keys[:n], boundary[:n]


@njit(nogil=True, cache=True)
def _find_slot(slots: NDArray[np.int64], keys: NDArray[np.int64], key: int) -> tuple[int, int]:
    """Return the index of a key in `keys`, or -1, and the slot that holds it or is free for it.

    Fibonacci hashing (Knuth) and linear probing.
    """
    mask = len(slots) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = int(mixed >> np.uint64(32)) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return int(slots[slot]), slot


@njit(nogil=True, cache=True)
def _grow_table(
    keys: NDArray[np.int64], boundary: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return a table for twice as many keys, with four slots for each key."""
    n = len(keys)
    slots = np.full(8 * n, -1, np.int64)
    more, counts = np.empty(2 * n, np.int64), np.zeros((2 * n, 2), np.int64)
    more[:n], counts[:n] = keys, boundary
    for at in range(n):
        slots[_find_slot(slots, more, more[at])[1]] = at
    return slots, more, counts


@njit(nogil=True, cache=True)
def _counting_sort(values: NDArray[np.int64], order: NDArray[np.int64], n_values: int) -> NDArray[np.int64]:
    """Return `order` sorted by ``values[order]``, integers in 0..n_values - 1; stable."""
    place = np.zeros(n_values + 1, np.int64)  # where the next index of each value goes
    for value in values:
        place[value + 1] += 1
    for value in range(n_values):
        place[value + 1] += place[value]
    result = np.empty_like(order)
    for index in order:
        result[place[values[index]]] = index
        place[values[index]] += 1
    return result


@njit(nogil=True, cache=True)
def _sum_equal_keys(
    keys: NDArray[np.int64], boundary: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct keys and the sums of their boundaries; `order` (k,) sorts the keys."""
    unique, total = np.empty(len(keys), np.int64), np.zeros((len(keys), 2), np.int64)  # (k,), (k, 2)
    n = 0
    for index in order:
        if n == 0 or unique[n - 1] != keys[index]:
            unique[n] = keys[index]
            n += 1
        total[n - 1] += boundary[index]
    return unique[:n].copy(), total[:n].copy()


@njit(nogil=True, cache=True)
def _is_sorted(low: NDArray[np.int64], high: NDArray[np.int64]) -> bool:
    """Return whether pairs are sorted lexicographically and each has its lower node first."""
    for k in range(len(low)):
        if low[k] > high[k] or (k > 0 and (low[k], high[k]) < (low[k - 1], high[k - 1])):
            return False
    return True
