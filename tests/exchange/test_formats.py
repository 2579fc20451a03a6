"""Graphs written for other tools, and read back by those tools."""

from __future__ import annotations

import json
import sqlite3
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from wsigraph.errors import MissingMpp, PluginError, RecordError, StoreError
from wsigraph.exchange.anndata import to_anndata, write_anndata
from wsigraph.exchange.annotation_store import write_annotation_store
from wsigraph.exchange.geojson_points import encode_points, write_points
from wsigraph.exchange.networkx import to_networkx, write_networkx
from wsigraph.exchange.parquet import write_parquet
from wsigraph.exchange.tables import Placement, edge_columns, node_columns, provenance
from wsigraph.exchange.tile_graph import GEOMETRY_NAMES
from wsigraph.geometry import crofton_um
from wsigraph.graph.feature.interpret import FEATURE_NAMES, FEATURE_UNITS, interpret
from wsigraph.graph.feature.moments import COLUMN
from wsigraph.records import CoarseGraph, TissueGraph


@pytest.fixture
def bare(graph: TissueGraph) -> TissueGraph:
    """Return the graph with the moments of geometry alone."""
    return TissueGraph(
        slide_id=graph.slide_id,
        mpp=graph.mpp,
        size=graph.size,
        moments=graph.moments[:, [COLUMN[name] for name in GEOMETRY_NAMES]],
        moment_names=GEOMETRY_NAMES,
        edge_index=graph.edge_index,
        boundary=graph.boundary,
        stain=graph.stain,
    )


def test_tables_hold_every_region_and_every_boundary_once(graph: TissueGraph, coarse: CoarseGraph) -> None:
    nodes, edges = node_columns(coarse), edge_columns(coarse)
    assert list(nodes) == ["node", "x_um", "y_um", "area_um2", "n_superpixels", *FEATURE_NAMES]
    assert nodes["x_um"].tolist() == [10.0, 30.0, 50.0, 70.0]
    assert nodes["area_um2"].tolist() == [400.0] * 4
    assert (edges["source"].tolist(), edges["target"].tolist()) == ([0, 1], [1, 2])
    assert edges["distance_um"].tolist() == [20.0, 20.0]
    assert edges["boundary_um"][0] == crofton_um(10, 18, 2.0)
    assert "n_superpixels" not in node_columns(graph)


def test_a_graph_without_pixels_yields_no_feature(bare: TissueGraph) -> None:
    assert list(node_columns(bare)) == ["node", "x_um", "y_um", "area_um2"]
    assert provenance(bare)["feature_schema"] is None
    assert to_anndata(bare).shape == (4, 0)


