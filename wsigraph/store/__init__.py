"""Records to files and back, written whole or not at all, each with a header that says what it was made from.

``save(record, to)`` writes any record and ``load(TissueGraph, path)`` reads it. `save_graph`, `load_graph` and so on do
the same for one class. `to` is a path, or a `Destination` that also names inputs and configuration for the header.
`is_done` compares that header with what a step would use now. Zarr holds what is larger than memory, safetensors fixed
sets of arrays, JSON the small records. Nothing is pickled.
"""

from __future__ import annotations

from wsigraph.store.atomic import write_file
from wsigraph.store.codecs import (
    COARSE_GRAPH,
    CODECS,
    EXPLANATION,
    GRAPH,
    PREDICTION,
    SLIDE_INFO,
    TISSUE_MAP,
    Codec,
    load,
    save,
)
from wsigraph.store.completion import is_done, verify
from wsigraph.store.directory import SlideDirectory
from wsigraph.store.documents import read_document, save_document
from wsigraph.store.grids import CHUNK_PX, SHARD_PX
from wsigraph.store.header import SCHEMA_VERSION, Destination, canonical_document, canonical_json, digest, parse_json
from wsigraph.store.labels import LabelsWriter, create_labels, load_labels, save_labels

save_slide_info, load_slide_info = SLIDE_INFO.save, SLIDE_INFO.load
save_tissue_map, load_tissue_map = TISSUE_MAP.save, TISSUE_MAP.load
save_graph, load_graph = GRAPH.save, GRAPH.load
save_coarse_graph, load_coarse_graph = COARSE_GRAPH.save, COARSE_GRAPH.load
save_prediction, load_prediction = PREDICTION.save, PREDICTION.load
save_explanation, load_explanation = EXPLANATION.save, EXPLANATION.load

__all__ = [
    "CHUNK_PX",
    "CODECS",
    "SCHEMA_VERSION",
    "SHARD_PX",
    "Codec",
    "Destination",
    "LabelsWriter",
    "SlideDirectory",
    "canonical_document",
    "canonical_json",
    "create_labels",
    "digest",
    "is_done",
    "load",
    "load_coarse_graph",
    "load_explanation",
    "load_graph",
    "load_labels",
    "load_prediction",
    "load_slide_info",
    "load_tissue_map",
    "parse_json",
    "read_document",
    "save",
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
