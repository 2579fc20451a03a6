"""A graph as two parquet tables, ``nodes.parquet`` and ``edges.parquet``, for data frames of any language."""

from __future__ import annotations

import io
import json
from pathlib import Path

from wsigraph.exchange.optional import load_package
from wsigraph.exchange.tables import IN_BOUNDS, Columns, Placement, edge_columns, node_columns, provenance
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store import write_file

NODES, EDGES = "nodes.parquet", "edges.parquet"
"""File names inside the directory."""


def write_parquet(
    graph: TissueGraph | CoarseGraph, directory: Path, *, placement: Placement = IN_BOUNDS
) -> tuple[Path, Path]:
    """Write a graph's nodes and edges as parquet.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    directory : Path
        Where the two files go; made where missing, other files in it stay.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    tuple of Path
        The table of nodes and that of edges (columns: ``wsigraph.exchange.tables``); each carries the provenance as
        JSON in its schema's metadata under ``wsigraph``.

    Raises
    ------
    PluginError
        If pyarrow is not installed.
    StoreError
        If a file cannot be written.
    """
    text = json.dumps(provenance(graph, placement), sort_keys=True)
    paths = directory / NODES, directory / EDGES
    for path, columns in zip(paths, (node_columns(graph, placement), edge_columns(graph)), strict=True):
        write_file(path, _encode(columns, text))
    return paths


def _encode(columns: Columns, text: str) -> bytes:
    arrow = load_package("pyarrow", "writing parquet")
    parquet = load_package("pyarrow.parquet", "writing parquet")
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(columns).replace_schema_metadata({"wsigraph": text}), buffer)
    return buffer.getvalue()
