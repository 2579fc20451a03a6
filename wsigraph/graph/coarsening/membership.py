"""Which superpixel belongs to which region, and which other regions it could have joined.

Learning an embedding through its own merging (straight-through training) needs more than the partition: for every
superpixel, the region it is in, the regions it touches, and how close each decision was. The score is the one that
merging uses (``select``), between the superpixel s and the rest of region r::

    score(s, r) = sqrt((|z_s - m_r|**2 + c) * n_r / (n_r + 1))

Merging defines no threshold for a single superpixel, because its place depends on the order of merges. The threshold is
taken as halfway between the median score of members and the median score of superpixels that only touch the region.
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
    """Pairs of a superpixel and a region that it is in or touches.

    Attributes
    ----------
    superpixel, region : int64 (P,)
        Superpixel and region of each pair; every pair occurs once.
    inside : bool (P,)
        Whether the superpixel is in the region.
    threshold, temperature : float
        Score at which membership has a probability of 1/2, and the width of that transition; units of the embedding.
    chance : float
        c, the squared distance that chance explains.
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
    """Return the pairs of superpixels and regions of a partition.

    Parameters
    ----------
    embedding : int64 (N, D)
        Quantised embedding that the partition was made with.
    edge_index : int64 (2, E)
        Edges in both directions.
    assignment : int64 (N,)
        Region of each superpixel, 0..C-1.
    unit : int
        Integer units of embedding distance 1.

    Returns
    -------
    Membership
        All pairs, those inside first.

    Notes
    -----
    Time is linear in superpixels and edges.
    """
    n_nodes, n_regions = len(assignment), int(assignment.max()) + 1
    source, other = edge_index[0], assignment[edge_index[1]]
    across = np.unique(source[other != assignment[source]] * n_regions + other[other != assignment[source]])
    # (P,): N pairs inside, then the touching ones
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
        # nothing merged, or everything did: use the typical distance
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
    """Return |z_s - m_r|**2 and sqrt(n_r / (n_r + 1)) of each pair, float64 (P,); r excludes the superpixel itself."""
    inside = assignment[superpixel] == region
    count = np.bincount(assignment)[region] - inside
    rest = (total[region] - z[superpixel] * inside[:, None]) / np.maximum(count, 1)[:, None]
    return ((z[superpixel] - rest) ** 2).sum(axis=1), np.sqrt(count / (count + 1.0))
