"""The compiled rounds of mutually best neighbours.

A region is led by its lowest superpixel. Its neighbours lie in the slots of its superpixels, chained: joining two
regions ties two chains, and reading a chain writes it back without what has meanwhile merged, so every list is as
short as the region's boundary. A region that merged weighs all its neighbours anew and tells each of them; a neighbour
that had chosen one of the merged and is not held by the new distance looks through its own chain once more. Nothing
else can have changed, so a round costs what its merges touch and the result is that of doing every round over all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

SQUARE_UNITS = 16.0
"""Squared distances are rounded down to multiples of one over this, so that ties are ties in any order of summation."""
_STANDS, _TAKEN, _LOOK_AGAIN = 0, 1, 2


class _Regions(NamedTuple):
    """What is known of every region, at the row of its leading superpixel; ``leader`` at every row."""

    leader: NDArray[np.int32]
    n: NDArray[np.int64]
    area: NDArray[np.int64]
    square: NDArray[np.int64]
    total: NDArray[np.int64]
    mean: NDArray[np.float64]
    tolerance: NDArray[np.float64]
    best: NDArray[np.int32]
    gap: NDArray[np.float64]
    round_merged: NDArray[np.int32]
    round_changed: NDArray[np.int32]


class _Chains(NamedTuple):
    """Neighbours of every region: slots of its superpixels, one after another."""

    start: NDArray[np.int64]
    used: NDArray[np.int32]
    following: NDArray[np.int32]
    last: NDArray[np.int32]
    neighbour: NDArray[np.int32]
    seen: NDArray[np.int64]


@njit(nogil=True, cache=True, inline="always")
def distance(mean: NDArray[np.float64], first: int, second: int) -> float:
    """Return the distance of two rows, its square rounded down to 1/16."""
    square = 0.0
    for column in range(mean.shape[1]):
        step = mean[first, column] - mean[second, column]
        square += step * step
    return float(np.sqrt(np.floor(square * SQUARE_UNITS) / SQUARE_UNITS))


@njit(nogil=True, cache=True)
def _found(leader: NDArray[np.int32], node: int) -> int:
    """Return the leader of a superpixel, halving the path to it."""
    while leader[node] != node:
        leader[node] = leader[leader[node]]
        node = leader[node]
    return node


@njit(nogil=True, cache=True)
def _allowed(regions: _Regions, first: int, second: int, gap: float, max_area: int) -> bool:
    """Return whether two regions at this distance may merge."""
    within = gap <= regions.tolerance[first] and gap <= regions.tolerance[second]
    return bool(within and regions.area[first] + regions.area[second] <= max_area)


@njit(nogil=True, cache=True)
def _describe(regions: _Regions, region: int, k: float) -> None:
    """Set mean and tolerance from the sums."""
    n = regions.n[region]
    square = 0.0
    for column in range(regions.total.shape[1]):
        mean = regions.total[region, column] / n
        regions.mean[region, column] = mean
        square += mean * mean
    regions.tolerance[region] = np.sqrt(max(regions.square[region] / n - square, 0.0)) + k / n


@njit(nogil=True, cache=True)
def _neighbours(chains: _Chains, leader: NDArray[np.int32], region: int, stamp: int, found: NDArray[np.int32]) -> int:
    """Write the neighbours of a region to `found`, each once; return how many, the chain tidied."""
    chains.seen[region] = stamp
    n_found = 0
    slot = region
    while slot >= 0:
        for at in range(chains.start[slot], chains.start[slot] + chains.used[slot]):
            other = _found(leader, chains.neighbour[at])
            if chains.seen[other] != stamp:
                chains.seen[other] = stamp
                found[n_found] = other
                n_found += 1
        slot = chains.following[slot]
    slot, written = region, 0
    while True:
        room = chains.start[slot + 1] - chains.start[slot]
        n_here = min(room, n_found - written)
        for at in range(n_here):
            chains.neighbour[chains.start[slot] + at] = found[written + at]
        chains.used[slot] = n_here
        written += n_here
        if written == n_found:
            break
        slot = chains.following[slot]
    chains.following[slot] = -1
    chains.last[region] = slot
    return n_found


@njit(nogil=True, cache=True)
def _choose(
    regions: _Regions, chains: _Chains, region: int, stamp: int, max_area: int, found: NDArray[np.int32]
) -> int:
    """Find a region's best neighbour among all; return how many neighbours it has, listed in `found`."""
    n_found = _neighbours(chains, regions.leader, region, stamp, found)
    best, nearest = -1, np.inf
    for at in range(n_found):
        other = found[at]
        gap = distance(regions.mean, region, other)
        if (gap < nearest or (gap == nearest and other < best)) and _allowed(regions, region, other, gap, max_area):
            best, nearest = other, gap
    regions.best[region], regions.gap[region] = best, nearest
    return n_found


