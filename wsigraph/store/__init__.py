"""Records to files and back, written whole or not at all, each with a header that tells what it was made from.

Every record has ``save_<record>(record, to)`` and ``load_<record>(path)``. `to` is a path, or a `Destination` that
also names inputs and configuration for the header; `is_done` compares that header with what a stage would use now.
Zarr holds what is larger than memory, safetensors fixed bundles of arrays, JSON the small records; nothing is pickled.
"""

from __future__ import annotations

from wsigraph.store.atomic import write_file
from wsigraph.store.completion import is_done, verify
from wsigraph.store.directory import SlideDirectory
from wsigraph.store.documents import (
    load_prediction,
    load_slide_info,
    read_document,
    save_document,
    save_prediction,
    save_slide_info,
)
from wsigraph.store.explanations import load_explanation, save_explanation
from wsigraph.store.grids import (
    CHUNK_PX,
    SHARD_PX,
    LabelsWriter,
    create_labels,
    load_labels,
    load_tissue_map,
    save_labels,
    save_tissue_map,
)
from wsigraph.store.header import SCHEMA_VERSION, Destination, canonical_document, canonical_json, digest, parse_json
from wsigraph.store.tensors import load_coarse_graph, load_graph, save_coarse_graph, save_graph

__all__ = [
    "CHUNK_PX",
    "SCHEMA_VERSION",
    "SHARD_PX",
    "Destination",
    "LabelsWriter",
    "SlideDirectory",
    "canonical_document",
    "canonical_json",
    "create_labels",
    "digest",
    "is_done",
    "load_coarse_graph",
    "load_explanation",
    "load_graph",
    "load_labels",
    "load_prediction",
    "load_slide_info",
    "load_tissue_map",
    "parse_json",
    "read_document",
    "save_coarse_graph",
    "save_document",
    "save_explanation",
    "save_graph",
    "save_labels",
    "save_prediction",
    "save_slide_info",
    "save_tissue_map",
    "verify",
    "write_file",
]
