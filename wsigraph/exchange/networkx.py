"""A graph as networkx, and as GraphML or node-link JSON, which graph tools such as Gephi and Cytoscape read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from wsigraph.errors import StoreError
from wsigraph.exchange.optional import load_package
from wsigraph.exchange.tables import IN_BOUNDS, Columns, Placement, edge_columns, node_columns, provenance
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store import write_file

SUFFIXES = (".graphml", ".json")
"""Formats by the file's suffix."""


def to_networkx(graph: TissueGraph | CoarseGraph, *, placement: Placement = IN_BOUNDS) -> Any:
    """Return a graph as networkx.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    networkx.Graph
        Undirected; nodes 0..N-1 and edges with the columns of ``wsigraph.exchange.tables`` as attributes (Python
        numbers); the provenance in ``graph["wsigraph"]`` as JSON.

    Raises
    ------
    PluginError
        If networkx is not installed.
    """
    networkx = load_package("networkx", "exporting to networkx")
    made = networkx.Graph(wsigraph=json.dumps(provenance(graph, placement), sort_keys=True))
    made.add_nodes_from((row.pop("node"), row) for row in _rows(node_columns(graph, placement)))
    made.add_edges_from((row.pop("source"), row.pop("target"), row) for row in _rows(edge_columns(graph)))
    return made


def write_networkx(graph: TissueGraph | CoarseGraph, path: Path, *, placement: Placement = IN_BOUNDS) -> Path:
    """Write a graph as GraphML (``.graphml``) or node-link JSON (``.json``).

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    path : Path
        File to write.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PluginError
        If networkx is not installed.
    StoreError
        If the suffix is another or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise StoreError(f"cannot tell a graph format from {path.name!r}; name it .graphml or .json (node-link)")
    networkx = load_package("networkx", "exporting to networkx")
    made = to_networkx(graph, placement=placement)
    if path.suffix.lower() == ".json":
        content = (json.dumps(networkx.node_link_data(made, edges="edges"), allow_nan=False) + "\n").encode()
    else:
        buffer = io.BytesIO()
        networkx.write_graphml(made, buffer)
        content = buffer.getvalue()
    write_file(path, content)
    return path


def _rows(columns: Columns) -> list[dict[str, Any]]:
    names = list(columns)
    return [dict(zip(names, row, strict=True)) for row in zip(*(columns[name].tolist() for name in names), strict=True)]
