"""The compiled rounds of merging mutual nearest neighbours, after Boruvka.

Each region i names the neighbour j with the least score; i and j merge if each names the other and the score is at most
k. With mean embeddings m, counts of superpixels n and the allowance for chance c::

    score(i, j) = sqrt((|m_i - m_j|**2 + c) * n_i n_j / (n_i + n_j))        root of Ward's criterion, with allowance

Data structure. A region is led by its lowest superpixel (a union-find forest). Its adjacency list is the linked list of
its superpixels' CSR slots: merging two regions links two lists in O(1). Reading a list writes it back without the
entries that have meanwhile merged, so a list is as long as the region has neighbours.

Cost. A merged region scores all its neighbours again and offers itself to each of them. A neighbour scans its own list
again only if it had named one of the two merged regions and the new region is no better for it. Nothing else can
change, so a round costs what its merges touch, and the result equals that of recomputing every choice in every round.

``scipy.cluster.hierarchy`` and scikit-learn's ``AgglomerativeClustering`` merge one pair at a time with Ward's
criterion, from a distance matrix or a Python heap, without an allowance for chance and without a maximum area;
scikit-image's ``merge_hierarchical`` runs Python for every edge. None is meant for a million superpixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

SQUARE_UNITS = 16.0
"""Squared distances are rounded down to multiples of 1 / 16, so that ties do not depend on the order of summation."""
# what an offer does to a neighbour's choice
_UNCHANGED, _UPDATED, _RESCAN = 0, 1, 2

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
"""State of one superpixel, 48 bytes and so within one cache line.

Of a region, valid at its leading superpixel: `area` pixels; `score` of the chosen neighbour; `n` superpixels; `best`,
the chosen neighbour or -1; `merged` and `changed`, the rounds of its last merge and of its last change of choice;
`last`, the last slot of its list. Of every superpixel: `leader`, its parent in the union-find forest; `used`, the
neighbours in its slot; `next`, the next slot of the list or -1."""

Rows = NDArray[np.void]


@njit(nogil=True, cache=True)
def distance(mean: NDArray[np.float64] | NDArray[np.int64], first: int, second: int) -> float:
    """Return the distance |m_i - m_j| of two rows of mean (N, D), its square rounded down to 1/16."""
    square = 0.0
    for column in range(mean.shape[1]):
        step = mean[first, column] - mean[second, column]
        square += step * step
    return float(np.sqrt(np.floor(square * SQUARE_UNITS) / SQUARE_UNITS))


@njit(nogil=True, cache=True)
def _find_leader(rows: Rows, node: int) -> int:
    """Return the leader of a superpixel: the root of its union-find tree, with path splitting."""
    leader = rows[node]["leader"]
    while leader != node:
        above = rows[leader]["leader"]
        rows[node]["leader"] = above
        node, leader = leader, above
    return node


@njit(nogil=True, cache=True)
def _score(rows: Rows, mean: NDArray[np.float64], first: int, second: int, chance: float) -> float:
    """Return sqrt((d**2 + chance) n_i n_j / (n_i + n_j)) of two regions."""
    separation = distance(mean, first, second)
    n_first, n_second = float(rows[first]["n"]), float(rows[second]["n"])
    return float(np.sqrt((separation * separation + chance) * (n_first * n_second / (n_first + n_second))))


@njit(nogil=True, cache=True)
def _read_neighbours(
    rows: Rows,
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    stamps: NDArray[np.int64],
    adjacent: NDArray[np.int32],
    region: int,
) -> int:
    """Write the neighbours of a region to `adjacent`, each once, and return their number; shorten the region's list.

    start int64 (N + 1,) and neighbour int32 (E,) are the CSR slots; adjacent int32 (N,) is scratch. stamps
    int64 (N + 1,) marks the regions already listed: a new stamp for each call saves clearing it.
    """
    stamps[-1] += 1
    stamp = stamps[-1]
    stamps[region] = stamp
    n_adjacent = 0
    slot = region
    while slot >= 0:
        for at in range(start[slot], start[slot] + rows[slot]["used"]):
            other = _find_leader(rows, neighbour[at])
            if stamps[other] != stamp:
                stamps[other] = stamp
                adjacent[n_adjacent] = other
                n_adjacent += 1
        slot = rows[slot]["next"]
    # write the list back into the first slots, which have room: neighbours only merge, so the list only shrinks
    slot, written = region, 0
    while True:
        first = start[slot]
        n_here = min(start[slot + 1] - first, n_adjacent - written)
        for at in range(n_here):
            neighbour[first + at] = adjacent[written + at]
        rows[slot]["used"] = n_here
        written += n_here
        if written == n_adjacent:
            break
        slot = rows[slot]["next"]
    rows[slot]["next"] = -1
    rows[region]["last"] = slot
    return n_adjacent


@njit(nogil=True, cache=True)
def _choose_best(
    rows: Rows,
    mean: NDArray[np.float64],
    adjacent: NDArray[np.int32],
    n_adjacent: int,
    region: int,
    max_area: int,
    chance: float,
) -> None:
    """Set a region's chosen neighbour: argmin of the score over `adjacent`, ties to the lower id, within `max_area`."""
    best, lowest = -1, np.inf
    for at in range(n_adjacent):
        other = adjacent[at]
        score = _score(rows, mean, region, other, chance)
        better = score < lowest or (score == lowest and other < best)
        if better and rows[region]["area"] + rows[other]["area"] <= max_area:
            best, lowest = other, score
    rows[region]["best"], rows[region]["score"] = best, lowest


