"""Connected components of one chunk by run-length union-find, and their contacts.

Each row of labels is cut into runs: stretches of one label. Runs of neighbouring rows with the same label are joined
in a union-find forest (two-pass labelling, Rosenfeld and Pfaltz 1966; on runs: He, Chao and Suzuki 2008); runs with
different labels are contacts, with the number of pixel pairs between them. Components are numbered in raster order of
their first pixel, which is the order of their first runs. Only finding and painting the runs costs time for each pixel;
everything else costs time for each run.

``scipy.ndimage.label`` and ``cv2.connectedComponents`` label a foreground, not equal labels, and
``skimage.measure.label`` does but returns neither areas nor contacts, which would take further passes over the pixels.
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
    """Components of one chunk, numbered 1..C in raster order of their first pixel.

    Attributes
    ----------
    box : Box
        Box of the chunk, in working pixels.
    label, area, first : int64 (C,)
        SLIC label, number of pixels, and raster index (y * slide width + x) of the first pixel of each component.
    pair, length : int64 (P, 2), (P,)
        Components that touch (lower number first) and the number of pixel pairs between them.
    top, bottom : int32 (w,)
        Component of each pixel of the first and last row; 0 outside tissue.
    left, right : int32 (h,)
        Component of each pixel of the first and last column; 0 outside tissue.
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
        SLIC labels of the chunk; 0 outside tissue.
    box : Box
        Box of the chunk, in working pixels.
    slide_width : int
        Width of the slide, working pixels.

    Returns
    -------
    components : int32 (h, w)
        Component of each pixel, 1..C; 0 outside tissue.
    table : ChunkComponents
        Properties of the components, from which ``connectivity.resolve`` decides over the whole slide.
    """
    runs = _find_runs(labels)
    component, contacts, n = _link_runs(runs)
    components = _paint(labels, runs, component)
    label, area, first = _measure(runs, component, n, box.y0, box.x0, slide_width)
    low, high, length = _merge_contacts(contacts, component, n)
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
        Label image; 0 is background.

    Returns
    -------
    components : int32 (h, w)
        Component of each pixel, 1..C in raster order of first pixel; 0 on background.
    n_components : int
        Number of components, C.
    """
    runs = _find_runs(labels)
    component, _, n_components = _link_runs(runs)
    return _paint(labels, runs, component), n_components


