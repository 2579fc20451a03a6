"""One graph as torch_geometric data, in the units that a reader knows: nothing is scaled or fitted here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch_geometric.data import Data

from wsigraph.graph.feature.interpret import stained_names
from wsigraph.model.columns import ALL_COLUMNS, NodeColumns, column_names
from wsigraph.model.inputs import EDGE_ATTRIBUTES, graph_input
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store import load_coarse_graph, load_graph
from wsigraph.store.tensors import read_fields

Inputs = Literal["auto", "features", "encoding", "both"]
"""Columns of ``x``: interpretable features, an encoder's, both, or what the graph has."""


def to_data(
    graph: TissueGraph | CoarseGraph | Path | str,
    *,
    inputs: Inputs = "auto",
    encoding_dimensions: int | None = None,
    y: torch.Tensor | None = None,
) -> Data:
    """Return a graph as torch_geometric data.

    Parameters
    ----------
    graph : TissueGraph, CoarseGraph, Path or str
        Superpixels or regions, or their file, ``graph.safetensors`` or ``coarse.safetensors``.
    inputs : str
        Columns of ``x``: ``features``, ``encoding``, ``both``, or ``auto`` for all that the graph has.
    encoding_dimensions : int, optional
        Project an encoder's features to this many columns, as the package's own networks do; all of them by default.
    y : Tensor, optional
        Label of the graph.

    Returns
    -------
    torch_geometric.data.Data
        ``x`` float32 (N, F) in the units of the features, with ``x_names``; ``edge_index`` int64 (2, E), both
        directions; ``edge_attr`` float32 (E, 3), with ``edge_attr_names``; ``pos`` float32 (N, 2), centroids (x, y) in
        um; ``area`` float32 (N,), um2; ``slide_id``; and ``y``, where given.

    Raises
    ------
    ModelError
        If the graph lacks the encoder's features, or a feature is not finite.
    StoreError
        If the file is missing or damaged.
    """
    record = graph if isinstance(graph, TissueGraph | CoarseGraph) else read_graph(graph)
    tissue = record.graph if isinstance(record, CoarseGraph) else record
    columns = NodeColumns(inputs=inputs, encoding_dimensions=encoding_dimensions or ALL_COLUMNS).chosen_for(tissue)
    raw = graph_input(record, columns)
    names = column_names(columns, raw.features.shape[1])
    if columns.needs_features:
        own = stained_names(tissue.stain)
        names = (*own, *names[len(own) :])
    data = Data(
        x=torch.from_numpy(raw.features.astype(np.float32)),
        edge_index=torch.from_numpy(raw.edge_index),
        edge_attr=torch.from_numpy(raw.edge_attribute.astype(np.float32)),
        pos=torch.from_numpy(tissue.centroid_um.astype(np.float32)),
        area=torch.from_numpy(raw.area_um2.astype(np.float32)),
        x_names=names,
        edge_attr_names=EDGE_ATTRIBUTES,
        slide_id=tissue.slide_id,
    )
    if y is not None:
        data.y = y
    return data


def read_graph(path: Path | str) -> TissueGraph | CoarseGraph:
    """Return the graph of a file: of regions where it holds their coarsening, else of superpixels.

    Raises
    ------
    StoreError
        If the file is missing or damaged.
    """
    file = Path(path)
    return load_coarse_graph(file) if "embedding_id" in read_fields(file) else load_graph(file)
