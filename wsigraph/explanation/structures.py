"""Structures: connected tissue that raises the output, or lowers it, more than the rest of the slide does.

A single region is an accident of the segmentation, and 20 um of it mean nothing to a reader. So regions of like sign
whose attribution per area is clearly above the mean of the slide are joined with their neighbours, and the structure is
named with its fraction of the tissue and of the attribution. Regions that are mostly white (glass, lumen, fat) belong
to no structure and count in no fraction of area.

Before any structure is named, one test: the tenth of the tissue with the strongest attribution per area holds a tenth
of all attribution if it is spread evenly. Below twice that, attribution follows area, and nothing is localised.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from wsigraph.geometry import px_to_mm2
from wsigraph.graph.feature.interpret import known_features
from wsigraph.records import CoarseGraph

MAX_WHITE = 0.5
"""Largest fraction of white pixels of a region that counts as tissue."""
LEAST_REGION_MM2 = 0.0025
"""Area below which a region does not lead a list: 50 um x 50 um."""
LEAST_STRUCTURE_MM2 = 0.01
"""Area below which a structure is not named: 100 um x 100 um."""
LEAST_DENSITY = 1.5
"""Attribution per area of the regions of a structure, at least, in means of the slide."""
TENTH = 0.1
"""Fraction of the tissue that the test of localisation looks at."""
LEAST_IN_TENTH = 0.2
"""Fraction of all attribution in that tenth, at least, of an explanation that localises."""
SCALE_PERCENTILE = 95.0
"""Percentile of the attribution per area, over tissue, that has the full colour of a map."""


def tissue_mm2(coarse: CoarseGraph) -> NDArray[np.float64]:
    """Return the area of every region, mm2, float64 (C,); 0 for a region that is mostly white."""
    area = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
    table = known_features(coarse.graph)
    column = table.column("white_fraction")
    if column is None:
        # of another tool's tiles no pixel is known
        return area
    white = table.values[:, column]
    counts = white <= MAX_WHITE
    return np.where(counts, area, 0.0) if counts.any() else area


def fraction_in_tenth(node: NDArray[np.float64], area: NDArray[np.float64]) -> float:
    """Return the fraction of all attribution in the tenth of the tissue that has most of it per area.

    Parameters
    ----------
    node : float64 (C,)
        Attribution of every region.
    area : float64 (C,)
        Area of every region; regions of 0 do not count.

    Returns
    -------
    float
        `TENTH` where attribution is spread evenly, at most 1. A region at the border of the tenth counts in part.
    """
    counts = area > 0
    strength, size = np.abs(node[counts]), area[counts]
    total = float(strength.sum())
    if total == 0.0:
        return TENTH
    order = np.argsort(-strength / size, kind="stable")
    at = np.concatenate([[0.0], np.cumsum(size[order]) / size.sum()])
    return float(np.interp(TENTH, at, np.concatenate([[0.0], np.cumsum(strength[order]) / total])))


def colour_scale(node: NDArray[np.float64], area: NDArray[np.float64]) -> float:
    """Return the attribution per area that has the full colour of a map: a percentile over tissue, not over regions.

    Parameters
    ----------
    node : float64 (C,)
        Attribution of every region.
    area : float64 (C,)
        Area of every region; regions of 0 do not count.

    Returns
    -------
    float
        Above 0; 1 where all attributions are 0. A few specks of extreme attribution per area do not move it.
    """
    counts = area > 0
    if not counts.any():
        return 1.0
    density = np.abs(node[counts]) / area[counts]
    order = np.argsort(density, kind="stable")
    below = np.cumsum(area[counts][order]) / area.sum()
    place = min(int(np.searchsorted(below, SCALE_PERCENTILE / 100)), len(order) - 1)
    return float(density[order][place]) or float(density.max()) or 1.0


def find_structures(
    node: NDArray[np.float64], area: NDArray[np.float64], edge_index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the structure of every region.

    Parameters
    ----------
    node : float64 (C,)
        Attribution of every region.
    area : float64 (C,)
        Area of every region, mm2; regions of 0 belong to no structure.
    edge_index : int64 (2, E)
        Directed edges between neighbours.

    Returns
    -------
    int64 (C,)
        Number of the structure, by falling absolute attribution from 0; -1 for a region of none.
    """
    density = np.divide(node, area, out=np.zeros_like(node), where=area > 0)
    mean = float(np.abs(node[area > 0]).sum()) / max(float(area.sum()), 1e-300)
    sign = np.where(np.abs(density) >= max(LEAST_DENSITY * mean, 1e-300), np.sign(density), 0.0)
    joins = (sign[edge_index[0]] == sign[edge_index[1]]) & (sign[edge_index[0]] != 0)
    source, target = edge_index[:, joins]
    adjacency = coo_matrix((np.ones(len(source), np.int8), (source, target)), shape=(len(node), len(node)))
    group = connected_components(adjacency, directed=False)[1]
    total, size = np.bincount(group, node), np.bincount(group, area)
    is_named = (size >= LEAST_STRUCTURE_MM2) & (total != 0)
    is_named[group[sign == 0]] = False
    order = np.argsort(-np.abs(total), kind="stable")
    order = order[is_named[order]]
    number = np.full(len(total), -1, np.int64)
    number[order] = np.arange(len(order))
    return np.asarray(number[group])


