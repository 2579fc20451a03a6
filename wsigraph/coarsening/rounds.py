"""The compiled rounds of mutually best neighbours.

A region is led by its lowest superpixel. Its neighbours lie in the slots of its superpixels, chained: joining two
regions ties two chains, and reading a chain writes it back without what has meanwhile merged, so every list is as
short as the region's boundary. A region that merged weighs all its neighbours anew and tells each of them; a neighbour
that had chosen one of the merged and is not held by the new distance looks through its own chain once more. Nothing
else can have changed, so a round costs what its merges touch and the result is that of doing every round over all.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

SQUARE_UNITS = 16.0
"""Squared distances are rounded down to multiples of one over this, so that ties are ties in any order of summation."""
_STANDS, _TAKEN, _LOOK_AGAIN = 0, 1, 2

_REGION = np.dtype(
    [
        ("area", np.int64),
        ("square", np.int64),
        ("tolerance", np.float64),
        ("gap", np.float64),
        ("n", np.int32),
        ("leader", np.int32),
        ("best", np.int32),
        ("merged", np.int32),
        ("changed", np.int32),
        ("used", np.int32),
        ("next", np.int32),
        ("last", np.int32),
    ]
)
"""One cache line a superpixel. Of a region, at its leading superpixel: pixels, sum of squared norms, tolerance, distance
to the chosen neighbour, superpixels, chosen neighbour, rounds of the last merge and the last change of choice, last
slot of its chain. Of every superpixel: its leader, neighbours in its slot, next slot of the chain."""

Rows = NDArray[np.void]


@njit(nogil=True, cache=True)
def distance(mean: NDArray[np.float64] | NDArray[np.int64], first: int, second: int) -> float:
    """Return the distance of two rows, its square rounded down to 1/16."""
    square = 0.0
    for column in range(mean.shape[1]):
        step = mean[first, column] - mean[second, column]
        square += step * step
    return float(np.sqrt(np.floor(square * SQUARE_UNITS) / SQUARE_UNITS))


@njit(nogil=True, cache=True)
def _found(rows: Rows, node: int) -> int:
    """Return the leader of a superpixel, halving the path to it."""
    leader = rows[node]["leader"]
    while leader != node:
        above = rows[leader]["leader"]
        rows[node]["leader"] = above
        node, leader = leader, above
    return node


@njit(nogil=True, cache=True)
def _allowed(rows: Rows, first: int, second: int, gap: float, max_area: int) -> bool:
    """Return whether two regions at this distance may merge."""
    within = gap <= rows[first]["tolerance"] and gap <= rows[second]["tolerance"]
    return bool(within and rows[first]["area"] + rows[second]["area"] <= max_area)


@njit(nogil=True, cache=True)
def _tolerate(rows: Rows, mean: NDArray[np.float64], region: int, k: float) -> None:
    """Set a region's tolerance: the spread of its superpixels about their mean, and k over their number."""
    n = rows[region]["n"]
    square = 0.0
    for column in range(mean.shape[1]):
        square += mean[region, column] * mean[region, column]
    rows[region]["tolerance"] = np.sqrt(max(rows[region]["square"] / n - square, 0.0)) + k / n


@njit(nogil=True, cache=True)
def _neighbours(
    rows: Rows,
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    seen: NDArray[np.int64],
    found: NDArray[np.int32],
    region: int,
    stamp: int,
) -> int:
    """Write the neighbours of a region to `found`, each once; return how many, the chain tidied."""
    seen[region] = stamp
    n_found = 0
    slot = region
    while slot >= 0:
        for at in range(start[slot], start[slot] + rows[slot]["used"]):
            other = _found(rows, neighbour[at])
            if seen[other] != stamp:
                seen[other] = stamp
                found[n_found] = other
                n_found += 1
        slot = rows[slot]["next"]
    slot, written = region, 0
    while True:
        first = start[slot]
        n_here = min(start[slot + 1] - first, n_found - written)
        for at in range(n_here):
            neighbour[first + at] = found[written + at]
        rows[slot]["used"] = n_here
        written += n_here
        if written == n_found:
            break
        slot = rows[slot]["next"]
    rows[slot]["next"] = -1
    rows[region]["last"] = slot
    return n_found


@njit(nogil=True, cache=True)
def _choose(
    rows: Rows, mean: NDArray[np.float64], found: NDArray[np.int32], n_found: int, region: int, max_area: int
) -> None:
    """Set a region's best neighbour among those found."""
    best, nearest = -1, np.inf
    for at in range(n_found):
        other = found[at]
        gap = distance(mean, region, other)
        if (gap < nearest or (gap == nearest and other < best)) and _allowed(rows, region, other, gap, max_area):
            best, nearest = other, gap
    rows[region]["best"], rows[region]["gap"] = best, nearest


@njit(nogil=True, cache=True)
def _join(rows: Rows, mean: NDArray[np.float64], low: int, high: int, k: float) -> None:
    """Merge one region into another of lower number."""
    n_low, n_high = rows[low]["n"], rows[high]["n"]
    for column in range(mean.shape[1]):
        # mean times count is the integer sum again, exactly, while that is below 2**52
        total = np.rint(mean[low, column] * n_low) + np.rint(mean[high, column] * n_high)
        mean[low, column] = total / (n_low + n_high)
    rows[high]["leader"] = low
    rows[low]["n"] += n_high
    rows[low]["area"] += rows[high]["area"]
    rows[low]["square"] += rows[high]["square"]
    rows[rows[low]["last"]]["next"] = high
    rows[low]["last"] = rows[high]["last"]
    _tolerate(rows, mean, low, k)


