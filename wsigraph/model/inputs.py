"""The network's inputs from a graph: node features, edge attributes, areas, and their scaling.

Nodes have interpretable features, an encoder's, or both (``columns.py``). Edges have the length of the shared boundary,
the distance of the centroids, and the fraction of the source's perimeter that the boundary makes up. Lengths follow
Crofton's estimate and are in um, so that two scans of one tissue give nearly the same input. The scaler is fitted on
the training part alone and stored with the weights. Standardised features are clipped, so that one unusual region
cannot decide the whole slide; the fraction of clipped values is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.geometry import crofton_um, px_to_um2
from wsigraph.model.columns import NodeColumns, column_names, node_columns
from wsigraph.records import CoarseGraph, TissueGraph

EDGE_ATTRIBUTES = ("log_boundary_um", "log_distance_um", "perimeter_fraction")
"""Columns of the edge attributes; the first two are ``log(1 + um)``."""
CLIP = 6.0
"""Standardised values are clipped at this many training standard deviations."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphInput:
    """Network inputs of a graph, before scaling.

    Attributes
    ----------
    features : float64 (N, F)
        Columns of a `NodeColumns`, in their own units.
    area_um2 : float64 (N,)
        Area of every region, um2.
    edge_index : int64 (2, E)
        Neighbours, both directions.
    edge_attribute : float64 (E, 3)
        Columns named by `EDGE_ATTRIBUTES`.
    """

    features: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    edge_index: NDArray[np.int64]
    edge_attribute: NDArray[np.float64]

    def without(self, regions: Sequence[int] | NDArray[np.int64]) -> GraphInput:
        """Return the graph without some regions and their edges, as region dropout does in training.

        Parameters
        ----------
        regions : sequence of int
            Regions to remove; if that is all of them, the largest stays.

        Returns
        -------
        GraphInput
            The other regions, in their order, with unchanged features and areas.

        Raises
        ------
        ModelError
            If a region does not exist.
        """
        n_regions, chosen = len(self.features), np.asarray(regions, np.int64).ravel()
        if len(chosen) and not 0 <= chosen.min() <= chosen.max() < n_regions:
            raise ModelError(
                f"cannot remove regions {chosen.min()} to {chosen.max()}, expected numbers from 0 to {n_regions - 1}"
            )
        is_kept = np.ones(n_regions, np.bool_)
        is_kept[chosen] = False
        if not is_kept.any():
            is_kept[np.argmax(self.area_um2)] = True
        edges = is_kept[self.edge_index].all(axis=0)
        number = np.cumsum(is_kept) - 1
        return GraphInput(
            features=self.features[is_kept],
            area_um2=self.area_um2[is_kept],
            edge_index=number[self.edge_index[:, edges]],
            edge_attribute=self.edge_attribute[edges],
        )


def edge_attributes(graph: TissueGraph) -> NDArray[np.float64]:
    """Return the attributes of every directed edge.

    Parameters
    ----------
    graph : TissueGraph
        E directed edges.

    Returns
    -------
    float64 (E, 3)
        Columns named by `EDGE_ATTRIBUTES`.

    Raises
    ------
    RecordError
        If the graph's moments lack the outer boundary.
    """
    source, target = graph.edge_index
    length_um = crofton_um(graph.boundary[:, 0], graph.boundary[:, 1], graph.mpp)
    straight, diagonal = (
        graph.moment(f"outside_{direction}") + graph.moment(f"edge_{direction}")
        for direction in ("straight", "diagonal")
    )
    incident_um = np.bincount(source, weights=length_um, minlength=graph.n_nodes)
    perimeter_um = crofton_um(straight, diagonal, graph.mpp) + incident_um
    centroid = graph.centroid_um
    distance_um = np.hypot(*(centroid[source] - centroid[target]).T)
    fraction = np.divide(length_um, perimeter_um[source], out=np.zeros(len(source)), where=perimeter_um[source] > 0)
    return np.stack([np.log1p(length_um), np.log1p(distance_um), fraction], axis=1)


