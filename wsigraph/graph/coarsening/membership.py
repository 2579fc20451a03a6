"""Which superpixel belongs to which region, and which other regions it could have joined.

Learning an embedding through its own merging needs more than the partition: for every superpixel the region it is in
and the regions it touches, and how near it was to each decision. The score is the merging's own (`select`): the root of
Ward's criterion, with what chance explains added to the squared distance, between the superpixel and the rest of the
region. Where a superpixel's place is decided is not a number that the merging states, since it depends on the order of
merges; it is taken as halfway between the median score of members and the median score of those that touch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.coarsening.contract import sum_by
from wsigraph.graph.coarsening.select import chance_of

_NARROWEST = 0.125


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Membership:
    """Pairs of a superpixel and a region it is in, or touches.

    Attributes
    ----------
    superpixel, region : int64 (P,)
        The pair; each once.
    inside : bool (P,)
        Whether the superpixel is in the region.
    threshold, temperature : float
        Score at which a superpixel is as likely in as out, and the width of that decision; units of the embedding.
    chance : float
        Squared distance that chance explains, which the score adds.
    """

    superpixel: NDArray[np.int64]
    region: NDArray[np.int64]
    inside: NDArray[np.bool_]
    threshold: float
    temperature: float
    chance: float


def memberships(
    embedding: NDArray[np.int64], edge_index: NDArray[np.int64], assignment: NDArray[np.int64], *, unit: int
) -> Membership:
    """Return the pairs of a partition.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding that the partition was made by.
    edge_index : int64 (2, E)
        Neighbours, both directions.
    assignment : int64 (N,)
        Region of each superpixel, 0..C-1.
    unit : int
        Integer units of embedding distance 1.

    Returns
    -------
    Membership
        Linear in superpixels and edges.
    """
    n_nodes, n_regions = len(assignment), int(assignment.max()) + 1
    source, other = edge_index[0], assignment[edge_index[1]]
    across = np.unique(source[other != assignment[source]] * n_regions + other[other != assignment[source]])
    superpixel = np.concatenate([np.arange(n_nodes), across // n_regions])
    region = np.concatenate([assignment, across % n_regions])
    inside = np.arange(len(superpixel)) < n_nodes
    chance = chance_of(embedding, edge_index) / unit**2
    total = sum_by(embedding, assignment, n_regions) / unit
    square, factor = _distances(embedding / unit, total, assignment, superpixel, region)
    score = np.sqrt(square + chance) * factor
    alone = np.bincount(assignment)[region] - inside < 1
    members, touching = score[inside & ~alone], score[~inside]
    width = 2.0 * np.sqrt(chance)
    if len(members) and len(touching):
        low, high = float(np.median(members)), float(np.median(touching))
    else:
        # nothing merged, or everything did: a decision is anywhere near the typical distance
        low = high = width
    return Membership(
        superpixel=superpixel,
        region=region,
        inside=inside,
        threshold=0.5 * (low + high),
        temperature=max(0.5 * (high - low), _NARROWEST * width),
        chance=float(chance),
    )


def _distances(
    z: NDArray[np.float64],
    total: NDArray[np.float64],
    assignment: NDArray[np.int64],
    superpixel: NDArray[np.int64],
    region: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the squared distance of each superpixel from the rest of its region, and the root of Ward's factor."""
    inside = assignment[superpixel] == region
    count = np.bincount(assignment)[region] - inside
    rest = (total[region] - z[superpixel] * inside[:, None]) / np.maximum(count, 1)[:, None]
    return ((z[superpixel] - rest) ** 2).sum(axis=1), np.sqrt(count / (count + 1.0))