@njit(nogil=True, cache=True)
def _tell(rows: Rows, mean: NDArray[np.float64], merged: int, other: int, max_area: int) -> int:
    """Offer a merged region to an unmerged neighbour; return what becomes of the neighbour's choice."""
    best = rows[other]["best"]
    gap = distance(mean, merged, other)
    nearer = gap < rows[other]["gap"] or (gap == rows[other]["gap"] and merged <= best)
    if nearer and _allowed(rows, merged, other, gap, max_area):
        rows[other]["best"], rows[other]["gap"] = merged, gap
        return _TAKEN
    had_chosen = best >= 0 and (best == merged or rows[best]["leader"] == merged)
    return _LOOK_AGAIN if had_chosen else _STANDS


@njit(nogil=True, cache=True)
def _prepare(
    rows: Rows, mean: NDArray[np.float64], area: NDArray[np.int64], start: NDArray[np.int64], k: float
) -> None:
    """Make every superpixel a region."""
    for node in range(len(rows)):
        square = 0.0
        for column in range(mean.shape[1]):
            square += mean[node, column] * mean[node, column]
        rows[node]["area"], rows[node]["square"], rows[node]["n"] = area[node], np.int64(square), 1
        rows[node]["leader"] = rows[node]["last"] = node
        rows[node]["next"] = -1
        rows[node]["used"] = start[node + 1] - start[node]
        _tolerate(rows, mean, node, k)


@njit(nogil=True, cache=True)
def _merge_pairs(
    rows: Rows,
    mean: NDArray[np.float64],
    active: NDArray[np.int32],
    n_active: int,
    merged: NDArray[np.int32],
    round_: int,
    k: float,
) -> int:
    """Merge who name each other, list them; return how many. Pairs of unchanged choices merged in an earlier round."""
    n_merged = 0
    for region in active[:n_active]:
        other = rows[region]["best"]
        if other >= 0 and rows[other]["best"] == region and rows[min(region, other)]["merged"] != round_:
            merged[n_merged] = min(region, other)
            rows[min(region, other)]["merged"] = round_
            n_merged += 1
    for low in merged[:n_merged]:
        _join(rows, mean, low, rows[low]["best"], k)
    return n_merged


@njit(nogil=True, cache=True)
def _look_again(
    rows: Rows,
    mean: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    seen: NDArray[np.int64],
    lists: NDArray[np.int32],
    n_merged: int,
    round_: int,
    stamp: int,
    max_area: int,
) -> tuple[int, int]:
    """Bring all choices up to date after a round; return how many changed theirs, and the last stamp used."""
    active, merged, waiting, found = lists
    n_active, n_waiting = 0, 0
    for region in merged[:n_merged]:
        stamp += 1
        n_found = _neighbours(rows, start, neighbour, seen, found, region, stamp)
        _choose(rows, mean, found, n_found, region, max_area)
        active[n_active] = region
        n_active += 1
        for other in found[:n_found]:
            if rows[other]["merged"] == round_:
                continue
            told = _tell(rows, mean, region, other, max_area)
            if told == _LOOK_AGAIN:
                waiting[n_waiting] = other
                n_waiting += 1
            if told != _STANDS and rows[other]["changed"] != round_:
                rows[other]["changed"] = round_
                active[n_active] = other
                n_active += 1
    for region in waiting[:n_waiting]:
        stamp += 1
        n_found = _neighbours(rows, start, neighbour, seen, found, region, stamp)
        _choose(rows, mean, found, n_found, region, max_area)
    return n_active, stamp


@njit(nogil=True, cache=True)
def _run(
    rows: Rows,
    mean: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    seen: NDArray[np.int64],
    lists: NDArray[np.int32],
    k: float,
    max_area: int,
    max_rounds: int,
) -> None:
    n_nodes = len(rows)
    for region in range(n_nodes):
        n_found = _neighbours(rows, start, neighbour, seen, lists[3], region, region)
        _choose(rows, mean, lists[3], n_found, region, max_area)
        lists[0, region] = region
    n_active, stamp = n_nodes, n_nodes
    for round_ in range(1, max_rounds + 1):
        n_merged = _merge_pairs(rows, mean, lists[0], n_active, lists[1], round_, k)
        if n_merged == 0:
            break
        n_active, stamp = _look_again(
            rows, mean, start, neighbour, seen, lists, n_merged, round_, stamp, max_area
        )  # fmt: skip
    for node in range(n_nodes):
        lists[0, node] = _found(rows, node)


def merge_in_rounds(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    *,
    k: float,
    max_area: int,
    max_rounds: int,
) -> NDArray[np.int32]:
    """Return the leading superpixel of the region of each superpixel.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding.
    area : int64 (N,)
        Pixels.
    start : int64 (N + 1,)
        Where the neighbours of each superpixel begin in `neighbour`.
    neighbour : int32 (E,)
        Neighbours; overwritten.
    k : float
        Tolerance of a single superpixel, in units of the embedding.
    max_area : int
        No merge makes a region larger, pixels.
    max_rounds : int
        Most rounds.

    Returns
    -------
    int32 (N,)
        The lowest superpixel of each region, at every superpixel of it.
    """
    n_nodes = len(embedding)
    # allocated here, because numpy asks for large pages and numba does not
    rows, mean = np.zeros(n_nodes, _REGION), embedding.astype(np.float64)
    seen, lists = np.full(n_nodes, -1, np.int64), np.empty((4, n_nodes), np.int32)
    _prepare(rows, mean, area, start, k)
    _run(rows, mean, start, neighbour, seen, lists, k, max_area, max_rounds)
    return lists[0]
