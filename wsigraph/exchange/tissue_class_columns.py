"""Tissue classes in exported graphs: the pixels of each name in every region, beside the classes of annotations.

``wsigraph tissue`` stores the name of every superpixel. An export of the same directory counts the pixels of each name
in every superpixel or region, as the fractions in classes of the user's own annotations are counted, under
``tissue: NAME``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import StoreError
from wsigraph.graph.coarsening.contract import sum_by
from wsigraph.graph.tissue_class.node_classifier import RegionClasses
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store import Destination, digest
from wsigraph.store.tensors import read_tensors, save_tensors

NODES = "tissue_classes.safetensors"
"""File of the names of a slide's superpixels."""
PREFIX = "tissue: "
"""Start of a class's name in an export."""
_GRAPH, _RECORD = "graph.safetensors", "TissueClasses"


def save_tissue_classes(directory: Path, classes: RegionClasses, *, mark: str = "") -> Path:
    """Write the names and probabilities of a slide's superpixels beside their graph.

    Parameters
    ----------
    directory : Path
        The slide's directory.
    classes : RegionClasses
        Classes of its superpixels.
    mark : str
        Why the slide is no H&E section, where it was forced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    names, label = classes.labels()
    inputs = {"graph": digest(directory / _GRAPH)} if (directory / _GRAPH).is_file() else {}
    tensors: dict[str, NDArray[Any]] = {
        "label": label,
        "probability": classes.probability,
        "inside": classes.inside.astype(np.uint8),
    }
    fields: dict[str, Any] = {"names": list(names), "classes": list(classes.names)}
    if mark:
        fields["mark"] = mark
    save_tensors(Destination(directory / NODES, inputs), _RECORD, tensors, fields)
    return directory / NODES


def add_tissue_classes(graph: TissueGraph | CoarseGraph, directory: Path) -> TissueGraph | CoarseGraph:
    """Return a graph with the pixels of each tissue class among its classes.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        Superpixels or regions of the directory.
    directory : Path
        The slide's directory.

    Returns
    -------
    TissueGraph or CoarseGraph
        The same graph where ``wsigraph tissue`` has not been run.

    Raises
    ------
    StoreError
        If the classes are damaged, or of another graph.
    """
    path = directory / NODES
    if not path.is_file():
        return graph
    header, tensors, fields = read_tensors(path, _RECORD)
    if header["inputs"].get("graph") != digest(directory / _GRAPH):
        raise StoreError(f"{path} was made from another graph than the one beside it; run wsigraph tissue again")
    tissue = graph.graph if isinstance(graph, CoarseGraph) else graph
    assignment = graph.assignment if isinstance(graph, CoarseGraph) else np.arange(tissue.n_nodes)
    if isinstance(graph, CoarseGraph):
        from wsigraph.store import load_graph

        pixels = load_graph(directory / _GRAPH).moment("n")
    else:
        pixels = tissue.moment("n")
    counts = np.zeros((len(pixels), len(fields["names"])), np.int64)
    counts[np.arange(len(pixels)), tensors["label"]] = pixels
    own = sum_by(counts, assignment, tissue.n_nodes)
    before = np.zeros((tissue.n_nodes, 0), np.int64) if tissue.class_pixels is None else tissue.class_pixels
    names = (*tissue.class_names, *(f"{PREFIX}{name}" for name in fields["names"]))
    named = replace(tissue, class_names=names, class_pixels=np.concatenate([before, own], axis=1))
    return replace(graph, graph=named) if isinstance(graph, CoarseGraph) else named
