"""What is known of single regions: place, area, kind, features against the training cohort, neighbours, attribution.

The facts of an explanation tell of its top regions; a viewer asks for any. Both come from here, with or without an
explanation, with or without the training cohort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.kinds import spoken
from wsigraph.explanation.reference import Reference
from wsigraph.geometry import crofton_um, px_to_mm2
from wsigraph.graph.feature.interpret import FEATURE_NAMES, FEATURE_UNITS
from wsigraph.model.columns import NodeColumns, column_groups, node_columns
from wsigraph.records import CoarseGraph, Explanation

_UNIT_WORDS = {
    "1": "",
    "um": "µm",
    "um2": "µm²",
    "1/1000um2": "per 1000 µm²",
    "max": "of the slide's maximum",
    "OD": "optical density",
    "bit": "bits",
    "level2": "grey levels²",
}
# an encoder's columns are not among them and have none
_UNITS = dict(zip(FEATURE_NAMES, FEATURE_UNITS, strict=True))
_UM_PER_MM = 1000.0


class RegionDescriber:
    """Tells of the regions of one slide, one at a time; features and percentiles are worked out once.

    Parameters
    ----------
    coarse : CoarseGraph
        The regions.
    explanation : Explanation, optional
        Their attributions.
    reference : Reference, optional
        The training cohort, for percentiles and kinds.
    """

    def __init__(
        self, coarse: CoarseGraph, explanation: Explanation | None = None, reference: Reference | None = None
    ) -> None:
        self._graph, self._own = coarse.graph, explanation
        source = explanation or reference
        self._names = FEATURE_NAMES if source is None else source.feature_names
        self._groups = column_groups(self._names)
        self._values = node_columns(coarse.graph, NodeColumns.of_columns(self._names))
        self._area_mm2 = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
        self._percentile = None if reference is None else reference.percentiles(self._values)
        self._kind, self._broad = self._kinds(reference)
        self._whole = 1.0 if explanation is None else float(np.abs(explanation.node).sum()) or 1.0
        self._cut = (
            {}
            if explanation is None
            else dict(zip(explanation.cut_node.tolist(), explanation.cut_change.tolist(), strict=True))
        )
        # edges are sorted by their source, so that those of a region lie together
        self._first_edge = np.searchsorted(coarse.graph.edge_index[0], np.arange(coarse.graph.n_nodes + 1))

    def region(self, node: int, *, n_features: int | None = None) -> dict[str, Any]:
        """Return the facts of one region.

        Parameters
        ----------
        node : int
            Which.
        n_features : int, optional
            The so many features that make the region what it counts for; all, in their order, where left out.

        Returns
        -------
        dict
            Plain JSON values. ``percentile`` is among the training regions, ``share`` an attribution over the sum of
            the absolute attributions of all regions; what is not known is None.

        Raises
        ------
        IndexError
            If there is no such region.
        """
        if not 0 <= node < self._graph.n_nodes:
            raise IndexError(f"region {node} is asked for, expected 0 to {self._graph.n_nodes - 1}")
        own = self._own
        return {
            "node": int(node),
            "x_mm": float(self._graph.centroid_um[node, 0] / _UM_PER_MM),
            "y_mm": float(self._graph.centroid_um[node, 1] / _UM_PER_MM),
            "area_mm2": float(self._area_mm2[node]),
            "area_fraction": float(self._area_mm2[node] / self._area_mm2.sum()),
            "kind": None if self._kind is None else self._kind[node],
            "broad_kind": None if self._broad is None else self._broad[node],
            "neighbourhood": None if own is None else int(own.neighbourhood[node]),
            "attribution": None if own is None else float(own.node[node]),
            "share": None if own is None else float(own.node[node] / self._whole),
            "cut_change": self._cut.get(int(node)),
            "features": [self._feature(node, int(column)) for column in self._columns(node, n_features)],
        }

    def neighbours(self, node: int) -> list[dict[str, Any]]:
        """Return the regions that touch one, the longest boundary first.

        Parameters
        ----------
        node : int
            Which.

        Returns
        -------
        list of dict
            Plain JSON values: ``node``, ``boundary_um``, ``distance_um`` between centroids, and the neighbour's
            ``kind``, ``area_mm2``, ``attribution`` and ``share``, None where not known.

        Raises
        ------
        IndexError
            If there is no such region.
        """
        if not 0 <= node < self._graph.n_nodes:
            raise IndexError(f"region {node} is asked for, expected 0 to {self._graph.n_nodes - 1}")
        edges = slice(self._first_edge[node], self._first_edge[node + 1])
        others = self._graph.edge_index[1, edges]
        straight, diagonal = self._graph.boundary[edges].T
        boundary = crofton_um(straight, diagonal, self._graph.mpp)
        centre = self._graph.centroid_um
        distance = np.hypot(*(centre[others] - centre[node]).T)
        own = self._own
        return [
            {
                "node": int(others[row]),
                "boundary_um": float(boundary[row]),
                "distance_um": float(distance[row]),
                "kind": None if self._kind is None else self._kind[others[row]],
                "area_mm2": float(self._area_mm2[others[row]]),
                "attribution": None if own is None else float(own.node[others[row]]),
                "share": None if own is None else float(own.node[others[row]] / self._whole),
            }
            for row in np.argsort(-boundary, kind="stable")
        ]

    def _kinds(self, reference: Reference | None) -> tuple[list[str] | None, list[str] | None]:
        """Return the kind and the broad kind of every region."""
        own = self._own
        if own is not None:
            return [own.kind_names[each] for each in own.kind], [own.broad_names[each] for each in own.broad_kind]
        if reference is None:
            return None, None
        kind, broad = reference.kinds(self._values), reference.broad_kinds(self._values)
        return [reference.kind_names[each] for each in kind], [reference.broad_names[each] for each in broad]

    def _columns(self, node: int, n_features: int | None) -> NDArray[np.int64]:
        if n_features is None or self._own is None:
            return np.arange(self._values.shape[1])[:n_features]
        # those that make the region what it counts for, not those that weaken it
        towards = 1.0 if self._own.node[node] >= 0 else -1.0
        return np.asarray(np.argsort(-towards * self._own.feature[node], kind="stable")[:n_features])

    def _feature(self, node: int, column: int) -> dict[str, Any]:
        return {
            "feature": self._names[column],
            "name": spoken(self._names[column]),
            "unit": unit_words(_UNITS.get(self._names[column], "1")),
            "group": self._groups[column],
            "value": float(self._values[node, column]),
            "percentile": None if self._percentile is None else float(self._percentile[node, column]),
            "attribution": None if self._own is None else float(self._own.feature[node, column]),
        }


def unit_words(unit: str) -> str:
    """Return a feature's unit as people read it; empty for a pure number."""
    return _UNIT_WORDS.get(unit, unit)
