"""Connected components of one chunk, and the table of them that the decision over the whole slide needs.

Labels are split into 4-connected components by runs: stretches of one label in a row. Runs of one row join those of
the row above under the same label; runs under different labels are contacts. Components are numbered in raster order of
first pixel, which is the order of their first runs. All but finding and painting the runs costs per run, not per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box
from wsigraph.kernels import njit


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
    runs = _runs(labels)
    component, contacts, n = _linked(runs)
    components = _painted(labels, runs, component)
    label, area, first = _measured(runs, component, n, box.y0, box.x0, slide_width)
    low, high, length = _merged(contacts, component, n)
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
    runs = _runs(labels)
    component, _, n_components = _linked(runs)
    return _painted(labels, runs, component), n_components


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


class _Runs(NamedTuple):
    """Stretches of one label, background included, row by row from left to right: together all pixels."""

    value: NDArray[np.int32]
    stop: NDArray[np.int32]
    row: NDArray[np.int64]  # (h + 1,) the first run of each row, and how many there are


class _Contacts(NamedTuple):
    """Two things that touch along `length` pixel pairs; the same two may stand here several times."""

    one: NDArray[np.int32]
    other: NDArray[np.int32]
    length: NDArray[np.int32]


@njit(nogil=True, cache=True)
def _longer(array: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """Return the array with room for at least `least` and twice what it held."""
    grown = np.empty(max(least, 2 * len(array)), np.int32)
    grown[: len(array)] = array
    return grown


@njit(nogil=True, cache=True)
def _runs(labels: NDArray[np.int32]) -> _Runs:
    height, width = labels.shape
    value, stop = np.empty(4096, np.int32), np.empty(4096, np.int32)
    first = np.zeros(height + 1, np.int64)
    n = 0
    for y in range(height):
        if n + width > len(value):
            value, stop = _longer(value, n + width), _longer(stop, n + width)
        row = labels[y]
        value[n], stop[n] = row[0], 1
        # where a run ends cannot be foreseen, so that counting costs less than branching, here and below
        for x in range(1, width):
            n += row[x] != row[x - 1]
            value[n], stop[n] = row[x], x + 1
        n += 1
        first[y + 1] = n
    return _Runs(value[:n], stop[:n], first)


@njit(nogil=True, cache=True)
def _met(runs: _Runs) -> tuple[_Contacts, _Contacts]:
    """Return the contacts of runs under one label, and those of runs under two, background left out."""
    n = len(runs.value)
    # a run touches one on its right; two rows of runs overlap at most as often as there are runs in both; one spare
    room = 3 * n + 1
    one, other, length = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.int32)
    same_one, same_other = np.empty(room, np.int32), np.empty(room, np.int32)
    found, n_same = 0, 0
    for y in range(len(runs.row) - 1):
        for run in range(runs.row[y] + 1, runs.row[y + 1]):
            one[found], other[found], length[found] = run - 1, run, 1
            found += (runs.value[run - 1] != 0) & (runs.value[run] != 0)
        if y == 0:
            continue
        above, run, x = runs.row[y - 1], runs.row[y], np.int32(0)
        while run < runs.row[y + 1]:
            upper, lower = runs.value[above], runs.value[run]
            upper_stop, lower_stop = runs.stop[above], runs.stop[run]
            stop = min(upper_stop, lower_stop)
            one[found], other[found], length[found] = above, run, stop - x
            found += (upper != lower) & (upper != 0) & (lower != 0)
            same_one[n_same], same_other[n_same] = above, run
            n_same += (upper == lower) & (upper != 0)
            above += upper_stop == stop
            run += lower_stop == stop
            x = stop
    same = _Contacts(same_one[:n_same], same_other[:n_same], np.zeros(0, np.int32))
    return same, _Contacts(one[:found], other[:found], length[:found])


@njit(nogil=True, cache=True)
def _linked(runs: _Runs) -> tuple[NDArray[np.int32], _Contacts, int]:
    """Return the component of each run, 0 for background, the contacts of runs, and the number of components."""
    n = len(runs.value)
    same, contacts = _met(runs)
    parent = np.arange(n).astype(np.int32)
    for i in range(len(same.one)):
        join(parent, same.one[i], same.other[i])
    component = np.zeros(n, np.int32)
    n_components = 0
    for run in range(n):
        if runs.value[run] == 0:
            continue
        top = root(parent, run)
        if top == run:
            n_components += 1
            component[run] = n_components
        else:
            component[run] = component[top]
    return component, contacts, n_components


@njit(nogil=True, cache=True)
def _painted(labels: NDArray[np.int32], runs: _Runs, component: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the image of components, int32 (h, w)."""
    height, width = labels.shape
    image = np.empty((height, width), np.int32)
    for y in range(height):
        row, painted = labels[y], image[y]
        run = runs.row[y]
        painted[0] = component[run]
        for x in range(1, width):
            run += row[x] != row[x - 1]
            painted[x] = component[run]
    return image


@njit(nogil=True, cache=True)
def _measured(
    runs: _Runs, component: NDArray[np.int32], n: int, y0: int, x0: int, slide_width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return label, area and first pixel of each component."""
    # one place more for background
    label, area, first = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for y in range(len(runs.row) - 1):
        x = 0
        for run in range(runs.row[y], runs.row[y + 1]):
            own = component[run]
            if area[own] == 0:
                label[own] = runs.value[run]
                first[own] = np.int64(y + y0) * slide_width + x + x0
            area[own] += runs.stop[run] - x
            x = runs.stop[run]
    return label[1:].copy(), area[1:].copy(), first[1:].copy()


@njit(nogil=True, cache=True)
def _merged(
    contacts: _Contacts, component: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return lower and higher component and the pixel pairs of every two that touch, by lower component."""
    n_contacts = len(contacts.one)
    start = np.zeros(n + 2, np.int32)
    for i in range(n_contacts):
        start[min(component[contacts.one[i]], component[contacts.other[i]]) + 1] += 1
    for node in range(1, n + 2):
        start[node] += start[node - 1]
    beyond, length, place = np.empty(n_contacts, np.int32), np.empty(n_contacts, np.int32), start.copy()
    for i in range(n_contacts):
        own, other = component[contacts.one[i]], component[contacts.other[i]]
        at = place[min(own, other)]
        place[min(own, other)] += 1
        beyond[at], length[at] = max(own, other), contacts.length[i]
    low, high, shared = np.empty(n_contacts, np.int32), np.empty(n_contacts, np.int32), np.zeros(n_contacts, np.int32)
    seen = np.full(n + 1, -1, np.int32)
    found = 0
    for node in range(1, n + 1):
        fresh = found
        for i in range(start[node], start[node + 1]):
            at = seen[beyond[i]]
            if at < fresh:
                at = found
                seen[beyond[i]] = at
                low[at], high[at] = node, beyond[i]
                found += 1
            shared[at] += length[i]
    return low[:found].copy(), high[:found].copy(), shared[:found].copy()