@njit(nogil=True, cache=True)
def relabel(components: NDArray[np.int32], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ``table[components]``, int32 (h, w), without the int64 copy of the indices that numpy makes.

    Parameters
    ----------
    components : int32 (h, w)
        Component of each pixel, 0..C.
    table : int32 (C + 1,)
        New label of each component.
    """
    painted = np.empty(components.shape, np.int32)
    for y in range(components.shape[0]):
        for x in range(components.shape[1]):
            painted[y, x] = table[components[y, x]]
    return painted


@njit(nogil=True, cache=True)
def root(parent: NDArray[np.int32], node: int) -> int:
    """Return the root of a node in a union-find forest, with path halving (Tarjan and van Leeuwen 1984).

    Parameters
    ----------
    parent : int32 (n,)
        Parent of each node; a root is its own parent. Updated in place.
    node : int
        Index of the node.

    Returns
    -------
    int
        Index of the root.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def join(parent: NDArray[np.int32], first: int, second: int) -> int:
    """Union the trees of two nodes under the lower of their roots, and return that root.

    Joining under the lower index, not the larger tree, makes the root of a component its first run.

    Parameters
    ----------
    parent : int32 (n,)
        Parent of each node; a root is its own parent. Updated in place.
    first, second : int
        Indices of the nodes.

    Returns
    -------
    int
        Index of the lower root.
    """
    first, second = root(parent, first), root(parent, second)
    parent[max(first, second)] = min(first, second)
    return min(first, second)


class _Runs(NamedTuple):
    """Runs of one label, background included, row by row from left to right; together they cover all pixels."""

    value: NDArray[np.int32]  # (R,) label
    stop: NDArray[np.int32]  # (R,) column behind the last pixel; a run starts where the one before it stops
    row: NDArray[np.int64]  # (h + 1,) first run of each row; the last entry is R


class _Contacts(NamedTuple):
    """Pairs of runs or components that touch; the same pair may occur several times."""

    one: NDArray[np.int32]  # (K,)
    other: NDArray[np.int32]  # (K,)
    length: NDArray[np.int32]  # (K,) number of pixel pairs


@njit(nogil=True, cache=True)
def _enlarge(array: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """Return the array with room for at least `least` and twice its length."""
    grown = np.empty(max(least, 2 * len(array)), np.int32)
    grown[: len(array)] = array
    return grown


@njit(nogil=True, cache=True)
def _find_runs(labels: NDArray[np.int32]) -> _Runs:
    """Return the runs of a label image, int32 (h, w)."""
    height, width = labels.shape
    value, stop = np.empty(4096, np.int32), np.empty(4096, np.int32)  # (R,) label and end of each run; grown as needed
    first = np.zeros(height + 1, np.int64)  # (h + 1,) first run of each row
    n = 0
    for y in range(height):
        if n + width > len(value):
            value, stop = _enlarge(value, n + width), _enlarge(stop, n + width)
        row = labels[y]
        value[n], stop[n] = row[0], 1
        # branch-free: the ends of runs are unpredictable, so adding 0 or 1 costs less than a mispredicted branch
        for x in range(1, width):
            n += row[x] != row[x - 1]
            value[n], stop[n] = row[x], x + 1
        n += 1
        first[y + 1] = n
    return _Runs(value[:n], stop[:n], first)


@njit(nogil=True, cache=True)
def _find_contacts(runs: _Runs) -> tuple[_Contacts, _Contacts]:
    """Return the contacts of runs with equal labels and those of runs with different labels, without background."""
    n = len(runs.value)
    # each run has one contact to its right, and two rows of a and b runs at most a + b - 1 vertical ones: 3 n in all;
    # one entry is spare because the branch-free code writes before it counts
    capacity = 3 * n + 1
    # (K,) at most
    one, other, length = np.empty(capacity, np.int32), np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    same_one, same_other = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
    n_contacts, n_same = 0, 0
    for y in range(len(runs.row) - 1):
        for run in range(runs.row[y] + 1, runs.row[y + 1]):
            one[n_contacts], other[n_contacts], length[n_contacts] = run - 1, run, 1
            n_contacts += (runs.value[run - 1] != 0) & (runs.value[run] != 0)
        if y == 0:
            continue
        above, run, x = runs.row[y - 1], runs.row[y], np.int32(0)
        while run < runs.row[y + 1]:
            upper, lower = runs.value[above], runs.value[run]
            upper_stop, lower_stop = runs.stop[above], runs.stop[run]
            stop = min(upper_stop, lower_stop)
            one[n_contacts], other[n_contacts], length[n_contacts] = above, run, stop - x
            n_contacts += (upper != lower) & (upper != 0) & (lower != 0)
            same_one[n_same], same_other[n_same] = above, run
            n_same += (upper == lower) & (upper != 0)
            above += upper_stop == stop
            run += lower_stop == stop
            x = stop
    same = _Contacts(same_one[:n_same], same_other[:n_same], np.zeros(0, np.int32))
    return same, _Contacts(one[:n_contacts], other[:n_contacts], length[:n_contacts])


@njit(nogil=True, cache=True)
def _link_runs(runs: _Runs) -> tuple[NDArray[np.int32], _Contacts, int]:
    """Return the component of each run, int32 (R,), 0 for background; the contacts of runs; and C."""
    n = len(runs.value)
    same, contacts = _find_contacts(runs)
    parent = np.arange(n).astype(np.int32)  # (R,) union-find forest of runs
    for i in range(len(same.one)):
        join(parent, same.one[i], same.other[i])
    component = np.zeros(n, np.int32)  # (R,)
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
def _paint(labels: NDArray[np.int32], runs: _Runs, component: NDArray[np.int32]) -> NDArray[np.int32]:
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
def _measure(
    runs: _Runs, component: NDArray[np.int32], n: int, y0: int, x0: int, slide_width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return label, area and raster index of the first pixel of each component, int64 (n,) each."""
    # entry 0 is background and cut off at the end
    label, area, first = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)  # (C + 1,)
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
def _merge_contacts(
    contacts: _Contacts, component: NDArray[np.int32], n: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return each pair of touching components once, sorted by the lower: (lower, higher, pixel pairs), int32 (P,) each.

    A counting sort puts the contacts of each lower component together, as the rows of a CSR matrix; within a row,
    `pair_row` maps a higher component to its pair, so equal pairs are summed without a hash table.
    """
    n_contacts = len(contacts.one)
    start = np.zeros(n + 2, np.int32)  # (C + 2,) CSR row pointers: contacts by lower component
    for i in range(n_contacts):
        start[min(component[contacts.one[i]], component[contacts.other[i]]) + 1] += 1
    for node in range(1, n + 2):
        start[node] += start[node - 1]
    # (K,) higher component, (K,) pixel pairs, (C + 2,) next free entry of each row
    beyond, length, place = np.empty(n_contacts, np.int32), np.empty(n_contacts, np.int32), start.copy()
    for i in range(n_contacts):
        own, other = component[contacts.one[i]], component[contacts.other[i]]
        at = place[min(own, other)]
        place[min(own, other)] += 1
        beyond[at], length[at] = max(own, other), contacts.length[i]
    # (K,), cut to the P pairs at the end
    low, high, shared = np.empty(n_contacts, np.int32), np.empty(n_contacts, np.int32), np.zeros(n_contacts, np.int32)
    pair_row = np.full(n + 1, -1, np.int32)  # (C + 1,)
    n_pairs = 0
    for node in range(1, n + 1):
        first_pair = n_pairs
        for i in range(start[node], start[node + 1]):
            at = pair_row[beyond[i]]
            if at < first_pair:
                at = n_pairs
                pair_row[beyond[i]] = at
                low[at], high[at] = node, beyond[i]
                n_pairs += 1
            shared[at] += length[i]
    return low[:n_pairs].copy(), high[:n_pairs].copy(), shared[:n_pairs].copy()
