"""Facts about single regions: position, area, tissue cluster, features, neighbours and attribution.

The findings of an explanation describe its most important regions; the viewer requests any region. Both use this
module, with or without an explanation, and with or without a training reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.reference import Reference
from wsigraph.explanation.tissue_clusters import feature_label
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
# the columns of an encoder are not in this table and have no unit
_UNITS = dict(zip(FEATURE_NAMES, FEATURE_UNITS, strict=True))
_UM_PER_MM = 1000.0
_LEVELS = ((5.0, "very_low"), (25.0, "low"), (75.0, "typical"), (95.0, "high"))
"""Percentiles below which a feature has a level."""


class RegionDescriber:
    """Describes single regions of one slide; features and percentiles are computed once.

    Parameters
    ----------
    coarse : CoarseGraph
        The regions.
    explanation : Explanation, optional
        Attributions of the regions.
    reference : Reference, optional
        The training cohort, for percentiles and tissue clusters.
    """

    def __init__(
        self, coarse: CoarseGraph, explanation: Explanation | None = None, reference: Reference | None = None
    ) -> None:
        self._graph, self._own, self._reference = coarse.graph, explanation, reference
        source = explanation or reference
        self._names = FEATURE_NAMES if source is None else source.feature_names
        self._groups = column_groups(self._names)
        self._values = node_columns(coarse.graph, NodeColumns.of_columns(self._names))
        self._area_mm2 = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
        self._percentile = None if reference is None else reference.percentiles(self._values)
        self._cluster, self._broad = self._clusters(reference)
        self._whole = 1.0 if explanation is None else float(np.abs(explanation.node).sum()) or 1.0
        self._cut = (
            {}
            if explanation is None
            else dict(zip(explanation.cut_node.tolist(), explanation.cut_change.tolist(), strict=True))
        )
        # edges are sorted by source, so the edges of a region are contiguous
        self._first_edge = np.searchsorted(coarse.graph.edge_index[0], np.arange(coarse.graph.n_nodes + 1))

    def region(self, node: int, *, n_features: int | None = None) -> dict[str, Any]:
        """Return the facts of one region.

        Parameters
        ----------
        node : int
            Number of the region.
        n_features : int, optional
            How many features to describe, by falling attribution in the direction of the region's own; by default all,
            in column order.

        Returns
        -------
        dict
            Plain JSON values. ``percentile`` is among the training regions. ``fraction`` is the attribution over the
            sum of the absolute attributions of all regions. Unknown values are None.

        Raises
        ------
        IndexError
            If there is no such region.
        """
        if not 0 <= node < self._graph.n_nodes:
            raise IndexError(f"there is no region {node}, expected 0 to {self._graph.n_nodes - 1}")
        own = self._own
        return {
            "node": int(node),
            "x_mm": float(self._graph.centroid_um[node, 0] / _UM_PER_MM),
            "y_mm": float(self._graph.centroid_um[node, 1] / _UM_PER_MM),
            "area_mm2": float(self._area_mm2[node]),
            "area_fraction": float(self._area_mm2[node] / self._area_mm2.sum()),
            "cluster": None if self._cluster is None else self._cluster[node],
            "broad_cluster": None if self._broad is None else self._broad[node],
            "neighbourhood": None if own is None else int(own.neighbourhood[node]),
            "attribution": None if own is None else float(own.node[node]),
            "fraction": None if own is None else float(own.node[node] / self._whole),
            "cut_change": self._cut.get(int(node)),
            "features": [self._feature(node, int(column)) for column in self._columns(node, n_features)],
        }

    def group(self, regions: Sequence[int], *, n_features: int) -> list[dict[str, Any]]:
        """Return the features that count most for several regions together.

        Parameters
        ----------
        regions : sequence of int
            At least one region.
        n_features : int
            How many features to describe, by falling attribution in the direction of the regions' own.

        Returns
        -------
        list of dict
            As in `region`: the value is the mean by area, the attribution a sum, and the percentile that of the mean.
        """
        chosen = np.asarray(regions)
        values = np.average(self._values[chosen], axis=0, weights=self._area_mm2[chosen])
        percentile = None if self._reference is None else self._reference.percentiles(values[None])[0]
        attribution = np.zeros(len(values)) if self._own is None else self._own.feature[chosen].sum(axis=0)
        towards = 1.0 if self._own is None or self._own.node[chosen].sum() >= 0 else -1.0
        return [
            self._describe(
                int(column),
                float(values[column]),
                None if percentile is None else float(percentile[column]),
                None if self._own is None else float(attribution[column]),
            )
            for column in np.argsort(-towards * attribution, kind="stable")[:n_features]
        ]

    def neighbours(self, node: int) -> list[dict[str, Any]]:
        """Return the regions that touch a region, by falling length of the boundary.

        Parameters
        ----------
        node : int
            Number of the region.

        Returns
        -------
        list of dict
            Plain JSON values: ``node``, ``boundary_um``, ``distance_um`` between centroids, and the neighbour's
            ``cluster``, ``area_mm2``, ``attribution`` and ``fraction``; unknown values are None.

        Raises
        ------
        IndexError
            If there is no such region.
        """
        if not 0 <= node < self._graph.n_nodes:
            raise IndexError(f"there is no region {node}, expected 0 to {self._graph.n_nodes - 1}")
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
                "cluster": None if self._cluster is None else self._cluster[others[row]],
                "area_mm2": float(self._area_mm2[others[row]]),
                "attribution": None if own is None else float(own.node[others[row]]),
                "fraction": None if own is None else float(own.node[others[row]] / self._whole),
            }
            for row in np.argsort(-boundary, kind="stable")
        ]

    def _clusters(self, reference: Reference | None) -> tuple[list[str] | None, list[str] | None]:
        """Return the tissue cluster and the broad tissue cluster of every region."""
        source: Explanation | Reference
        if self._own is not None:
            source, cluster, broad = self._own, self._own.cluster, self._own.broad_cluster
        elif reference is not None:
            source = reference
            cluster, broad = reference.clusters(self._values), reference.broad_clusters(self._values)
        else:
            return None, None
        names, broad_names = source.cluster_names, source.broad_cluster_names
        return [names[index] for index in cluster], [broad_names[index] for index in broad]

    def _columns(self, node: int, n_features: int | None) -> NDArray[np.int64]:
        if n_features is None or self._own is None:
            return np.arange(self._values.shape[1])[:n_features]
        # features that add to the region's attribution, not those that reduce it
        towards = 1.0 if self._own.node[node] >= 0 else -1.0
        return np.asarray(np.argsort(-towards * self._own.feature[node], kind="stable")[:n_features])

    def _feature(self, node: int, column: int) -> dict[str, Any]:
        return self._describe(
            column,
            float(self._values[node, column]),
            None if self._percentile is None else float(self._percentile[node, column]),
            None if self._own is None else float(self._own.feature[node, column]),
        )

    def _describe(
        self, column: int, value: float, percentile: float | None, attribution: float | None
    ) -> dict[str, Any]:
        return {
            "feature": self._names[column],
            "name": feature_label(self._names[column]),
            "unit": unit_words(_UNITS.get(self._names[column], "1")),
            "group": self._groups[column],
            "value": value,
            "percentile": percentile,
            "level": feature_level(percentile),
            "attribution": attribution,
        }


def feature_level(percentile: float | None) -> str:
    """Return a word for a percentile among the training regions: ``very_low``, ``low``, ``typical``, ``high``, ..."""
    if percentile is None:
        return "unknown"
    return next((name for limit, name in _LEVELS if percentile < limit), "very_high")


def unit_words(unit: str) -> str:
    """Return a feature's unit for display; empty for a number without unit."""
    return _UNIT_WORDS.get(unit, unit)
