"""The compiled rounds of mutually best neighbours.

A region is led by its lowest superpixel. Its neighbours lie in the slots of its superpixels, chained: joining two
regions ties two chains, and reading a chain writes it back without what has meanwhile merged, so every list is as
short as the region's boundary. A region that merged weighs all its neighbours anew and tells each of them; a neighbour
that had chosen one of the merged and is not held by the new score looks through its own chain once more. Nothing else
can have changed, so a round costs what its merges touch and the result is that of doing every round over all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

SQUARE_UNITS = 16.0
"""Squared distances are rounded down to multiples of one over this, so that ties are ties in any order of summation."""
_STANDS, _TAKEN, _LOOK_AGAIN = 0, 1, 2

_REGION = np.dtype(
    [
        ("area", np.int64),
        ("score", np.float64),
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
"""One row a superpixel, within one cache line. Of a region, at its leading superpixel: pixels, score of the chosen
neighbour, superpixels, chosen neighbour, rounds of the last merge and the last change of choice, last slot of its
chain. Of every superpixel: its leader, neighbours in its slot, next slot of the chain."""

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
def _score(rows: Rows, mean: NDArray[np.float64], first: int, second: int, chance: float) -> float:
    """Return the root of Ward's criterion, with the square that chance explains added to every squared distance."""
    gap = distance(mean, first, second)
    n_first, n_second = float(rows[first]["n"]), float(rows[second]["n"])
    return float(np.sqrt((gap * gap + chance) * (n_first * n_second / (n_first + n_second))))


@njit(nogil=True, cache=True)
def _neighbours(
    rows: Rows,
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    seen: NDArray[np.int64],
    found: NDArray[np.int32],
    region: int,
) -> int:
    """Write the neighbours of a region to `found`, each once; return how many, the chain tidied."""
    seen[-1] += 1
    stamp = seen[-1]
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
    rows: Rows,
    mean: NDArray[np.float64],
    found: NDArray[np.int32],
    n_found: int,
    region: int,
    max_area: int,
    chance: float,
) -> None:
    """Set a region's best neighbour among those found."""
    best, lowest = -1, np.inf
    for at in range(n_found):
        other = found[at]
        score = _score(rows, mean, region, other, chance)
        better = score < lowest or (score == lowest and other < best)
        if better and rows[region]["area"] + rows[other]["area"] <= max_area:
            best, lowest = other, score
    rows[region]["best"], rows[region]["score"] = best, lowest


@njit(nogil=True, cache=True)
def _join(rows: Rows, mean: NDArray[np.float64], low: int, high: int) -> None:
    """Merge one region into another of lower number."""
    n_low, n_high = rows[low]["n"], rows[high]["n"]
    for column in range(mean.shape[1]):
        # mean times count is the integer sum again, exactly, while that is below 2**52
        total = np.rint(mean[low, column] * n_low) + np.rint(mean[high, column] * n_high)
        mean[low, column] = total / (n_low + n_high)
    rows[high]["leader"] = low
    rows[low]["n"] += n_high
    rows[low]["area"] += rows[high]["area"]
    rows[rows[low]["last"]]["next"] = high
    rows[low]["last"] = rows[high]["last"]


@njit(nogil=True, cache=True)
def _tell(rows: Rows, mean: NDArray[np.float64], merged: int, other: int, max_area: int, chance: float) -> int:
    """Offer a merged region to an unmerged neighbour; return what becomes of the neighbour's choice."""
    best = rows[other]["best"]
    score = _score(rows, mean, merged, other, chance)
    better = score < rows[other]["score"] or (score == rows[other]["score"] and merged <= best)
    if better and rows[merged]["area"] + rows[other]["area"] <= max_area:
        rows[other]["best"], rows[other]["score"] = merged, score
        return _TAKEN
    had_chosen = best >= 0 and (best == merged or rows[best]["leader"] == merged)
    return _LOOK_AGAIN if had_chosen else _STANDS


@njit(nogil=True, cache=True)
def _list_pairs(
    rows: Rows, active: NDArray[np.int32], n_active: int, pairs: NDArray[np.int32], round_: int, k: float
) -> int:
    """List the lower side of all who name each other at a score of at most k; return how many."""
    n_pairs = 0
    for region in active[:n_active]:
        other = rows[region]["best"]
        if other < 0 or rows[region]["score"] > k or rows[other]["best"] != region:
            continue
        low = min(region, other)
        if rows[low]["merged"] != round_:
            rows[low]["merged"] = round_
            pairs[n_pairs] = low
            n_pairs += 1
    return n_pairs


