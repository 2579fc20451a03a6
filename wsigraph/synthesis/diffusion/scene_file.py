"""Files that hold the graph to paint: JSON that people can write, samples, and graphs of slides.

``graph.json`` lists nodes and edges in micrometres. A node needs a centre and an area; class and optical density are
optional. Without a list of edges, the edges are those of the mask drawn from the nodes. The ``.zarr`` of a sample holds
its graph with the label image; ``graph.safetensors`` and ``coarse.safetensors`` hold the graph of a real slide.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import StoreError, SynthesisError
from wsigraph.store import load_coarse_graph, load_graph
from wsigraph.store.header import canonical_document, parse_json
from wsigraph.store.tensors import read_tensors
from wsigraph.synthesis.diffusion.sample_file import read_sample
from wsigraph.synthesis.diffusion.scene import (
    UNKNOWN,
    Scene,
    check_scene,
    ordered,
    rasterise,
    scene_from_graph,
    scene_from_labels,
)
from wsigraph.synthesis.simulation.layout import TISSUES

MAX_SIDE_UM = 200_000.0
"""Largest side of a canvas in a file."""
_EXAMPLE = '{"size_um": [128, 128], "nodes": [{"class": "tumour", "x_um": 40, "y_um": 60, "area_um2": 2500}]}'


def scene_document(scene: Scene) -> bytes:
    """Return the content of ``graph.json``; equal graphs give equal bytes."""
    nodes = [
        {
            "node": node,
            "class": None if scene.classes[node] == UNKNOWN else TISSUES[scene.classes[node]],
            "x_um": float(scene.position_um[node, 0]),
            "y_um": float(scene.position_um[node, 1]),
            "area_um2": float(scene.area_um2[node]),
            "shape": scene.shape[node].tolist(),
            "optical_density": [None if np.isnan(value) else float(value) for value in scene.density[node]],
        }
        for node in range(scene.n_nodes)
    ]
    edges = [
        {"source": int(source), "target": int(target), "boundary_um": float(length)}
        for (source, target), length in zip(scene.edge_index.T, scene.boundary_um, strict=True)
        if source < target
    ]
    marked = {"mark": scene.mark} if scene.mark else {}
    return canonical_document({**marked, "size_um": list(scene.size_um), "nodes": nodes, "edges": edges})


def read_scene(path: Path, *, mpp: float) -> Scene:
    """Return the graph in a file.

    Parameters
    ----------
    path : Path
        ``graph.json``, ``graph.safetensors``, ``coarse.safetensors``, or a sample's ``.zarr``.
    mpp : float
        Pixel size of the canvas that it is painted on, um/px.

    Returns
    -------
    Scene
        Checked, except for the number of nodes.

    Raises
    ------
    SynthesisError
        If the graph is empty, a class is unknown, a centre lies off the canvas, or the file holds something else.
    StoreError
        If the file is missing or damaged.
    """
    if path.suffix == ".zarr":
        scene = read_sample(path)
    elif path.suffix == ".safetensors":
        scene = scene_from_graph(_load(path), mpp=mpp)
    else:
        scene = parse_scene(_text(path), path.name, mpp=mpp)
    check_scene(scene)
    return scene


def parse_scene(content: bytes, name: str, *, mpp: float) -> Scene:
    """Return the graph of a JSON document.

    Parameters
    ----------
    content : bytes
        As `scene_document`.
    name : str
        Name of the file in messages.
    mpp : float
        Pixel size at which missing edges are measured, um/px.

    Returns
    -------
    Scene
        Checked, except for the number of nodes.

    Raises
    ------
    SynthesisError
        If it is no such document, or its graph cannot be painted.
    """
    try:
        document = parse_json(content)
    except ValueError as error:
        raise SynthesisError(f"{name} is not JSON ({error}); expected e.g. {_EXAMPLE}") from None
    try:
        height, width = (float(side) for side in document["size_um"])
        nodes = list(document["nodes"])
        classes = np.array([_class(index, node.get("class")) for index, node in enumerate(nodes)], np.int64)
        scene = Scene(
            size_um=(height, width),
            classes=classes,
            position_um=_array([(node["x_um"], node["y_um"]) for node in nodes], 2),
            area_um2=_array([(node["area_um2"],) for node in nodes], 1)[:, 0],
            shape=_array([node.get("shape") or (0.0, 0.0) for node in nodes], 2),
            density=_array([_density(node) for node in nodes], 6),
            edge_index=np.zeros((2, 0), np.int64),
            boundary_um=np.zeros(0),
            mark=str(document.get("mark", "")),
        )
        edges = document.get("edges")
        pairs = (
            None if edges is None else [(int(e["source"]), int(e["target"]), float(e["boundary_um"])) for e in edges]
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        fault = f"{type(error).__name__} {error}" if not isinstance(error, KeyError) else f"{error} is missing"
        raise SynthesisError(f"{name} is no graph to paint: {fault}; expected e.g. {_EXAMPLE}") from None
    if not (min(height, width) > 0 and max(height, width) <= MAX_SIDE_UM):
        raise SynthesisError(
            f"{name} asks for {width:g} x {height:g} um, expected sides over 0 up to {MAX_SIDE_UM:g} um"
        )
    check_scene(scene)
    return _with_edges(scene, pairs, name, mpp)


def _with_edges(scene: Scene, pairs: list[tuple[int, int, float]] | None, name: str, mpp: float) -> Scene:
    if pairs is None:
        drawn = rasterise(scene, mpp=mpp)
        assert drawn.labels is not None  # noqa: S101 - rasterise draws them
        # measuring renumbers the nodes; each node's own number passes through as its class
        measured = scene_from_labels(drawn.labels, np.arange(scene.n_nodes), mpp=mpp)
        source, target = measured.classes[measured.edge_index]
        return ordered(
            dataclasses.replace(scene, edge_index=np.stack([source, target]), boundary_um=measured.boundary_um)
        )
    source, target = (np.array([pair[end] for pair in pairs], np.int64) for end in (0, 1))
    invalid = (np.minimum(source, target) < 0) | (np.maximum(source, target) >= scene.n_nodes) | (source == target)
    if invalid.any():
        first = int(np.flatnonzero(invalid)[0])
        raise SynthesisError(
            f"{name} joins nodes {source[first]} and {target[first]}, expected two of 0 to {scene.n_nodes - 1}"
        )
    length = np.array([pair[2] for pair in pairs])
    return ordered(
        dataclasses.replace(
            scene,
            edge_index=np.concatenate([[source, target], [target, source]], axis=1),
            boundary_um=np.concatenate([length, length]),
        )
    )


def _class(node: int, name: Any) -> int:
    if name is None:
        return UNKNOWN
    if name not in TISSUES:
        raise SynthesisError(f"node {node} is of class {name!r}, expected one of {', '.join(TISSUES)}, or null")
    return TISSUES.index(name)


def _density(node: dict[str, Any]) -> list[float]:
    values = node.get("optical_density") or [None] * 6
    return [float("nan") if value is None else float(value) for value in values]


def _array(rows: list[Any], width: int) -> NDArray[np.float64]:
    return np.array(rows, np.float64).reshape(len(rows), width)


def _load(path: Path) -> Any:
    header, _, _ = read_tensors(path)
    return load_coarse_graph(path).graph if header["record"] == "CoarseGraph" else load_graph(path)


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} does not read: {error.strerror or error}; name a file with a graph") from None