@njit(nogil=True, cache=True)
def _merge(rows: Rows, mean: NDArray[np.float64], low: int, high: int) -> None:
    """Merge region `high` into region `low`: sum counts and areas, average means, link the lists."""
    n_low, n_high = rows[low]["n"], rows[high]["n"]
    for column in range(mean.shape[1]):
        # embeddings are integers, so mean times count rounds to the exact integer sum while that is below 2**52
        total = np.rint(mean[low, column] * n_low) + np.rint(mean[high, column] * n_high)
        mean[low, column] = total / (n_low + n_high)
    rows[high]["leader"] = low
    rows[low]["n"] += n_high
    rows[low]["area"] += rows[high]["area"]
    rows[rows[low]["last"]]["next"] = high
    rows[low]["last"] = rows[high]["last"]


@njit(nogil=True, cache=True)
def _offer(rows: Rows, mean: NDArray[np.float64], merged: int, other: int, max_area: int, chance: float) -> int:
    """Offer a merged region to an unmerged neighbour; return _UNCHANGED, _UPDATED or _RESCAN for its choice."""
    best = rows[other]["best"]
    score = _score(rows, mean, merged, other, chance)
    better = score < rows[other]["score"] or (score == rows[other]["score"] and merged <= best)
    if better and rows[merged]["area"] + rows[other]["area"] <= max_area:
        rows[other]["best"], rows[other]["score"] = merged, score
        return _UPDATED
    had_chosen = best >= 0 and (best == merged or rows[best]["leader"] == merged)
    return _RESCAN if had_chosen else _UNCHANGED


@njit(nogil=True, cache=True)
def _list_pairs(
    rows: Rows, active: NDArray[np.int32], n_active: int, pairs: NDArray[np.int32], round_: int, k: float
) -> int:
    """Write the lower region of each mutual pair with a score of at most k to `pairs`, and return their number."""
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
def _select_lowest(rows: Rows, pairs: NDArray[np.int32], n_merges: int) -> None:
    """Move the `n_merges` pairs of lowest score to the front; ties go to the lower region."""
    pairs.sort()
    score = np.empty(len(pairs))  # (pairs,)
    for at in range(len(pairs)):
        score[at] = rows[pairs[at]]["score"]
    pairs[:n_merges] = pairs[np.argsort(score, kind="mergesort")[:n_merges]]


@njit(nogil=True, cache=True)
def _update_choices(
    rows: Rows,
    mean: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    stamps: NDArray[np.int64],
    lists: NDArray[np.int32],
    n_merged: int,
    round_: int,
    max_area: int,
    chance: float,
) -> int:
    """Update the choices of merged regions and their neighbours after a round.

    Writes the regions whose choice changed to ``lists[0]`` and returns their number: only they can form new pairs.
    lists int32 (5, N) holds active, merged, waiting and adjacent regions, and those that remain.
    """
    active, merged, waiting, adjacent = lists[0], lists[1], lists[2], lists[3]
    n_active, n_waiting = 0, 0
    for region in merged[:n_merged]:
        n_adjacent = _read_neighbours(rows, start, neighbour, stamps, adjacent, region)
        _choose_best(rows, mean, adjacent, n_adjacent, region, max_area, chance)
        active[n_active] = region
        n_active += 1
        for other in adjacent[:n_adjacent]:
            if rows[other]["merged"] == round_:
                continue
            outcome = _offer(rows, mean, region, other, max_area, chance)
            if outcome == _RESCAN:
                waiting[n_waiting] = other
                n_waiting += 1
            if outcome != _UNCHANGED and rows[other]["changed"] != round_:
                rows[other]["changed"] = round_
                active[n_active] = other
                n_active += 1
    for region in waiting[:n_waiting]:
        n_adjacent = _read_neighbours(rows, start, neighbour, stamps, adjacent, region)
        _choose_best(rows, mean, adjacent, n_adjacent, region, max_area, chance)
    return n_active


