"""``wsigraph nuclei``: files that QuPath and tables read, counts that agree, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
import shapely
from PIL import Image

from tests.cli.command import SLIDE, Run


def test_outlines_tables_and_counts_agree(run: Run, tmp_path) -> None:
    process = run("nuclei", SLIDE, "--out", tmp_path, "--json", "--to", "geojson", "--to", "parquet", "--to", "anndata")
    assert (process.returncode, process.stderr) == (0, "")
    facts = json.loads(process.stdout)
    folder = tmp_path / SLIDE.stem
    assert facts["files"] == ["nuclei_001.geojson", "nuclei.parquet", "nuclei.h5ad", "nuclei.json"]
    table = pyarrow.parquet.read_table(folder / "nuclei.parquet")
    features = json.loads((folder / "nuclei_001.geojson").read_text())["features"]
    assert len(features) == table.num_rows == facts["nuclei"] > 500
    assert facts["per_mm2"] == pytest.approx(facts["nuclei"] / facts["tissue_mm2"])
    rings = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    assert all(ring.is_valid for ring in rings)
    areas = np.array([ring.area for ring in rings]) * 0.499**2
    assert areas == pytest.approx(np.array(table["area_um2"]), rel=0.2, abs=1.5)
    types = {feature["properties"]["classification"]["name"].lower() for feature in features}
    assert types == set(table["type"].to_pylist()) <= {"inflammatory", "connective", "neoplastic", "unknown"}
    assert json.loads((folder / "nuclei.json").read_text())["nuclei"] == facts["nuclei"]


def test_large_results_are_split(run: Run, tmp_path, monkeypatch) -> None:
    from wsigraph.exchange import nucleus_files
    from wsigraph.graph.feature.nucleus_table import NucleusTable

    n = 7
    square = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], np.int32)
    names = ("x_um", "y_um", "area_um2", "eccentricity", "solidity", "hematoxylin", "hematoxylin_sd", "probability")
    columns = {name: np.full(n, 1.0) for name in (*names, "type_probability")}
    columns |= {"nearest_um": np.full(n, np.nan), "type": np.full(n, -1, np.int16), "section": np.ones(n, np.int32)}
    points, start = np.concatenate([square + 20 * row for row in range(n)]), 4 * np.arange(n + 1, dtype=np.int64)
    table = NucleusTable(columns, (), points, start, 0.5, {1: 2.0})
    monkeypatch.setattr(nucleus_files, "BATCH", 3)
    paths = nucleus_files.write_geojson_batches(table, tmp_path, 0.25, {"slide_id": "a"})
    assert [path.name for path in paths] == [f"nuclei_{number:03d}.geojson" for number in (1, 2, 3)]
    counts = [len(json.loads(path.read_text())["features"]) for path in paths]
    assert counts == [3, 3, 1]
    first = json.loads(paths[0].read_text())["features"][0]
    assert first["geometry"]["coordinates"] == [[[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]]
    assert first["properties"]["classification"]["name"] == "Nucleus"
    assert "Type probability" not in first["properties"]["measurements"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--nuclei-weights", SLIDE), "do not read"),
        (("--nuclei", "absent"), "no plugin 'absent' in group 'wsigraph.nuclei'"),
        (("--mpp", "1.6"), "1.6 um/px, nuclei need 1.2 um/px or finer"),
    ],
)
def test_bad_input_ends_in_one_line(run: Run, tmp_path, options, words) -> None:
    process = run("nuclei", SLIDE, "--out", tmp_path / "out", *options)
    assert process.returncode == 1
    assert words in process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("box", ["1,2,3", "1,2,0,5", "a,b,c,d"])
def test_a_box_that_is_none_is_refused(run: Run, tmp_path, box) -> None:
    process = run("nuclei", SLIDE, "--out", tmp_path / "out", "--box", box)
    assert process.returncode == 2
    assert "--box" in process.stderr


def test_a_slide_without_tissue_is_said_in_one_line(run: Run, tmp_path) -> None:
    path = tmp_path / "glass.png"
    Image.fromarray(np.full((700, 700, 3), 244, np.uint8)).save(path)
    process = run("nuclei", path, "--mpp", "0.5", "--out", tmp_path / "out")
    assert process.returncode == 1
    assert len(process.stderr.splitlines()) == 1
