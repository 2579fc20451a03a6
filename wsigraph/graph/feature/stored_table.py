"""The features of a graph as its file holds them beside the moments, for readers without this package."""

from __future__ import annotations

import numpy as np

from wsigraph.graph.feature.interpret import known_features
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store.payload import Payload


def stored_features(graph: TissueGraph | CoarseGraph) -> Payload:
    """Return what the file of a graph holds beside the record.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        N superpixels or regions.

    Returns
    -------
    Payload
        Array ``x`` float32 (N, F), with fields ``x_names`` and ``x_units``, of F texts each. Reading the record ignores
        them: features are computed from the moments, exactly.
    """
    table = known_features(graph.graph if isinstance(graph, CoarseGraph) else graph)
    fields = {"x_names": list(table.names), "x_units": list(table.units)}
    return Payload(fields, {"x": table.values.astype(np.float32)})
