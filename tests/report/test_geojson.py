"""GeoJSON that QuPath reads: shape of the file, coordinates, identifiers, measurements, size."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import pytest
import shapely

from tests.outline.drawn_regions import coarse_of, graph_of, label_grid_of, shapes
from tests.outline.test_outline import blobs
from wsigraph.errors import ConfigError, RecordError
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.outline.outline import trace_outlines
from wsigraph.records import CoarseGraph
from wsigraph.report.geojson import encode_geojson, measurement_name, region_ids
from wsigraph.report.palette import PALETTE

CELLS = blobs(2)
GRAPH = graph_of(CELLS)
OUTLINES = trace_outlines(label_grid_of(CELLS, cell_px=4), GRAPH, tolerance_um=4.0)
CHOSEN = ("white_fraction", "lightness_mean", "circularity")


def encode(**changes: Any) -> tuple[bytes, tuple[str, ...]]:
    options: dict[str, Any] = {
        "slide_sha256": "1" * 64,
        "measurements": CHOSEN,
        "provenance": {"notice": "no medical meaning", "is_synthetic": True},
        "max_bytes": 10**9,
    }
    return encode_geojson(OUTLINES, coarse_of(GRAPH), interpret(GRAPH), **(options | changes))


def test_the_collection_has_the_shape_qupath_reads() -> None:
    content, left_out = encode()
    collection = json.loads(content)
    assert left_out == ()
    # RFC 7946, section 7.1: a collection has no member of this name
    assert "properties" not in collection
    assert collection["type"] == "FeatureCollection"
    assert collection["wsigraph"]["notice"] == "no medical meaning"
    assert collection["wsigraph"]["is_synthetic"] is True
    assert len(collection["features"]) == GRAPH.n_nodes
    for node, feature in enumerate(collection["features"]):
        properties = feature["properties"]
        assert (feature["type"], properties["objectType"], properties["name"]) == (
            "Feature",
            "detection",
            f"Region {node}",
        )
        assert tuple(properties["color"]) in PALETTE
        assert properties["classification"].keys() == {"name", "color"}
        assert all(isinstance(value, int | float) for value in properties["measurements"].values())


def test_an_offset_moves_every_point() -> None:
    inside, outside = (json.loads(encode(**given)[0])["features"] for given in ({}, {"offset_px": (2500, 4002)}))
    for one, other in zip(inside, outside, strict=True):
        ring, moved = (np.array(_rings(each)[0]) for each in (one, other))
        np.testing.assert_array_equal(moved - ring, np.broadcast_to([2500, 4002], ring.shape))


def _rings(feature: dict[str, Any]) -> Any:
    geometry = feature["geometry"]
    return geometry["coordinates"] if geometry["type"] == "Polygon" else geometry["coordinates"][0]


def test_polygons_are_closed_and_those_of_the_outlines() -> None:
    for feature, region in zip(json.loads(encode()[0])["features"], shapes(OUTLINES), strict=True):
        geometry = feature["geometry"]
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        assert (geometry["type"] == "MultiPolygon") == (len(polygons) > 1)
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for polygon in polygons for ring in polygon)
        assert shapely.geometry.shape(geometry).equals(region)


def test_tenths_of_a_pixel_survive_the_text() -> None:
    lattice = label_grid_of(CELLS, cell_px=3)
    object.__setattr__(lattice, "subpixels", 10)
    outlines = trace_outlines(lattice, GRAPH, tolerance_um=0.2)
    content, _ = encode_geojson(
        outlines,
        coarse_of(GRAPH),
        interpret(GRAPH),
        slide_sha256="1" * 64,
        measurements=(),
        provenance={},
        max_bytes=10**9,
    )
    for feature, region in zip(json.loads(content)["features"], shapes(outlines), strict=True):
        assert shapely.geometry.shape(feature["geometry"]).equals(region)
    assert max(len(str(number)) for number in outlines.points.reshape(-1)) <= 5


def test_measurements_carry_units_and_values() -> None:
    features = interpret(GRAPH)
    measured = json.loads(encode()[0])["features"][3]["properties"]["measurements"]
    assert measured["Area µm^2"] == GRAPH.moment("n")[3]
    assert measured["Number of superpixels"] == 1
    assert measured["Number of nuclei"] == 3
    column = features.names.index("circularity")
    assert measured["Shape: circularity"] == pytest.approx(features.values[3, column], rel=1e-4)
    assert len(measured) == 3 + len(CHOSEN)
    assert measurement_name("perimeter_um", "um", "shape") == "Shape: perimeter µm"
    assert measurement_name("nuclear_density", "1/1000um2", "nuclei") == "Nuclei: nuclear density per 1000 µm^2"


def test_every_feature_has_a_name_of_its_own() -> None:
    features = interpret(GRAPH)
    names = {measurement_name(*row) for row in zip(features.names, features.units, features.groups, strict=True)}
    assert len(names) == len(FEATURE_NAMES)


def test_identifiers_are_stable_and_belong_to_slide_graph_and_node() -> None:
    coarse = coarse_of(GRAPH)
    ids = region_ids(coarse, "1" * 64)
    assert ids == region_ids(coarse, "1" * 64)
    assert {uuid.UUID(text).version for text in ids} == {5}
    other_slide = region_ids(coarse, "2" * 64)
    merged = CoarseGraph(graph=GRAPH, assignment=np.append(coarse.assignment, 0), embedding_id="f" * 16)
    other_graph = region_ids(merged, "1" * 64)
    assert len({*ids, *other_slide, *other_graph}) == 3 * GRAPH.n_nodes


def test_equal_input_gives_equal_bytes() -> None:
    assert encode()[0] == encode()[0]
    assert encode()[0].endswith(b"}\n")


def test_a_file_too_large_leaves_out_the_last_measurements_first() -> None:
    whole, _ = encode()
    content, left_out = encode(max_bytes=len(whole) - 1)
    assert left_out == CHOSEN[2:]
    assert len(content) < len(whole)
    assert json.loads(content)["wsigraph"]["measurements_left_out"] == list(left_out)
    assert "Shape: circularity" not in json.loads(content)["features"][0]["properties"]["measurements"]
    least, left_out = encode(max_bytes=1)
    assert left_out == CHOSEN
    assert len(json.loads(least)["features"]) == GRAPH.n_nodes


def test_a_misspelt_measurement_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'circularty', which is not a feature; did you mean 'circularity'"):
        encode(measurements=("circularty",))


def test_outlines_of_another_graph_are_refused() -> None:
    with pytest.raises(RecordError, match="expected the same number of each"):
        encode_geojson(
            OUTLINES,
            coarse_of(graph_of(np.array([[1, 2]]))),
            interpret(GRAPH),
            slide_sha256="1",
            measurements=(),
            provenance={},
            max_bytes=10**9,
        )