def describe_structures(
    node: NDArray[np.float64], coarse: CoarseGraph, area: NDArray[np.float64], names: list[str] | None = None
) -> list[dict[str, Any]]:
    """Return the structures of a slide, those of strongest attribution first.

    Parameters
    ----------
    node : float64 (C,)
        Attribution of every region.
    coarse : CoarseGraph
        The regions.
    area : float64 (C,)
        `tissue_mm2` of the regions.
    names : list of str, optional
        Name of the tissue of every region; empty where unknown.

    Returns
    -------
    list of dict
        Plain JSON values: ``number`` from 1, ``regions``, centre ``x_mm`` and ``y_mm`` by area, ``area_mm2`` and
        ``area_fraction`` of the tissue, ``attribution``, ``fraction`` of all attribution, and ``tissue``, the name that
        most of its area has, or None.
    """
    structure = find_structures(node, area, coarse.graph.edge_index)
    n_structures = int(structure.max(initial=-1)) + 1
    if n_structures == 0:
        return []
    inside = np.flatnonzero(structure >= 0)
    own = structure[inside]
    total, size = np.bincount(own, node[inside]), np.bincount(own, area[inside])
    centre = [np.bincount(own, area[inside] * coarse.graph.centroid_um[inside, axis]) / size / 1000 for axis in (0, 1)]
    whole = float(np.abs(node[area > 0]).sum()) or 1.0
    by_structure = np.split(inside[np.argsort(own, kind="stable")], np.cumsum(np.bincount(own))[:-1])
    return [
        {
            "number": number + 1,
            "regions": [int(region) for region in by_structure[number]],
            "x_mm": float(centre[0][number]),
            "y_mm": float(centre[1][number]),
            "area_mm2": float(size[number]),
            "area_fraction": float(size[number] / area.sum()),
            "attribution": float(total[number]),
            "fraction": float(total[number] / whole),
            "tissue": None if names is None else _common_name(names, by_structure[number], area),
        }
        for number in range(n_structures)
    ]


def _common_name(names: list[str], regions: NDArray[np.int64], area: NDArray[np.float64]) -> str | None:
    """Return the name that most of the area of some regions has; None where that is no name."""
    of_name: dict[str, float] = {}
    for region in regions.tolist():
        of_name[names[region]] = of_name.get(names[region], 0.0) + float(area[region])
    return max(sorted(of_name), key=lambda name: of_name[name]) or None