def graph_input(graph: CoarseGraph | TissueGraph, columns: NodeColumns | None = None) -> GraphInput:
    """Return the network inputs of a graph, before scaling.

    Parameters
    ----------
    graph : CoarseGraph or TissueGraph
        Of a coarse graph, the coarse nodes.
    columns : NodeColumns, optional
        Columns of the node features; the interpretable features where left out.

    Returns
    -------
    GraphInput
        Finite numbers.

    Raises
    ------
    ModelError
        If a node feature is not finite, or the graph lacks the encoder's features.
    """
    tissue = graph.graph if isinstance(graph, CoarseGraph) else graph
    columns = columns or NodeColumns()
    values = node_columns(tissue, columns)
    finite = np.isfinite(values)
    if not finite.all():
        names = column_names(columns, values.shape[1])
        examples = ", ".join(names[column] for column in np.flatnonzero(~finite.all(axis=0)))
        raise ModelError(
            f"slide {tissue.slide_id!r}: {int((~finite).sum())} feature values are not finite ({examples}); "
            "expected finite features; build the graph again"
        )
    return GraphInput(
        features=values,
        area_um2=px_to_um2(1.0, tissue.mpp) * tissue.moment("n").astype(np.float64),
        edge_index=tissue.edge_index,
        edge_attribute=edge_attributes(tissue),
    )


