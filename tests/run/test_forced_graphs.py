"""A slide that is no H&E section and was forced: its graph, what is exported of it, and training all say so."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import wsigraph
from wsigraph import store
from wsigraph.cli.main import app
from wsigraph.config import Config
from wsigraph.geometry import Box
from wsigraph.graph.tissue.suitability import MARK
from wsigraph.run.simulated_cohort import simulate
from wsigraph.run.train_cohort import _training_rows, _without_forced
from wsigraph.training.load_cohort import find_forced


def run(*words: object) -> str:
    """Run a command and return what it printed on both streams."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def dapi(small_slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a picture of fluorescence."""
    with wsigraph.read(small_slide) as slide:
        section = slide.read(Box.whole(slide.size(1.0)), 1.0)[800:1100, 300:600]
    signal = np.clip(3 * (255 - section.min(axis=2).astype(int) - 120), 4, 255)
    picture = tmp_path_factory.mktemp("dapi") / "dapi.png"
    Image.fromarray(np.stack([signal // 60, signal // 90, signal], axis=-1).astype(np.uint8)).save(picture)
    return picture


@pytest.fixture(scope="module")
def forced(dapi: Path) -> Path:
    """Return the directory of its graph."""
    printed = run("graph", dapi, "--mpp", 1, "--out", dapi.parent / "out", "--coarsen", "--force")
    assert MARK in printed
    return dapi.parent / "out" / "dapi"


def test_both_graphs_carry_the_mark_and_predictions_of_them_too(forced: Path) -> None:
    graph = store.load_graph(forced / "graph.safetensors")
    coarse = store.load_coarse_graph(forced / "coarse.safetensors")
    assert graph.mark == coarse.graph.mark
    assert graph.mark.startswith(MARK)
    prediction = wsigraph.predict(coarse)
    assert prediction.warnings[0] == graph.mark
    assert prediction.notice.startswith(MARK)


@pytest.mark.parametrize(("form", "name"), [("geojson", "o.geojson"), ("parquet", "o"), ("networkx", "o.json")])
@pytest.mark.parametrize("is_alone", [False, True])
def test_every_export_carries_the_mark(forced: Path, tmp_path: Path, form: str, name: str, is_alone: bool) -> None:
    source = forced
    if is_alone:  # nothing beside the graph says what the slide was
        source = tmp_path / "alone.safetensors"
        source.write_bytes((forced / "graph.safetensors").read_bytes())
    printed = run("export", source, "--to", form, "--out", tmp_path / name, "--mpp", 1)
    assert MARK in printed
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != source]
    assert files
    assert all(MARK.encode() in path.read_bytes() or form == "parquet" for path in files)
    if form == "parquet":
        import pyarrow.parquet as pq

        for path in files:
            assert MARK in pq.read_schema(path).metadata[b"wsigraph"].decode()


def test_the_picture_of_the_graph_has_one_line_more(forced: Path, dapi: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from wsigraph.report.graph_picture import write_graph_picture

    labels = store.load_labels(forced / "superpixels.zarr")
    graph = store.load_graph(forced / "graph.safetensors")
    with wsigraph.read(dapi, mpp=1.0) as slide:
        for name, one in (("marked", graph), ("plain", replace(graph, mark=""))):
            write_graph_picture(tmp_path / f"{name}.png", slide=slide, labels=labels, graph=one)
    marked, plain = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("marked", "plain"))
    assert marked.shape == plain.shape
    differing = np.flatnonzero((marked != plain).any(axis=(1, 2)))
    assert len(differing)
    assert differing.max() < 0.08 * len(marked)  # at the top alone
    np.testing.assert_array_equal(np.asarray(Image.open(forced / "graph.png")), marked)


def test_synthesis_of_its_graph_carries_the_mark(forced: Path, dapi: Path) -> None:
    from dataclasses import replace

    from wsigraph.synthesis.diffusion.scene import scene_from_graph
    from wsigraph.synthesis.diffusion.scene_file import parse_scene, scene_document
    from wsigraph.synthesis.diffusion.synthesize import scene_from_slide
    from wsigraph.synthesis.diffusion.writer import SyntheticTile

    settings = Config()
    settings = settings.model_copy(update={"slide": settings.slide.model_copy(update={"allow_non_he": True})})
    scene = scene_from_slide(dapi, settings, mpp=1.0)
    assert scene.mark.startswith(MARK)
    graph = store.load_graph(forced / "graph.safetensors")
    scene = scene_from_graph(graph)
    assert scene.mark == graph.mark
    again = parse_scene(scene_document(scene), "graph.json", mpp=1.0)
    assert again.mark == graph.mark
    assert "mark" not in json.loads(scene_document(replace(scene, mark="")))
    tile = SyntheticTile(
        image=np.zeros((1, 1, 3), np.uint8),
        mask=np.zeros((1, 1), np.uint8),
        graph=scene,
        mpp=1.0,
        seed=0,
        number=0,
        model_id="-",
        request={},
    )
    assert tile.facts["mark"] == graph.mark


def test_training_leaves_forced_graphs_out_unless_forced(
    forced: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = simulate(4, tmp_path, seed=3)
    assert not find_forced(rows, tmp_path)
    names = [row.slide_id for row in rows]
    # one with its slide.json, one of which the graph alone is left
    (tmp_path / names[0] / "slide.json").write_bytes((forced / "slide.json").read_bytes())
    (tmp_path / names[1] / "graph.safetensors").write_bytes((forced / "graph.safetensors").read_bytes())
    found = find_forced(rows, tmp_path)
    assert [row.slide_id for row in found] == names[:2]
    training = _training_rows(rows, tmp_path, False)
    with caplog.at_level(logging.WARNING):
        kept = _without_forced(training, found, False)
    assert [row.slide_id for row in kept] == names[2:]
    assert f"{names[0]}, {names[1]}; left out; --force trains on them" in caplog.text
    assert _without_forced(training, found, True) == training
    assert "trained on all the same" in caplog.text


def test_the_map_of_tissue_classes_carries_the_mark_in_every_file(forced: Path, dapi: Path) -> None:
    printed = run("tissue", dapi, "--mpp", 1, "--out", dapi.parent / "out", "--force")
    assert MARK in printed
    for name in ("tissue_classes.json", "tissue_classes.geojson"):
        assert MARK in (forced / name).read_text(), name
    assert MARK.encode() in (forced / "tissue_classes.safetensors").read_bytes()
    assert MARK in (forced / "tissue_classes.zarr" / "zarr.json").read_text()
    first = next(iter(json.loads((forced / "tissue_classes.json").read_text())))
    assert first in ("mark", "classes")  # keys are sorted


def test_nuclei_of_a_forced_slide_carry_the_mark_in_every_file(dapi: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    printed = run("nuclei", dapi, "--mpp", 1, "--out", tmp_path, "--force")
    assert MARK in printed
    folder = tmp_path / "dapi"
    assert json.loads((folder / "nuclei.json").read_text())["mark"].startswith(MARK)
    assert json.loads((folder / "nuclei_001.geojson").read_text())["wsigraph"]["mark"].startswith(MARK)
    assert MARK in pq.read_schema(folder / "nuclei.parquet").metadata[b"wsigraph"].decode()
    told = json.loads(run("nuclei", dapi, "--mpp", 1, "--out", tmp_path, "--force", "--json").splitlines()[0])
    assert told["mark"].startswith(MARK)
    assert told["warnings"][0].startswith(MARK)
