"""Tissue classes exchanged between regions until their contacts are as asked for.

Two regions of different class swap their classes if that brings the contacts nearer to what is wanted, and sometimes
if it does not, ever more rarely (Kawasaki, "Diffusion constants near the critical point for time-dependent Ising
models", Physical Review 145, 1966; Kirkpatrick, Gelatt and Vecchi, "Optimization by simulated annealing", Science
1983). Swapping keeps the number of regions of every class exactly, so that a law can move contacts and nothing else.
Targets that no arrangement meets are approached, not met: a law reads what came out, never what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.synthesis.simulation.layout import TISSUES, Regions

_SWEEPS = 60
_WARMTH, _COLD = 4.0, 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contacts:
    """What an arrangement should look like.

    Attributes
    ----------
    pairs : dict of (int, int) to (float, float)
        Neighbour pairs wanted between two classes, each counted once, and the cost of each one missing or too many.
    marked : bool (R,) or None
        Some regions.
    tissue : int
        Class that is counted in the marked regions.
    n_marked : int
        Marked regions wanted of that class.
    cost : float
        Cost of each one missing or too many.
    crowded : int
        Class whose regions should have a given number of neighbours in all.
    n_neighbours : float
        That number, over all regions of the class.
    crowding_cost : float
        Cost of each one missing or too many.
    """

    pairs: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    marked: NDArray[np.bool_] | None = None
    tissue: int = 0
    n_marked: int = 0
    cost: float = 0.0
    crowded: int = 0
    n_neighbours: float = 0.0
    crowding_cost: float = 0.0


def count_contacts(classes: NDArray[np.uint8], regions: Regions) -> NDArray[np.int64]:
    """Return how many neighbouring regions there are of every two classes.

    Parameters
    ----------
    classes : uint8 (rows, columns) or (R,)
        Class of every region.
    regions : Regions
        Which regions touch.

    Returns
    -------
    int64 (K, K)
        Symmetric; pairs within a class, on the diagonal, are counted once.
    """
    flat, n_classes = classes.ravel().astype(np.int64), len(TISSUES)
    source, target = flat[regions.edge_index]
    table = np.bincount(source * n_classes + target, minlength=n_classes**2).reshape(n_classes, n_classes)
    table[np.diag_indices(n_classes)] //= 2
    return table


def touches(classes: NDArray[np.uint8], tissue: int, regions: Regions) -> NDArray[np.bool_]:
    """Return which regions have a neighbour of a class, bool (R,)."""
    source, target = regions.edge_index
    found = np.zeros(classes.size, np.bool_)
    found[source[classes.ravel()[target] == tissue]] = True
    return found


def arrange(
    classes: NDArray[np.uint8],
    movable: NDArray[np.bool_],
    wanted: Contacts,
    regions: Regions,
    *,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the classes with those of the movable regions exchanged.

    Parameters
    ----------
    classes : uint8 (rows, columns)
        Class of every region.
    movable : bool (rows, columns)
        Regions that may take part.
    wanted : Contacts
        Contacts to come near to.
    regions : Regions
        Which regions touch.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    uint8 (rows, columns)
        As many regions of every class as before.

    Notes
    -----
    60 attempts a movable region, about 0.3 us each.
    """
    free = np.flatnonzero(movable.ravel())
    flat, n_classes = classes.ravel().astype(np.int64), len(TISSUES)
    if len(free) < 2:
        return classes.copy()
    target, weight = np.zeros((n_classes, n_classes)), np.zeros((n_classes, n_classes))
    for (first, second), (number, cost) in wanted.pairs.items():
        target[first, second], weight[first, second] = number, cost
    marked = np.zeros(len(flat), np.bool_) if wanted.marked is None else wanted.marked.ravel()
    n_swaps = _SWEEPS * len(free)
    picks = free[rng.integers(0, len(free), (n_swaps, 2))]
    patience = np.geomspace(_WARMTH, _COLD, n_swaps) * rng.standard_exponential(n_swaps)
    start = np.searchsorted(regions.edge_index[0], np.arange(len(flat) + 1))
    _swap(
        flat, start, regions.edge_index[1], count_contacts(classes, regions), target, weight,
        marked, wanted.tissue, wanted.n_marked, wanted.cost,
        wanted.crowded, wanted.n_neighbours, wanted.crowding_cost, picks, patience,
    )  # fmt: skip
    return flat.astype(np.uint8).reshape(classes.shape)


@njit(nogil=True, cache=True)
def _move(
    classes: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    pairs: NDArray[np.int64],
    cell: int,
    tissue: int,
) -> None:
    """Give a cell another class and keep the count of pairs."""
    old = classes[cell]
    for edge in range(start[cell], start[cell + 1]):
        beside = classes[neighbour[edge]]
        pairs[old, beside] -= 1
        if beside != old:
            pairs[beside, old] -= 1
        pairs[tissue, beside] += 1
        if beside != tissue:
            pairs[beside, tissue] += 1
    classes[cell] = tissue


@njit(nogil=True, cache=True)
def _swap(
    classes: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    pairs: NDArray[np.int64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    marked: NDArray[np.bool_],
    tissue: int,
    n_marked: int,
    cost: float,
    crowded: int,
    n_neighbours: float,
    crowding_cost: float,
    picks: NDArray[np.int64],
    patience: NDArray[np.float64],
) -> None:
    """Exchange classes in place."""
    found = 0
    for cell in range(len(classes)):
        found += marked[cell] and classes[cell] == tissue
    degree = np.diff(start)
    neighbours = 0
    for cell in range(len(classes)):
        if classes[cell] == crowded:
            neighbours += degree[cell]
    energy = cost * abs(found - n_marked) + _misfit(pairs, target, weight)
    energy += crowding_cost * abs(neighbours - n_neighbours)
    for attempt in range(len(picks)):
        one, other = picks[attempt]
        first, second = classes[one], classes[other]
        if first == second:
            continue
        gained = (int(marked[other]) - int(marked[one])) * (int(first == tissue) - int(second == tissue))
        more = (degree[other] - degree[one]) * (int(first == crowded) - int(second == crowded))
        _move(classes, start, neighbour, pairs, one, second)
        _move(classes, start, neighbour, pairs, other, first)
        after = cost * abs(found + gained - n_marked) + _misfit(pairs, target, weight)
        after += crowding_cost * abs(neighbours + more - n_neighbours)
        if after - energy <= patience[attempt]:
            energy = after
            found += gained
            neighbours += more
        else:
            _move(classes, start, neighbour, pairs, other, second)
            _move(classes, start, neighbour, pairs, one, first)


@njit(nogil=True, cache=True)
def _misfit(pairs: NDArray[np.int64], target: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the cost of the pairs that are missing or too many."""
    total = 0.0
    for first in range(len(target)):
        for second in range(len(target)):
            if weight[first, second] > 0.0:
                total += weight[first, second] * abs(pairs[first, second] - target[first, second])
    return total
