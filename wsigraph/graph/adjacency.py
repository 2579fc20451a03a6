"""Boundaries between regions, counted as straight and diagonal pixel pairs.

A pair of neighbouring pixels with two different labels is a crossing of their boundary. Straight and diagonal
crossings are integers and add up over tiles and merges; ``geometry.crofton_um`` turns them into a length.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsigraph.geometry import Box


@njit(nogil=True, cache=True)
def _crossings(labels: NDArray[np.int32], y0: int, x0: int, y1: int, x1: int, diagonal: int) -> NDArray[np.int64]:
    """Return one key a crossing owned by a core pixel: lower label << 32 | higher label."""
    height, width = labels.shape
    keys = np.empty(1024, np.int64)
    found = 0
    for y in range(y0, y1):
        if found + 2 * width > len(keys):
            grown = np.empty(2 * len(keys) + 2 * width, np.int64)
            grown[:found] = keys[:found]
            keys = grown
        for x in range(x0, x1):
            own = np.int64(labels[y, x])
            if own == 0:
                continue
            for step in range(2):
                # straight: right, below; diagonal: below right, below left
                yy = y + 1 if diagonal else y + step
                xx = x + 1 - 2 * step if diagonal else x + 1 - step
                if yy >= height or xx >= width or xx < 0:
                    continue
                other = np.int64(labels[yy, xx])
                if other != own and other != 0:
                    keys[found] = (min(own, other) << 32) | max(own, other)
                    found += 1
    return keys[:found]


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
    corners = (inner.y0, inner.x0, inner.y1, inner.x1)
    tables = [np.unique(_crossings(labels, *corners, diagonal), return_counts=True) for diagonal in (0, 1)]
    key = np.union1d(tables[0][0], tables[1][0])
    boundary = np.zeros((len(key), 2), np.int64)
    for column, (found, counts) in enumerate(tables):
        boundary[np.searchsorted(key, found), column] = counts
    return key, boundary


def sum_boundaries(keys: NDArray[np.int64], boundary: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return unique keys, ascending, and the sums of their boundaries; the input may hold a key many times."""
    unique, inverse = np.unique(keys, return_inverse=True)
    total = np.zeros((len(unique), 2), np.int64)
    np.add.at(total, inverse, boundary)
    return unique, total


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
    source, target = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((target, source))
    doubled = np.concatenate([boundary, boundary])
    return np.stack([source[order], target[order]]), doubled[order]
