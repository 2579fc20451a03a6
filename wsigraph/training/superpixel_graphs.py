"""Superpixel graphs of a cohort's rows, and the same rows coarsened by other weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import QUANTUM, Embedding, edge_lengths, embed, neighbour_mean, standardise
from wsigraph.graph.coarsening.membership import memberships
from wsigraph.graph.feature.interpret import interpret
from wsigraph.model.columns import NodeColumns, column_groups, column_names
from wsigraph.model.inputs import GraphInput, Scaler, graph_input, join
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.training.straight_through import Links, join_links


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SuperpixelGraphs:
    """A cohort's rows before coarsening.

    Attributes
    ----------
    rows : tuple of tuple of TissueGraph
        Superpixel graphs of each row, one a slide.
    config : CoarseningConfig
        Settings of the coarsening.
    embedding : Embedding
        Coarsened the cohort; training of the coarsening starts from it.
    """

    rows: tuple[tuple[TissueGraph, ...], ...]
    config: CoarseningConfig
    embedding: Embedding

    def take(self, rows: Iterable[int]) -> SuperpixelGraphs:
        """Return some rows, in the given order."""
        return replace(self, rows=tuple(self.rows[row] for row in rows))

    def coarsened(self, embedding: Embedding, columns: NodeColumns) -> list[GraphInput]:
        """Return the network inputs of every row, coarsened by an embedding.

        Parameters
        ----------
        embedding : Embedding
            Decides the merging.
        columns : NodeColumns
            Columns of the node features.

        Returns
        -------
        list of GraphInput
            In the order of the rows.

        Raises
        ------
        ModelError
            If the graphs lack a column.
        """
        return [
            join([graph_input(coarsen(graph, self.config, embedding=embedding), columns) for graph in graphs])
            for graphs in self.rows
        ]


def coarsen_row(
    graphs: Sequence[TissueGraph], config: CoarseningConfig, embedding: Embedding, columns: NodeColumns, scaler: Scaler
) -> tuple[GraphInput, Links]:
    """Return a row coarsened by an embedding, and how its regions depend on its superpixels.

    Parameters
    ----------
    graphs : sequence of TissueGraph
        Superpixel graphs of the row.
    config : CoarseningConfig
        Settings of the coarsening.
    embedding : Embedding
        Decides the merging.
    columns : NodeColumns
        Columns of the node features.
    scaler : Scaler
        The network's units.

    Returns
    -------
    graph : GraphInput
        The network inputs that prediction would read.
    links : Links
        For the gradient (`MergingWeights`).

    Raises
    ------
    ModelError
        If the graphs lack a column.
    """
    coarse = [coarsen(graph, config, embedding=embedding) for graph in graphs]
    links = [
        _links(graph, coarse_graph, embedding, columns, scaler)
        for graph, coarse_graph in zip(graphs, coarse, strict=True)
    ]
    return join([graph_input(coarse_graph, columns) for coarse_graph in coarse]), join_links(links)


def _links(
    graph: TissueGraph, coarse: CoarseGraph, embedding: Embedding, columns: NodeColumns, scaler: Scaler
) -> Links:
    values = standardise(interpret(graph).values, embedding.mean, embedding.scale)
    neighbours = neighbour_mean(values, graph.edge_index, edge_lengths(graph).astype(np.float64))
    raw = graph_input(graph, columns)
    membership = memberships(embed(graph, embedding), graph.edge_index, coarse.assignment, unit=QUANTUM)
    pairs = np.ones(len(membership.region))
    return Links(
        described=_float32(np.concatenate([values, neighbours], axis=1)),
        mixed=_float32(scaler.standardise(raw).features * _is_mean(columns, raw.features.shape[1])),
        area=_float32(graph.moment("n")),
        assignment=torch.from_numpy(coarse.assignment),
        superpixel=torch.from_numpy(membership.superpixel),
        region=torch.from_numpy(membership.region),
        inside=_float32(membership.inside),
        threshold=_float32(membership.threshold * pairs),
        temperature=_float32(membership.temperature * pairs),
        chance=_float32(membership.chance * pairs),
        n_regions=coarse.graph.n_nodes,
    )


def _is_mean(columns: NodeColumns, n_columns: int) -> NDArray[np.bool_]:
    """Return which columns of a region are close to the mean over its superpixels: all but shape."""
    return np.array([group != "shape" for group in column_groups(column_names(columns, n_columns))])


def _float32(values: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
