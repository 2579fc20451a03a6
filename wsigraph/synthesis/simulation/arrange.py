"""Simulated annealing that swaps the tissue classes of regions until their contacts reach given targets.

Two regions of different class swap their classes if that lowers the energy, and with falling probability if it raises
it (Kawasaki, "Diffusion constants near the critical point for time-dependent Ising models", Physical Review 145, 1966;
Kirkpatrick, Gelatt and Vecchi, "Optimization by simulated annealing", Science 1983). The energy is the weighted sum of
abs(count - target) over all targets. Swaps keep the number of regions of every class, so that a generative scenario can
change contacts and nothing else. Targets that no arrangement reaches are only approached: a scenario measures the
result and never uses its targets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.synthesis.simulation.layout import TISSUES, Regions

_SWEEPS = 60
_HOTTEST, _COLDEST = 4.0, 0.05
"""Temperatures at the first and the last proposal, in units of cost."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contacts:
    """Targets of an arrangement.

    Attributes
    ----------
    pairs : dict of (int, int) to (float, float)
        For two classes, the target number of neighbour pairs, each counted once, and the cost of each pair missing or
        too many.
    marked : bool (R,) or None
        A set of regions.
    tissue : int
        Class that is counted in the marked regions.
    n_marked : int
        Target number of marked regions of that class.
    cost : float
        Cost of each such region missing or too many.
    crowded : int
        Class whose total number of neighbours has a target.
    n_neighbours : float
        That target: the sum of degrees over all regions of the class.
    crowding_cost : float
        Cost of each neighbour missing or too many.
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
    """Return the number of neighbour pairs for every two classes.

    Parameters
    ----------
    classes : uint8 (rows, columns) or (R,)
        Class of every region.
    regions : Regions
        Adjacency of the regions.

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
    touching = np.zeros(classes.size, np.bool_)
    touching[source[classes.ravel()[target] == tissue]] = True
    return touching


def arrange(
    classes: NDArray[np.uint8],
    movable: NDArray[np.bool_],
    contacts: Contacts,
    regions: Regions,
    *,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return the classes after swaps between the movable regions.

    Parameters
    ----------
    classes : uint8 (rows, columns)
        Class of every region.
    movable : bool (rows, columns)
        True for regions that may be swapped.
    contacts : Contacts
        Targets.
    regions : Regions
        Adjacency of the regions.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    uint8 (rows, columns)
        As many regions of every class as before.

    Notes
    -----
    60 proposed swaps for each movable region, about 0.3 us each. A swap that raises the energy by less than T E is
    accepted, with the temperature T falling geometrically and E drawn from the standard exponential distribution: the
    Metropolis rule with the random numbers drawn in advance.
    """
    free = np.flatnonzero(movable.ravel())
    flat, n_classes = classes.ravel().astype(np.int64), len(TISSUES)
    if len(free) < 2:
        return classes.copy()
    target, weight = np.zeros((n_classes, n_classes)), np.zeros((n_classes, n_classes))
    for (first, second), (number, cost) in contacts.pairs.items():
        target[first, second], weight[first, second] = number, cost
    marked = np.zeros(len(flat), np.bool_) if contacts.marked is None else contacts.marked.ravel()
    n_swaps = _SWEEPS * len(free)
    proposals = free[rng.integers(0, len(free), (n_swaps, 2))]
    tolerance = np.geomspace(_HOTTEST, _COLDEST, n_swaps) * rng.standard_exponential(n_swaps)
    start = np.searchsorted(regions.edge_index[0], np.arange(len(flat) + 1))
    _swap(
        flat, start, regions.edge_index[1], count_contacts(classes, regions), target, weight,
        marked, contacts.tissue, contacts.n_marked, contacts.cost,
        contacts.crowded, contacts.n_neighbours, contacts.crowding_cost, proposals, tolerance,
    )  # fmt: skip
    return flat.astype(np.uint8).reshape(classes.shape)


@njit(nogil=True, cache=True)
def _set_class(
    classes: NDArray[np.int64],
    start: NDArray[np.int64],
    neighbour: NDArray[np.int64],
    pairs: NDArray[np.int64],
    cell: int,
    tissue: int,
) -> None:
    """Give one region another class and update the counts of pairs, both in place.

    ``neighbour[start[cell]:start[cell + 1]]`` are the neighbours of a region (CSR). Pairs within a class are counted
    once, on the diagonal; others in both triangles.
    """
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
    proposals: NDArray[np.int64],
    tolerance: NDArray[np.float64],
) -> None:
    """Swap classes in place: `classes` (R,), `pairs` (K, K), `proposals` (swaps, 2), `tolerance` (swaps,).

    A swap changes the energy only through the neighbours of two regions, so counts are updated and not recomputed.
    No library offers swaps with fixed class counts on an irregular graph.
    """
    n_tissue = 0
    for cell in range(len(classes)):
        n_tissue += marked[cell] and classes[cell] == tissue
    degree = np.diff(start)
    neighbours = 0
    for cell in range(len(classes)):
        if classes[cell] == crowded:
            neighbours += degree[cell]
    energy = cost * abs(n_tissue - n_marked) + _misfit(pairs, target, weight)
    energy += crowding_cost * abs(neighbours - n_neighbours)
    for attempt in range(len(proposals)):
        one, other = proposals[attempt]
        first, second = classes[one], classes[other]
        if first == second:
            continue
        gained = (int(marked[other]) - int(marked[one])) * (int(first == tissue) - int(second == tissue))
        more = (degree[other] - degree[one]) * (int(first == crowded) - int(second == crowded))
        _set_class(classes, start, neighbour, pairs, one, second)
        _set_class(classes, start, neighbour, pairs, other, first)
        after = cost * abs(n_tissue + gained - n_marked) + _misfit(pairs, target, weight)
        after += crowding_cost * abs(neighbours + more - n_neighbours)
        if after - energy <= tolerance[attempt]:
            energy = after
            n_tissue += gained
            neighbours += more
        else:
            _set_class(classes, start, neighbour, pairs, other, second)
            _set_class(classes, start, neighbour, pairs, one, first)


@njit(nogil=True, cache=True)
def _misfit(pairs: NDArray[np.int64], target: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Return the sum of weight abs(pairs - target) over all pairs of classes; all arrays (K, K)."""
    total = 0.0
    for first in range(len(target)):
        for second in range(len(target)):
            if weight[first, second] > 0.0:
                total += weight[first, second] * abs(pairs[first, second] - target[first, second])
    return total
