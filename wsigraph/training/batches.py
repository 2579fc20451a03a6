"""How graphs are dealt into batches, and regions left out of them, in training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wsigraph.model.inputs import Standardised


def draw_regions(n_regions: int, fraction: float, *, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which regions stay, bool (n_regions,), each left out with probability `fraction`; one always stays."""
    draw = rng.random(n_regions)
    kept: NDArray[np.bool_] = draw >= fraction
    kept[np.argmax(draw)] = True
    return kept


def keep_regions(graph: Standardised, kept: NDArray[np.bool_]) -> Standardised:
    """Return a graph of some of its regions, in their old order with their old areas, and the edges among them."""
    number = np.cumsum(kept) - 1
    edges = kept[graph.edge_index].all(axis=0)
    return replace(
        graph,
        features=graph.features[kept],
        area=graph.area[kept],
        edge_index=number[graph.edge_index[:, edges]],
        edge_attribute=graph.edge_attribute[edges],
    )


def deal_batches(event: NDArray[np.bool_], batch_graphs: int, *, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return rows in random batches of nearly one size, each with an event where there is one at all.

    Parameters
    ----------
    event : bool (n,)
        Which rows have an event.
    batch_graphs : int
        Most rows a batch; more where events would not suffice.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    list of int64 array
        Every row once.
    """
    events, others = (rng.permutation(np.flatnonzero(mask)) for mask in (event, ~event))
    n_batches = math.ceil(len(event) / batch_graphs)
    if len(events):
        n_batches = min(n_batches, len(events))
    # dealt like cards: the events go round first
    dealt = np.concatenate([events, others])
    return [dealt[start::n_batches] for start in rng.permutation(n_batches)]
