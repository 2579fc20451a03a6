"""Batches of graphs for training: which graphs, in which order, and without which regions.

Graphs travel as `torch_geometric.data.Data` and `Batch`, loaded by `torch_geometric.loader.DataLoader`. The order of
the batches and the regions dropped are drawn from a numpy generator, whose state a checkpoint holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from wsigraph.model.inputs import Standardised


def graph_data(graph: Standardised, row: int = 0, kept: NDArray[np.bool_] | None = None) -> Data:
    """Return a graph as torch_geometric's data.

    Parameters
    ----------
    graph : Standardised
        N nodes and E edges.
    row : int
        Number of the graph in its data set.
    kept : bool array, optional
        Which regions of the whole graph its nodes are; all of them where left out.

    Returns
    -------
    torch_geometric.data.Data
        ``x`` float32 (N, F), ``edge_index`` int64 (2, E), ``edge_attr`` float32 (E, 3), ``area`` float32 (N,), ``row``
        int64 (1,) and ``kept`` bool (regions of the whole graph,).
    """
    return Data(
        x=torch.from_numpy(graph.features),
        edge_index=torch.from_numpy(graph.edge_index),
        edge_attr=torch.from_numpy(graph.edge_attribute),
        area=torch.from_numpy(graph.area),
        row=torch.tensor([row]),
        kept=torch.from_numpy(np.ones(len(graph.features), np.bool_) if kept is None else kept),
    )


def tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Return the arguments of `wsigraph.model.nn.network.GraphNetwork` from a batch."""
    return batch.x, batch.edge_index, batch.edge_attr, batch.batch, batch.area, batch.num_graphs


def draw_regions(n_regions: int, fraction: float, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which regions to keep, bool (n_regions,); each is dropped with probability `fraction`, never all."""
    draw = rng.random(n_regions)
    kept: NDArray[np.bool_] = draw >= fraction
    kept[np.argmax(draw)] = True
    return kept


def keep_regions(graph: Standardised, kept: NDArray[np.bool_]) -> Standardised:
    """Return the subgraph of some regions, in their old order with their old areas."""
    number = np.cumsum(kept) - 1
    edges = kept[graph.edge_index].all(axis=0)
    return replace(
        graph,
        features=graph.features[kept],
        area=graph.area[kept],
        edge_index=number[graph.edge_index[:, edges]],
        edge_attribute=graph.edge_attribute[edges],
    )


def stratified_batches(
    event: NDArray[np.bool_], batch_graphs: int, *, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return rows in random batches of nearly equal size, each with an event as far as events suffice.

    Parameters
    ----------
    event : bool (n,)
        Which rows have an event.
    batch_graphs : int
        Largest batch; exceeded where there are fewer events than batches.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of int64 array
        Every row once.
    """
    events, others = (rng.permutation(np.flatnonzero(mask)) for mask in (event, ~event))
    n_batches = math.ceil(len(event) / batch_graphs)
    if len(events):
        n_batches = min(n_batches, len(events))
    # round robin, events first, so that every batch gets one before any gets a second
    order = np.concatenate([events, others])
    return [order[first::n_batches] for first in rng.permutation(n_batches)]


class AugmentedGraphDataset(torch.utils.data.Dataset[Data]):
    """Graphs of the training part, each time without some of their regions, so that no single region decides.

    Parameters
    ----------
    graphs : sequence of Standardised
        One a row.
    region_dropout : float
        Largest fraction of regions dropped; every graph of every batch draws its own between 0 and this.
    rng : numpy.random.Generator
        Source of randomness.
    """

    def __init__(self, graphs: Sequence[Standardised], region_dropout: float, rng: np.random.Generator) -> None:
        self._graphs, self._region_dropout, self._rng = graphs, region_dropout, rng

    def __len__(self) -> int:
        return len(self._graphs)

    def __getitem__(self, row: int) -> Data:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Data]:
        # a batch at a time: its fractions are drawn first, then its regions
        fractions = self._rng.uniform(0.0, self._region_dropout, len(rows))
        kept = [
            draw_regions(len(self._graphs[row].features), fraction, rng=self._rng)
            for row, fraction in zip(rows, fractions, strict=True)
        ]
        return [
            graph_data(keep_regions(self._graphs[row], mask), int(row), mask)
            for row, mask in zip(rows, kept, strict=True)
        ]


def load_batches(graphs: AugmentedGraphDataset, batches: Sequence[NDArray[np.int64]]) -> Iterator[Batch]:
    """Yield the batches in their order.

    Parameters
    ----------
    graphs : AugmentedGraphDataset
        Data set.
    batches : sequence of int64 array
        Rows of each batch, from `stratified_batches`.

    Yields
    ------
    torch_geometric.data.Batch
        Disjoint union, with the attributes of `graph_data`.
    """
    # the loader draws a seed for its workers; from torch's own generator that would change every dropout after it
    yield from DataLoader(graphs, batch_sampler=batches, generator=torch.Generator())


def load_in_order(graphs: Sequence[Standardised], batch_size: int) -> Iterator[Batch]:
    """Yield whole graphs in their order, some at a time, for evaluation."""
    data = [graph_data(graph, row) for row, graph in enumerate(graphs)]
    yield from DataLoader(data, batch_size=batch_size, generator=torch.Generator())
