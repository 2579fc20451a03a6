"""Boundaries between regions, counted as straight and diagonal pixel pairs.

A pair of neighbouring pixels with two different labels is a crossing of their boundary. Straight and diagonal
crossings are integers and add up over tiles and merges; ``geometry.crofton_um`` turns them into a length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box
from wsigraph.kernels import njit

_LABEL_BITS = 32
_LOW_MASK = (1 << _LABEL_BITS) - 1


def count_boundaries(labels: NDArray[np.int32], window: Box, core: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the boundaries whose crossings the core's pixels own.

    A crossing belongs to the upper pixel, or to the left one of a row.

    Parameters
    ----------
    labels : int32 (h, w)
        Labels of the window; 0 is not tissue.
    window, core : Box
        In working pixels; the window holds one pixel around the core, as far as the slide goes.

    Returns
    -------
    key : int64 (k,)
        ``lower label << 32 | higher label``, ascending.
    boundary : int64 (k, 2)
        Straight and diagonal crossings.
    """
    inner = core.relative_to(window)
    return _sorted(*_crossings(labels, inner.y0, inner.x0, inner.y1, inner.x1))


def sum_boundaries(keys: NDArray[np.int64], boundary: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return unique keys, ascending, and the sums of their boundaries; the input may hold a key many times.

    Linear in the keys and the highest label: two passes of a counting sort, so the cost a key does not grow with the
    slide.
    """
    if len(keys) == 0:
        return keys, boundary
    n_labels = int((keys & _LOW_MASK).max()) + 1
    order = _counted(keys & _LOW_MASK, np.arange(len(keys)), n_labels)
    order = _counted(keys >> _LABEL_BITS, order, n_labels)
    return _merge(keys, boundary, order)


def both_ways(
    low: NDArray[np.int64], high: NDArray[np.int64], boundary: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return edges in both directions, sorted by (source, target).

    Parameters
    ----------
    low, high : int64 (k,)
        Nodes of each unordered pair.
    boundary : int64 (k, 2)
        Crossings of each pair.

    Returns
    -------
    edge_index : int64 (2, 2k)
        Sources and targets.
    boundary : int64 (2k, 2)
        Crossings of each directed edge.
    """
    n_nodes = int(max(low.max(initial=-1), high.max(initial=-1))) + 1
    n_pairs = len(low)
    source, target = np.concatenate([low, high]), np.concatenate([high, low])
    # pairs that come sorted, with the lower node first, are placed from the higher node's side first
    order = np.concatenate([np.arange(n_pairs, 2 * n_pairs), np.arange(n_pairs)])
    if not _is_sorted(low, high):
        order = _counted(target, order, n_nodes)
    order = _counted(source, order, n_nodes)
    return np.stack([source[order], target[order]]), boundary[order % max(n_pairs, 1)]


def _sorted(keys: NDArray[np.int64], boundary: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.argsort(keys)
    return keys[order], boundary[order]


@njit(nogil=True, cache=True)
def _crossings(  # noqa: C901 - one pass over the pixels; parts would be calls inside its loops
    labels: NDArray[np.int32], y0: int, x0: int, y1: int, x1: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the boundaries whose crossings core pixels own: distinct keys in no order, and their crossings.

    The keys met so far stand in an open hash table. A crossing mostly repeats one of the two before it, which is
    looked at first.
    """
    height, width = labels.shape
    slots = np.full(1 << 12, -1, np.int64)  # place of a key in `keys`
    keys, boundary = np.empty(1 << 10, np.int64), np.zeros((1 << 10, 2), np.int64)
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
            # straight: right, below; diagonal: below right, below left
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
                    at, slot = _find(slots, keys, key)
                    if at < 0:
                        if n == len(keys):
                            slots, keys, boundary = _grown(keys, boundary)
                            at, slot = _find(slots, keys, key)
                        keys[n], slots[slot], at = key, n, n
                        n += 1
                if at != last:
                    before, last = last, at
                boundary[at, step >> 1] += 1
    return keys[:n], boundary[:n]


@njit(nogil=True, cache=True)
def _find(slots: NDArray[np.int64], keys: NDArray[np.int64], key: int) -> tuple[int, int]:
    """Return a key's place, or -1, and the slot that holds it or is free for it."""
    mask = len(slots) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    slot = int(mixed >> np.uint64(32)) & mask
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return int(slots[slot]), slot


@njit(nogil=True, cache=True)
def _grown(
    keys: NDArray[np.int64], boundary: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return a table of twice as many places with four slots a place."""
    n = len(keys)
    slots = np.full(8 * n, -1, np.int64)
    more, counts = np.empty(2 * n, np.int64), np.zeros((2 * n, 2), np.int64)
    more[:n], counts[:n] = keys, boundary
    for at in range(n):
        slots[_find(slots, more, more[at])[1]] = at
    return slots, more, counts


@njit(nogil=True, cache=True)
def _counted(values: NDArray[np.int64], order: NDArray[np.int64], n_values: int) -> NDArray[np.int64]:
    """Return `order` sorted by the values 0..n_values - 1 that it points to; equal values keep their order."""
    place = np.zeros(n_values + 1, np.int64)
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
def _merge(
    keys: NDArray[np.int64], boundary: NDArray[np.int64], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct keys in a sorted order and the sums of their boundaries."""
    unique, total = np.empty(len(keys), np.int64), np.zeros((len(keys), 2), np.int64)
    n = 0
    for index in order:
        if n == 0 or unique[n - 1] != keys[index]:
            unique[n] = keys[index]
            n += 1
        total[n - 1] += boundary[index]
    return unique[:n].copy(), total[:n].copy()


@njit(nogil=True, cache=True)
def _is_sorted(low: NDArray[np.int64], high: NDArray[np.int64]) -> bool:
    """Return whether pairs ascend and each has its lower node first."""
    for k in range(len(low)):
        if low[k] > high[k] or (k > 0 and (low[k], high[k]) < (low[k - 1], high[k - 1])):
            return False
    return True