@njit(nogil=True, cache=True)
def _join(regions: _Regions, chains: _Chains, low: int, high: int, k: float) -> None:
    """Merge one region into another of lower number."""
    regions.leader[high] = low
    regions.n[low] += regions.n[high]
    regions.area[low] += regions.area[high]
    regions.square[low] += regions.square[high]
    regions.total[low] += regions.total[high]
    chains.following[chains.last[low]] = high
    chains.last[low] = chains.last[high]
    _describe(regions, low, k)


@njit(nogil=True, cache=True)
def _tell(regions: _Regions, merged: int, other: int, max_area: int) -> int:
    """Offer a merged region to an unmerged neighbour; return what becomes of the neighbour's choice."""
    best = regions.best[other]
    had_chosen = best >= 0 and (best == merged or regions.leader[best] == merged)
    gap = distance(regions.mean, merged, other)
    nearer = gap < regions.gap[other] or (gap == regions.gap[other] and merged <= best)
    if nearer and _allowed(regions, merged, other, gap, max_area):
        regions.best[other], regions.gap[other] = merged, gap
        return _TAKEN
    return _LOOK_AGAIN if had_chosen else _STANDS


@njit(nogil=True, cache=True)
def merge_in_rounds(
    embedding: NDArray[np.int64],
    area: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int32],
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
    regions = _singles(embedding, area, k)
    node = np.arange(n_nodes).astype(np.int32)
    used = (start[1:] - start[:-1]).astype(np.int32)
    chains = _Chains(start, used, np.full(n_nodes, -1, np.int32), node.copy(), neighbour, np.zeros(n_nodes, np.int64))
    found = np.empty(n_nodes, np.int32)
    for region in range(n_nodes):
        _choose(regions, chains, region, region + 1, max_area, found)
    active, n_active, stamp = node, n_nodes, n_nodes
    for round_ in range(1, max_rounds + 1):
        merged = _merge_pairs(regions, chains, active[:n_active], round_, k)
        if len(merged) == 0:
            break
        active, n_active, stamp = _look_again(regions, chains, merged, round_, stamp, max_area, found)
    for region in range(n_nodes):
        regions.leader[region] = _found(regions.leader, region)
    return regions.leader


@njit(nogil=True, cache=True)
def _singles(embedding: NDArray[np.int64], area: NDArray[np.int64], k: float) -> _Regions:
    n_nodes = len(embedding)
    square = np.zeros(n_nodes, np.int64)
    for node in range(n_nodes):
        for column in range(embedding.shape[1]):
            square[node] += embedding[node, column] * embedding[node, column]
    regions = _Regions(
        np.arange(n_nodes).astype(np.int32),
        np.ones(n_nodes, np.int64),
        area.copy(),
        square,
        embedding.copy(),
        np.empty(embedding.shape),
        np.empty(n_nodes),
        np.full(n_nodes, -1, np.int32),
        np.full(n_nodes, np.inf),
        np.zeros(n_nodes, np.int32),
        np.zeros(n_nodes, np.int32),
    )
    for node in range(n_nodes):
        _describe(regions, node, k)
    return regions


@njit(nogil=True, cache=True)
def _merge_pairs(
    regions: _Regions, chains: _Chains, active: NDArray[np.int32], round_: int, k: float
) -> NDArray[np.int32]:
    """Merge who name each other; return the merged regions. Pairs of unchanged choices merged in an earlier round."""
    merged = np.empty(len(active), np.int32)
    n_merged = 0
    for region in active:
        other = regions.best[region]
        if other >= 0 and regions.best[other] == region and regions.round_merged[min(region, other)] != round_:
            merged[n_merged] = min(region, other)
            regions.round_merged[merged[n_merged]] = round_
            n_merged += 1
    for at in range(n_merged):
        low = merged[at]
        _join(regions, chains, low, regions.best[low], k)
    return merged[:n_merged]


@njit(nogil=True, cache=True)
def _look_again(
    regions: _Regions,
    chains: _Chains,
    merged: NDArray[np.int32],
    round_: int,
    stamp: int,
    max_area: int,
    found: NDArray[np.int32],
) -> tuple[NDArray[np.int32], int, int]:
    """Bring all choices up to date after a round; return who changed theirs, how many, and the last stamp used."""
    n_nodes = len(regions.leader)
    active, waiting = np.empty(n_nodes, np.int32), np.empty(n_nodes, np.int32)
    n_active, n_waiting = len(merged), 0
    active[:n_active] = merged
    for region in merged:
        stamp += 1
        n_found = _choose(regions, chains, region, stamp, max_area, found)
        for at in range(n_found):
            other = found[at]
            if regions.round_merged[other] == round_:
                continue
            told = _tell(regions, region, other, max_area)
            if told == _LOOK_AGAIN:
                waiting[n_waiting] = other
                n_waiting += 1
            if told != _STANDS and regions.round_changed[other] != round_:
                regions.round_changed[other] = round_
                active[n_active] = other
                n_active += 1
    for region in waiting[:n_waiting]:
        stamp += 1
        _choose(regions, chains, region, stamp, max_area, found)
    return active, n_active, stamp