@njit(nogil=True, cache=True)
def _list_remaining(
    rows: Rows, remaining: NDArray[np.int32], n_remaining: int, active: NDArray[np.int32]
) -> tuple[int, float]:
    """Make every remaining region active; return their number and the lowest score among their choices."""
    n_active, lowest = 0, np.inf
    for region in remaining[:n_remaining]:
        if rows[region]["leader"] == region:
            remaining[n_active] = active[n_active] = region
            n_active += 1
            lowest = min(lowest, rows[region]["score"])
    return n_active, lowest


@njit(nogil=True, cache=True)
def _run_rounds(
    rows: Rows,
    mean: NDArray[np.float64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
    stamps: NDArray[np.int64],
    lists: NDArray[np.int32],
    k: float,
    step: float,
    last_k: float,
    max_area: int,
    n_wanted: int,
    chance: float,
) -> None:
    """Run the rounds; write the leader of every superpixel to ``lists[0]``. Parameters as in `merge_in_rounds`."""
    active, pairs, remaining = lists[0], lists[1], lists[4]
    n_remaining = n_active = n_listed = len(rows)
    for region in range(n_remaining):
        n_adjacent = _read_neighbours(rows, start, neighbour, stamps, lists[3], region)
        _choose_best(rows, mean, lists[3], n_adjacent, region, max_area, chance)
        active[region] = remaining[region] = region
    round_ = 0
    while n_remaining > n_wanted:
        round_ += 1
        n_pairs = _list_pairs(rows, active, n_active, pairs, round_, k)
        if n_pairs == 0:
            # nothing merges at this k: raise it to the next scale, or at once to the lowest score there is
            n_active, lowest = _list_remaining(rows, remaining, n_listed, active)
            n_listed = n_active
            if k >= last_k or lowest > last_k or lowest == np.inf:
                break
            k = min(max(k * step, lowest), last_k)
            continue
        if n_remaining - n_pairs < n_wanted:
            _select_lowest(rows, pairs[:n_pairs], n_remaining - n_wanted)
            n_pairs = n_remaining - n_wanted
        for low in pairs[:n_pairs]:
            _merge(rows, mean, low, rows[low]["best"])
        n_remaining -= n_pairs
        n_active = _update_choices(rows, mean, start, neighbour, stamps, lists, n_pairs, round_, max_area, chance)
    for node in range(len(rows)):
        active[node] = _find_leader(rows, node)


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
    """Return the leading superpixel of the region that each superpixel ends up in.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding of each superpixel.
    area : int64 (N,)
        Area of each superpixel, pixels.
    start : int64 (N + 1,)
        Start of each superpixel's neighbours in `neighbour` (CSR row pointers).
    neighbour : int32 (E,)
        Neighbours of each superpixel (CSR column indices), both directions; overwritten.
    first_k : float
        Highest score of a merge at the beginning, in units of the embedding; above 0.
    step : float
        Factor from one k to the next, above 1.
    last_k : float
        Highest score of a merge at the end.
    max_area : int
        Largest area that a merge may produce, pixels.
    n_wanted : int
        Merging stops at this number of regions.
    chance : float
        Allowance c for chance, added to every squared distance, in squared units of the embedding.

    Returns
    -------
    int32 (N,)
        Lowest superpixel of the region of each superpixel.
    """
    n_nodes = len(embedding)
    # allocated here and not in the kernel: numpy requests huge pages, numba does not
    rows, mean = np.zeros(n_nodes, _REGION), embedding.astype(np.float64)  # (N,) records, (N, D)
    rows["area"], rows["n"], rows["next"] = area, 1, -1
    rows["leader"] = rows["last"] = np.arange(n_nodes)
    rows["used"] = np.diff(start)
    # the last element of `stamps` is the stamp that was used last
    stamps, lists = np.zeros(n_nodes + 1, np.int64), np.empty((5, n_nodes), np.int32)  # (N + 1,), (5, N)
    _run_rounds(rows, mean, start, neighbour, stamps, lists, first_k, step, last_k, max_area, n_wanted, chance)
    return np.asarray(lists[0], np.int32)
