"""Superpixel graphs behind a cohort's rows, and the same rows coarsened anew by other weights."""

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
from wsigraph.model.columns import Reading, column_groups, column_names
from wsigraph.model.inputs import GraphInput, Scaler, graph_input, join
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.training.straight_through import Links, join_links


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineGraphs:
    """What rows were before coarsening.

    Attributes
    ----------
    rows : tuple of tuple of TissueGraph
        Superpixel graphs of each row, one a slide.
    config : CoarseningConfig
        How they are coarsened.
    embedding : Embedding
        That coarsened them, and from which training of the coarsening starts.
    """

    rows: tuple[tuple[TissueGraph, ...], ...]
    config: CoarseningConfig
    embedding: Embedding

    def take(self, rows: Iterable[int]) -> FineGraphs:
        """Return some rows in the order asked for."""
        return replace(self, rows=tuple(self.rows[row] for row in rows))

    def coarsened(self, embedding: Embedding, reading: Reading) -> list[GraphInput]:
        """Return what the network reads of every row coarsened by an embedding.

        Parameters
        ----------
        embedding : Embedding
            Decides the merging.
        reading : Reading
            What is read of a region.

        Returns
        -------
        list of GraphInput
            In the order of the rows.

        Raises
        ------
        ModelError
            If the graphs do not hold what is read.
        """
        return [
            join([graph_input(coarsen(graph, self.config, embedding=embedding), reading) for graph in graphs])
            for graphs in self.rows
        ]


def row_cut(
    graphs: Sequence[TissueGraph], config: CoarseningConfig, embedding: Embedding, reading: Reading, scaler: Scaler
) -> tuple[GraphInput, Links]:
    """Return a row coarsened by an embedding, and what its regions are made of.

    Parameters
    ----------
    graphs : sequence of TissueGraph
        Superpixel graphs of the row.
    config : CoarseningConfig
        How they are coarsened.
    embedding : Embedding
        Decides the merging.
    reading : Reading
        What is read of a region.
    scaler : Scaler
        The network's units.

    Returns
    -------
    graph : GraphInput
        The hard regions; what prediction would read.
    links : Links
        For the gradient.

    Raises
    ------
    ModelError
        If the graphs do not hold what is read.
    """
    coarse = [coarsen(graph, config, embedding=embedding) for graph in graphs]
    links = [_links(graph, each, embedding, reading, scaler) for graph, each in zip(graphs, coarse, strict=True)]
    return join([graph_input(each, reading) for each in coarse]), join_links(links)


def _links(graph: TissueGraph, coarse: CoarseGraph, embedding: Embedding, reading: Reading, scaler: Scaler) -> Links:
    values = standardise(interpret(graph).values, embedding.mean, embedding.scale)
    around = neighbour_mean(values, graph.edge_index, edge_lengths(graph).astype(np.float64))
    raw = graph_input(graph, reading)
    found = memberships(embed(graph, embedding), graph.edge_index, coarse.assignment, unit=QUANTUM)
    pairs = np.ones(len(found.region))
    return Links(
        described=_float32(np.concatenate([values, around], axis=1)),
        mixed=_float32(scaler.standardise(raw).features * _is_mean(reading, raw.features.shape[1])),
        area=_float32(graph.moment("n")),
        assignment=torch.from_numpy(coarse.assignment),
        superpixel=torch.from_numpy(found.superpixel),
        region=torch.from_numpy(found.region),
        inside=_float32(found.inside),
        threshold=_float32(found.threshold * pairs),
        temperature=_float32(found.temperature * pairs),
        chance=_float32(found.chance * pairs),
        n_regions=coarse.graph.n_nodes,
    )


def _is_mean(reading: Reading, n_columns: int) -> NDArray[np.bool_]:
    """Return which columns of a region are about means of its superpixels': all but shape."""
    return np.array([group != "shape" for group in column_groups(column_names(reading, n_columns))])


def _float32(values: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