@njit(nogil=True, cache=True)
def _keep_lowest(rows: Rows, pairs: NDArray[np.int32], n_kept: int) -> None:
    """Bring the pairs of lowest score to the front, the lower region first where scores are equal."""
    pairs.sort()
    score = np.empty(len(pairs))
    for at in range(len(pairs)):
        score[at] = rows[pairs[at]]["score"]
    pairs[:n_kept] = pairs[np.argsort(score, kind="mergesort")[:n_kept]]


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
    max_area: int,
    chance: float,
) -> int:
    """Bring all choices up to date after a round; list who changed theirs and return how many."""
    active, merged, waiting, found = lists[0], lists[1], lists[2], lists[3]
    n_active, n_waiting = 0, 0
    for region in merged[:n_merged]:
        n_found = _neighbours(rows, start, neighbour, seen, found, region)
        _choose(rows, mean, found, n_found, region, max_area, chance)
        active[n_active] = region
        n_active += 1
        for other in found[:n_found]:
            if rows[other]["merged"] == round_:
                continue
            told = _tell(rows, mean, region, other, max_area, chance)
            if told == _LOOK_AGAIN:
                waiting[n_waiting] = other
                n_waiting += 1
            if told != _STANDS and rows[other]["changed"] != round_:
                rows[other]["changed"] = round_
                active[n_active] = other
                n_active += 1
    for region in waiting[:n_waiting]:
        n_found = _neighbours(rows, start, neighbour, seen, found, region)
        _choose(rows, mean, found, n_found, region, max_area, chance)
    return n_active


@njit(nogil=True, cache=True)
def _list_left(rows: Rows, left: NDArray[np.int32], n_left: int, active: NDArray[np.int32]) -> tuple[int, float]:
    """Make every region left active; return how many there are, and the lowest score any of them could merge at."""
    n_active, lowest = 0, np.inf
    for region in left[:n_left]:
        if rows[region]["leader"] == region:
            left[n_active] = active[n_active] = region
            n_active += 1
            lowest = min(lowest, rows[region]["score"])
    return n_active, lowest


@njit(nogil=True, cache=True)
def _run(
    rows: Rows,
    mean: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    seen: NDArray[np.int64],
    lists: NDArray[np.int32],
    k: float,
    step: float,
    last_k: float,
    max_area: int,
    n_wanted: int,
    chance: float,
) -> None:
    active, pairs, left = lists[0], lists[1], lists[4]
    n_left = n_active = n_listed = len(rows)
    for region in range(n_left):
        n_found = _neighbours(rows, start, neighbour, seen, lists[3], region)
        _choose(rows, mean, lists[3], n_found, region, max_area, chance)
        active[region] = left[region] = region
    round_ = 0
    while n_left > n_wanted:
        round_ += 1
        n_pairs = _list_pairs(rows, active, n_active, pairs, round_, k)
        if n_pairs == 0:
            n_active, lowest = _list_left(rows, left, n_listed, active)
            n_listed = n_active
            if k >= last_k or lowest > last_k or lowest == np.inf:
                break
            k = min(max(k * step, lowest), last_k)
            continue
        if n_left - n_pairs < n_wanted:
            _keep_lowest(rows, pairs[:n_pairs], n_left - n_wanted)
            n_pairs = n_left - n_wanted
        for low in pairs[:n_pairs]:
            _join(rows, mean, low, rows[low]["best"])
        n_left -= n_pairs
        n_active = _look_again(rows, mean, start, neighbour, seen, lists, n_pairs, round_, max_area, chance)
    for node in range(len(rows)):
        active[node] = _found(rows, node)


def merge_in_rounds(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    *,
    first_k: float,
    step: float,
    last_k: float,
    max_area: int,
    n_wanted: int,
    chance: float,
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
    first_k : float
        Highest score of a merge at the beginning, in units of the embedding; above 0.
    step : float
        Factor from one k to the next, above 1.
    last_k : float
        Highest score of a merge at the end.
    max_area : int
        No merge makes a region larger, pixels.
    n_wanted : int
        Merging ends at this number of regions.
    chance : float
        Squared distance added to every one, in squared units of the embedding.

    Returns
    -------
    int32 (N,)
        The lowest superpixel of each region, at every superpixel of it.
    """
    n_nodes = len(embedding)
    # allocated here, because numpy asks for large pages and numba does not
    rows, mean = np.zeros(n_nodes, _REGION), embedding.astype(np.float64)
    rows["area"], rows["n"], rows["next"] = area, 1, -1
    rows["leader"] = rows["last"] = np.arange(n_nodes)
    rows["used"] = np.diff(start)
    # the last element counts the readings of chains, each of which has its own mark
    seen, lists = np.zeros(n_nodes + 1, np.int64), np.empty((5, n_nodes), np.int32)
    _run(rows, mean, start, neighbour, seen, lists, first_k, step, last_k, max_area, n_wanted, chance)
    return np.asarray(lists[0], np.int32)
