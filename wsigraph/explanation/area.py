"""What an area of the slide says: the attribution of the regions inside a drawn polygon.

The explanation is that of the whole slide, so the answer is about the reported prediction. It differs from an analysis
that is limited to the area (``--roi``), which predicts from the area alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import Polygon, contains_xy

from wsigraph.errors import ConfigError
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.region_facts import RegionDescriber
from wsigraph.explanation.structures import tissue_mm2
from wsigraph.records import CoarseGraph, Explanation

_N_FEATURES = 3


def describe_area(
    explanation: Explanation,
    coarse: CoarseGraph,
    polygon_um: Sequence[tuple[float, float]] | NDArray[np.float64],
    reference: Reference | None = None,
) -> dict[str, Any]:
    """Return what the regions whose centre lies inside a polygon add to the explained difference.

    Parameters
    ----------
    explanation : Explanation
        Explanation of the whole slide.
    coarse : CoarseGraph
        Its regions.
    polygon_um : sequence of (float, float), or float64 (P, 2)
        Corners as (x, y) in um from the slide's corner.
    reference : Reference, optional
        The training cohort, for percentiles.

    Returns
    -------
    dict
        Plain JSON values: ``n_regions``, ``regions``, ``area_mm2``, ``area_fraction`` of the tissue, ``attribution``,
        ``fraction`` of all attribution, ``over_even``, how often that is what an even spread would give it, and
        ``features``, those that count most.

    Raises
    ------
    ConfigError
        If no region lies inside.
    """
    corners = np.asarray(polygon_um, np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2 or len(corners) < 3:
        raise ConfigError(f"the area has corners of shape {corners.shape}, expected at least 3 pairs (x, y) in um")
    centre = coarse.graph.centroid_um
    inside = np.flatnonzero(contains_xy(Polygon(corners), centre[:, 0], centre[:, 1]))
    if not len(inside):
        low, high = centre.min(axis=0), centre.max(axis=0)
        raise ConfigError(
            f"no region has its centre inside the area; the slide's regions lie between {low[0]:.0f}, {low[1]:.0f} um "
            f"and {high[0]:.0f}, {high[1]:.0f} um"
        )
    area = tissue_mm2(coarse)
    whole = float(np.abs(explanation.node).sum()) or 1.0
    fraction = float(explanation.node[inside].sum()) / whole
    area_fraction = float(area[inside].sum() / area.sum())
    return {
        "n_regions": len(inside),
        "regions": [int(region) for region in inside],
        "area_mm2": float(area[inside].sum()),
        "area_fraction": area_fraction,
        "attribution": float(explanation.node[inside].sum()),
        "fraction": fraction,
        "over_even": abs(fraction) / area_fraction if area_fraction else None,
        "features": RegionDescriber(coarse, explanation, reference).group(inside.tolist(), n_features=_N_FEATURES),
    }
