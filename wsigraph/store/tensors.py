"""Graphs as safetensors files: arrays, and one metadata key that holds header and scalar fields.

No pickle is involved. The content digest covers names, types, shapes and bytes of all arrays and the scalar fields,
so that a damaged file is told from a whole one before anything trusts it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from wsigraph.geometry import Size
from wsigraph.records import CoarseGraph, StainBasis, TissueGraph
from wsigraph.store.atomic import write_file
from wsigraph.store.header import (
    KEY,
    Destination,
    canonical_json,
    check_content,
    check_header,
    parse_json,
    reading,
)

Tensors = Mapping[str, NDArray[Any]]


def save_tensors(to: Destination, record: str, tensors: Tensors, fields: Mapping[str, Any]) -> None:
    """Write arrays and scalar fields as one safetensors file.

    Parameters
    ----------
    to : Destination
        File, inputs and configuration.
    record : str
        Name of the record's class.
    tensors : mapping of str to array
        Arrays of any shape.
    fields : mapping of str to JSON value
        Scalars and texts.

    Raises
    ------
    StoreError
        If a field is no JSON value or the file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    header = to.header(record, _content(arrays, fields))
    text = canonical_json({"header": header, "fields": dict(fields)})
    write_file(to.path, save(arrays, metadata={KEY: text}))


def read_tensors(
    path: Path, record: str | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]], dict[str, Any]]:
    """Read the header, arrays and scalar fields of one safetensors file.

    Parameters
    ----------
    path : Path
        File written by `save_tensors`.
    record : str, optional
        Name of the record's class that is expected.

    Returns
    -------
    tuple of dict, dict, dict
        Header, arrays by name, and fields.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    with reading(path, record), safe_open(path, framework="np") as file:
        stored = parse_json((file.metadata() or {}).get(KEY, "{}"))
        header = check_header(stored.get("header"), record, path)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping, has keys() alone
        check_content(header, _content(tensors, stored["fields"]), path)
        return header, tensors, stored["fields"]


def save_graph(graph: TissueGraph, to: Destination | Path | str) -> None:
    """Write a tissue graph.

    Parameters
    ----------
    graph : TissueGraph
        The graph; ``centroid_um`` float64 (N, 2) is stored beside its fields, for readers without this library.
    to : Destination, Path or str
        ``graph.safetensors``.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tensors, fields = _graph_parts(graph)
    save_tensors(Destination.of(to), "TissueGraph", tensors, fields)


def load_graph(path: Path | str) -> TissueGraph:
    """Read a tissue graph.

    Parameters
    ----------
    path : Path or str
        ``graph.safetensors``.

    Returns
    -------
    TissueGraph
        Equal to what was written.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    _, tensors, fields = read_tensors(path, "TissueGraph")
    with reading(path, "TissueGraph"):
        return _graph(tensors, fields)


def save_coarse_graph(coarse: CoarseGraph, to: Destination | Path | str) -> None:
    """Write a coarse graph with the coarse node of every fine node.

    Parameters
    ----------
    coarse : CoarseGraph
        The graph.
    to : Destination, Path or str
        ``coarse.safetensors``.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tensors, fields = _graph_parts(coarse.graph)
    tensors["assignment"] = coarse.assignment
    fields["embedding_id"] = coarse.embedding_id
    save_tensors(Destination.of(to), "CoarseGraph", tensors, fields)


def load_coarse_graph(path: Path | str) -> CoarseGraph:
    """Read a coarse graph.

    Parameters
    ----------
    path : Path or str
        ``coarse.safetensors``.

    Returns
    -------
    CoarseGraph
        Equal to what was written.

    Raises
    ------
    StoreError
        If the file is missing, damaged, of another schema or holds another record.
    """
    path = Path(path)
    _, tensors, fields = read_tensors(path, "CoarseGraph")
    with reading(path, "CoarseGraph"):
        return CoarseGraph(
            graph=_graph(tensors, fields), assignment=tensors["assignment"], embedding_id=fields["embedding_id"]
        )


def _graph_parts(graph: TissueGraph) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    tensors: dict[str, NDArray[Any]] = {
        "moments": graph.moments,
        "edge_index": graph.edge_index,
        "boundary": graph.boundary,
        "centroid_um": graph.centroid_um,
        "stain_vectors": graph.stain.vectors,
        "stain_max_concentration": graph.stain.max_concentration,
    }
    if graph.encoding_sum is not None:
        tensors["encoding_sum"] = graph.encoding_sum
    fields = {
        "slide_id": graph.slide_id,
        "mpp": float(graph.mpp),
        "size": [graph.size.height, graph.size.width],
        "moment_names": list(graph.moment_names),
        "encoder": graph.encoder,
        "nucleus_threshold": float(graph.stain.nucleus_threshold),
        "stain_source": graph.stain.source,
    }
    return tensors, fields


def _graph(tensors: Tensors, fields: Mapping[str, Any]) -> TissueGraph:
    return TissueGraph(
        slide_id=fields["slide_id"],
        mpp=fields["mpp"],
        size=Size(*fields["size"]),
        moments=tensors["moments"],
        moment_names=tuple(fields["moment_names"]),
        edge_index=tensors["edge_index"],
        boundary=tensors["boundary"],
        stain=StainBasis(
            vectors=tensors["stain_vectors"],
            max_concentration=tensors["stain_max_concentration"],
            nucleus_threshold=fields["nucleus_threshold"],
            source=fields["stain_source"],
        ),
        encoding_sum=tensors.get("encoding_sum"),
        encoder=fields["encoder"],
    )


def _content(tensors: Tensors, fields: Mapping[str, Any]) -> str:
    total = hashlib.sha256(canonical_json(dict(fields)).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        total.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.data)
    return total.hexdigest()