def join(inputs: Sequence[GraphInput]) -> GraphInput:
    """Return several graphs as one, without edges between them.

    Parameters
    ----------
    inputs : sequence of GraphInput
        At least one.

    Returns
    -------
    GraphInput
        Regions and edges in the order of the graphs.
    """
    if len(inputs) == 1:
        return inputs[0]
    first = np.cumsum([0, *(len(graph.features) for graph in inputs[:-1])])
    edges = [graph.edge_index + offset for graph, offset in zip(inputs, first, strict=True)]
    return GraphInput(
        features=np.concatenate([graph.features for graph in inputs]),
        area_um2=np.concatenate([graph.area_um2 for graph in inputs]),
        edge_index=np.concatenate(edges, axis=1),
        edge_attribute=np.concatenate([graph.edge_attribute for graph in inputs]),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standardised:
    """Network inputs of a graph, scaled.

    Attributes
    ----------
    features : float32 (N, F)
        Standardised and clipped to plus or minus `CLIP`.
    area : float32 (N,)
        Fraction of the slide's tissue area; sums to one.
    edge_index : int64 (2, E)
        Neighbours, both directions.
    edge_attribute : float32 (E, 3)
        Standardised and clipped.
    clipped_fraction : float
        Fraction of the feature values that were clipped.
    outside : tuple of int
        Features whose area-weighted mean lies outside the range of the training slides, widened by half of it.
    distance : float
        Distance of the slide from the training slides: root mean square over features of the difference of the
        area-weighted means, in standard deviations between training slides. About 1 for a slide like them.
    """

    features: NDArray[np.float32]
    area: NDArray[np.float32]
    edge_index: NDArray[np.int64]
    edge_attribute: NDArray[np.float32]
    clipped_fraction: float
    outside: tuple[int, ...]
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaler:
    """Means and standard deviations of the training part.

    Attributes
    ----------
    feature_mean, feature_scale : float64 (F,)
        Mean and standard deviation over the training regions. A scale of 0 marks a constant feature, which is
        standardised to 0 whatever its value.
    edge_mean, edge_scale : float64 (3,)
        The same for edge attributes.
    pooled_low, pooled_high : float64 (F,)
        Range over training slides of the area-weighted mean of standardised features.
    pooled_mean, pooled_scale : float64 (F,)
        Mean and standard deviation of the same.
    pooled_limit : float64 (1,)
        Distance (see `Standardised`) that one in a hundred training slides exceeds.
    """

    feature_mean: NDArray[np.float64]
    feature_scale: NDArray[np.float64]
    edge_mean: NDArray[np.float64]
    edge_scale: NDArray[np.float64]
    pooled_low: NDArray[np.float64]
    pooled_high: NDArray[np.float64]
    pooled_mean: NDArray[np.float64]
    pooled_scale: NDArray[np.float64]
    pooled_limit: NDArray[np.float64]

    @classmethod
    def fit(cls, inputs: Sequence[GraphInput]) -> Scaler:
        """Return the scaler of the training part.

        Parameters
        ----------
        inputs : sequence of GraphInput
            Training graphs, at least one.

        Returns
        -------
        Scaler
            Mean and scale weight every region equally; the pooled range weights every slide equally.

        Raises
        ------
        ModelError
            If there is no graph.
        """
        if not inputs:
            raise ModelError("no graph to fit a scaler on, expected at least one training graph")
        mean, scale = _moments(np.concatenate([graph.features for graph in inputs]))
        edge_mean, edge_scale = _moments(np.concatenate([graph.edge_attribute for graph in inputs]))
        pooled = np.stack(
            [_pool(_standardise(graph.features, mean, scale)[0], _fractions(graph.area_um2)) for graph in inputs]
        )
        pooled_mean, pooled_scale = _moments(pooled)
        distances = [_distance(row, pooled_mean, pooled_scale) for row in pooled]
        return cls(
            feature_mean=mean,
            feature_scale=scale,
            edge_mean=edge_mean,
            edge_scale=edge_scale,
            pooled_low=pooled.min(axis=0),
            pooled_high=pooled.max(axis=0),
            pooled_mean=pooled_mean,
            pooled_scale=pooled_scale,
            pooled_limit=np.quantile(distances, [0.99]),
        )

    @property
    def n_features(self) -> int:
        """Number of features, F."""
        return len(self.feature_mean)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the fields by name, as a bundle stores them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def standardise(self, raw: GraphInput) -> Standardised:
        """Return the scaled network inputs of a graph.

        Parameters
        ----------
        raw : GraphInput
            A graph with F features.

        Returns
        -------
        Standardised
            float32.

        Raises
        ------
        ModelError
            If the number of features differs from the scaler's.
        """
        if raw.features.shape[1] != self.n_features:
            raise ModelError(f"a graph holds {raw.features.shape[1]} features, expected {self.n_features}")
        features, clipped = _standardise(raw.features, self.feature_mean, self.feature_scale)
        area = _fractions(raw.area_um2)
        pooled = _pool(features, area)
        slack = 0.5 * (self.pooled_high - self.pooled_low)
        outside = np.flatnonzero((pooled < self.pooled_low - slack) | (pooled > self.pooled_high + slack))
        return Standardised(
            features=features.astype(np.float32),
            area=area.astype(np.float32),
            edge_index=raw.edge_index,
            edge_attribute=_standardise(raw.edge_attribute, self.edge_mean, self.edge_scale)[0].astype(np.float32),
            clipped_fraction=float(clipped.mean()),
            outside=tuple(int(column) for column in outside),
            distance=_distance(pooled, self.pooled_mean, self.pooled_scale),
        )


def _moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not len(values):
        return np.zeros(values.shape[1]), np.zeros(values.shape[1])
    mean = values.mean(axis=0)
    scale = values.std(axis=0)
    # rounding leaves a standard deviation of some 1e-16 of the mean in a constant column
    return mean, np.where(scale > 1e-9 * np.maximum(np.abs(mean), 1e-3), scale, 0.0)


def _standardise(
    values: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    centred = values - mean
    standard = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    return np.clip(standard, -CLIP, CLIP), np.abs(standard) > CLIP


def _distance(pooled: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> float:
    varies = scale > 0
    if not varies.any():
        return 0.0
    return float(np.sqrt((((pooled - mean)[varies] / scale[varies]) ** 2).mean()))


def _fractions(area_um2: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(area_um2 / area_um2.sum())


def _pool(features: NDArray[np.float64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((features * area[:, None]).sum(axis=0))
