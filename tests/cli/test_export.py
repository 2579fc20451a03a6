"""``wsigraph export``: every format from a run's directory, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapely

from tests.cli.command import Finished, Run


@pytest.mark.parametrize(
    ("form", "name", "files"),
    [
        ("anndata", "slide.h5ad", ["slide.h5ad"]),
        ("parquet", "tables", ["tables/nodes.parquet", "tables/edges.parquet"]),
        ("networkx", "slide.graphml", ["slide.graphml"]),
        ("geojson", "slide.geojson", ["slide.geojson"]),
    ],
)
def test_every_format(run: Run, finished: Finished, tmp_path: Path, form: str, name: str, files: list[str]) -> None:
    process = run("export", finished.directory, "--to", form, "--out", tmp_path / name, "--coarse", "--json")
    assert (process.returncode, process.stderr) == (0, "")
    shown = json.loads(process.stdout)
    assert shown["files"] == [str(tmp_path / file) for file in files]
    assert all((tmp_path / file).stat().st_size > 1000 for file in files)
    assert shown["slide_id"] == finished.directory.name
    assert shown["nodes"] > 10


def test_outlines_of_superpixels_and_points(run: Run, finished: Finished, tmp_path: Path) -> None:
    outlines, points = tmp_path / "outlines.geojson", tmp_path / "points.geojson"
    assert run("export", finished.directory, "--to", "geojson", "--out", outlines).returncode == 0
    file = finished.directory / "graph.safetensors"
    process = run("export", file, "--to", "geojson", "--out", points)
    assert process.stdout == f"{points}\n"
    shapes, centres = (json.loads(path.read_text())["features"] for path in (outlines, points))
    assert len(shapes) == len(centres) > 500
    assert {shape["geometry"]["type"] for shape in shapes} <= {"Polygon", "MultiPolygon"}
    assert {centre["geometry"]["type"] for centre in centres} == {"Point"}
    inside = [
        shapely.geometry.shape(outline["geometry"]).envelope.covers(shapely.Point(centre["geometry"]["coordinates"]))
        for outline, centre in zip(shapes, centres, strict=True)
    ]
    assert sum(inside) >= 0.99 * len(shapes)  # outlines lie on a lattice of 2 um, which may miss a narrow region


def test_a_lone_graph_needs_a_pixel_size_for_geojson(run: Run, finished: Finished, tmp_path: Path) -> None:
    lone = tmp_path / "coarse.safetensors"
    lone.write_bytes((finished.directory / "coarse.safetensors").read_bytes())
    process = run("export", lone, "--to", "geojson", "--out", tmp_path / "points.geojson")
    assert process.returncode == 1
    assert "--mpp" in process.stderr
    assert len(process.stderr.splitlines()) == 1
    process = run("export", lone, "--to", "geojson", "--out", tmp_path / "points.geojson", "--mpp", 0.499)
    assert process.returncode == 0
    assert json.loads((tmp_path / "points.geojson").read_text())["wsigraph"]["record"] == "CoarseGraph"


def test_what_is_no_graph_is_refused(run: Run, tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "absent.safetensors"):
        process = run("export", source, "--to", "parquet", "--out", tmp_path / "tables")
        assert process.returncode == 1
        assert len(process.stderr.splitlines()) == 1
        assert not (tmp_path / "tables").exists()
    assert run("export", tmp_path, "--to", "gexf", "--out", tmp_path / "graph").returncode == 2