def test_anndata_comes_back_whole(coarse: CoarseGraph, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    path = write_anndata(coarse, tmp_path / "new" / "graph.h5ad")
    table = anndata.read_h5ad(path)
    np.testing.assert_array_equal(table.X, interpret(coarse.graph).values)
    assert tuple(table.var_names) == FEATURE_NAMES
    assert tuple(table.var["unit"]) == FEATURE_UNITS
    np.testing.assert_array_equal(table.obsm["spatial"], coarse.graph.centroid_um)
    np.testing.assert_array_equal(table.obsm["moments"], coarse.graph.moments)
    np.testing.assert_array_equal(table.obsm["encoding"], [[0, 1], [2, 3], [4, 5], [6, 7]])
    boundary = table.obsp["boundary_um"].toarray()
    np.testing.assert_array_equal(boundary, boundary.T)
    assert boundary[0, 1] == crofton_um(10, 18, 2.0)
    assert table.obsp["spatial_connectivities"].nnz == 4
    assert table.obsp["spatial_distances"].toarray()[1, 2] == 20.0
    assert table.uns["spatial_neighbors"]["connectivities_key"] == "spatial_connectivities"
    assert json.loads(table.uns["wsigraph"]) == provenance(coarse)
    np.testing.assert_array_equal(table.uns["assignment"], coarse.assignment)
    assert [file.name for file in path.parent.iterdir()] == ["graph.h5ad"]


def test_parquet_comes_back_whole(graph: TissueGraph, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "own.txt").write_text("stays")
    nodes, edges = (parquet.read_table(path) for path in write_parquet(graph, tmp_path))
    for table, columns in ((nodes, node_columns(graph)), (edges, edge_columns(graph))):
        assert table.column_names == list(columns)
        for name, values in columns.items():
            np.testing.assert_array_equal(table[name].to_numpy(), values)
        assert json.loads(table.schema.metadata[b"wsigraph"]) == provenance(graph)
    assert (tmp_path / "own.txt").read_text() == "stays"


@pytest.mark.parametrize("suffix", [".graphml", ".json"])
def test_networkx_comes_back_whole(graph: TissueGraph, tmp_path: Path, suffix: str) -> None:
    networkx = pytest.importorskip("networkx")
    made = to_networkx(graph)
    path = write_networkx(graph, tmp_path / f"graph{suffix}")
    if suffix == ".json":
        again = networkx.node_link_graph(json.loads(path.read_text()), edges="edges")
    else:
        again = networkx.read_graphml(path, node_type=int)
    assert dict(again.nodes(data=True)) == dict(made.nodes(data=True))
    assert {frozenset(pair[:2]): pair[2] for pair in again.edges(data=True)} == {
        frozenset(pair[:2]): pair[2] for pair in made.edges(data=True)
    }
    assert sorted(map(sorted, networkx.connected_components(again))) == [[0, 1, 2], [3]]
    assert json.loads(again.graph["wsigraph"])["slide_id"] == "drawn"


def test_another_suffix_is_refused(graph: TissueGraph, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"name it \.graphml or \.json"):
        write_networkx(graph, tmp_path / "graph.gexf")


def test_points_lie_in_level_0_pixels(coarse: CoarseGraph, tmp_path: Path) -> None:
    path = write_points(coarse, tmp_path / "points.geojson", 0.25)
    collection = json.loads(path.read_text())
    points = [feature["geometry"]["coordinates"] for feature in collection["features"]]
    assert points == [[40.0, 40.0], [120.0, 40.0], [200.0, 40.0], [280.0, 40.0]]
    measured = collection["features"][3]["properties"]["measurements"]
    assert (measured["area_um2"], measured["n_superpixels"]) == (400.0, 1.0)
    assert set(FEATURE_NAMES) <= set(measured)
    assert collection["wsigraph"]["record"] == "CoarseGraph"
    assert encode_points(coarse, 0.25) == path.read_bytes()
    with pytest.raises(MissingMpp, match="--mpp"):
        encode_points(coarse, 0.0)


def test_a_directory_that_cannot_be_written_is_named(graph: TissueGraph, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match="cannot write"):
        write_anndata(graph, blocked / "graph.h5ad")
    with pytest.raises(StoreError, match="cannot write"):
        write_parquet(graph, blocked)


@pytest.mark.usefixtures("tiatoolbox")
def test_an_annotation_store_holds_every_region(coarse: CoarseGraph, tmp_path: Path) -> None:
    from tiatoolbox.annotation import storage

    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        pytest.skip("this Python's sqlite3 loads no extensions")
    path = write_annotation_store(encode_points(coarse, 0.25), tmp_path / "regions.db")
    annotations = list(storage.SQLiteStore(path).values())
    assert sorted((found.geometry.x, found.geometry.y) for found in annotations) == [
        (40.0, 40.0), (120.0, 40.0), (200.0, 40.0), (280.0, 40.0)
    ]  # fmt: skip
    assert all(found.properties["type"] == "Tissue region" for found in annotations)
    assert all(found.properties["area_um2"] == 400.0 for found in annotations)


@pytest.mark.skipif(find_spec("tiatoolbox") is not None, reason="tiatoolbox is installed")
def test_without_tiatoolbox_the_extra_is_named(coarse: CoarseGraph, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"wsigraph\[tiatoolbox\]"):
        write_annotation_store(encode_points(coarse, 0.25), tmp_path / "regions.db")
    assert not (tmp_path / "regions.db").exists()


def test_exports_state_and_move_their_origin(graph: TissueGraph, tmp_path: Path) -> None:
    """Coordinates count from the scanned area, or from the plane where that is wanted."""
    plane = Placement(coordinates="plane", bounds_on_plane_px=(2500, 4002), level0_mpp=0.5)
    table = to_anndata(graph, placement=plane)
    np.testing.assert_allclose(table.obsm["spatial"] - to_anndata(graph).obsm["spatial"], [[1250.0, 2001.0]] * 4)
    assert json.loads(table.uns["wsigraph"])["origin"] == plane.statement()
    assert provenance(graph)["origin"] == {"coordinates": "bounds", "bounds_on_plane_px": None}
    points = [json.loads(encode_points(graph, 0.5, **given)) for given in ({}, {"placement": plane})]
    inside, outside = (np.array([one["geometry"]["coordinates"] for one in each["features"]]) for each in points)
    np.testing.assert_allclose(outside - inside, [[2500.0, 4002.0]] * 4)
    assert points[1]["wsigraph"]["origin"]["bounds_on_plane_px"] == [2500, 4002]
    with pytest.raises(RecordError, match=r"slide\.json states"):
        node_columns(graph, Placement(coordinates="plane"))
