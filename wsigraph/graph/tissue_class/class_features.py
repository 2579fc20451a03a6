"""What a region is classified by: its exact features, in the slide's own units, and its neighbours' means.

The stain, texture and nucleus features of a region are used twice: as measured, and as deviations from the median of
the slide's tissue in standard deviations of it. The first carries what is the same in every slide, the second what is
left when a stain or scanner shifts a whole slide. Shape is left out: that of a superpixel says nothing of the tissue.
With neighbours, the boundary-weighted mean of the neighbours' features follows, one step of message passing.

Glass (lumina, tears, holes) is decided before anything else, by the exact fraction of white pixels, and has no other
features. It is left out of the median and of every sum over tissue.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.coarsening.embed import edge_lengths, neighbour_mean
from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, interpret
from wsigraph.records import TissueGraph

GLASS = "Glass"
"""The class without features."""
GLASS_FRACTION = 0.5
"""A region with at least this fraction of white pixels (lightness 224 of 255) is glass."""
_LEAST_TISSUE = 20
_USED = np.array([group != "shape" for group in FEATURE_GROUPS])
_WHITE = FEATURE_NAMES.index("white_fraction")


def class_feature_names(*, neighbours: bool) -> tuple[str, ...]:
    """Return the names of the columns of `class_features`.

    Parameters
    ----------
    neighbours : bool
        Whether the neighbours' means follow.

    Returns
    -------
    tuple of str
        Names.
    """
    own = [name for name, used in zip(FEATURE_NAMES, _USED, strict=True) if used]
    names = [*own, *(f"{name} in the slide" for name in own)]
    return tuple([*names, *(f"neighbours' {name}" for name in names)] if neighbours else names)


def class_features(graph: TissueGraph, *, neighbours: bool) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return what the regions of a graph are classified by.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels or regions.
    neighbours : bool
        Whether to add the boundary-weighted means of the neighbours.

    Returns
    -------
    values : float64 (N, F)
        Features, named by `class_feature_names`; all finite.
    is_glass : bool (N,)
        Regions that are glass.

    Raises
    ------
    RecordError
        If the graph's moments follow another schema.

    Notes
    -----
    Linear in regions and edges.
    """
    features = interpret(graph).values
    is_glass = features[:, _WHITE] >= GLASS_FRACTION
    own = features[:, _USED]
    tissue = own[~is_glass] if int((~is_glass).sum()) >= _LEAST_TISSUE else own
    spread = tissue.std(axis=0)
    relative = (own - np.median(tissue, axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    values = np.concatenate([own, relative], axis=1)  # (N, 2 used)
    if neighbours:
        length = edge_lengths(graph).astype(np.float64)
        values = np.concatenate([values, neighbour_mean(values, graph.edge_index, length)], axis=1)
    return values, is_glass
