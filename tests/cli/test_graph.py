"""``wsigraph graph`` on the real slide: files, picture, and the same graph for every chunk, thread and memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.cli.command import SLIDE, Run
from wsigraph import store
from wsigraph.slide.map_boxes import BYTES_PER_PX, plan_chunks


def test_graph_and_picture_are_written(run: Run, tmp_path) -> None:
    process = run("graph", SLIDE, "--out", tmp_path, "--json")
    assert (process.returncode, process.stderr) == (0, "")
    facts = json.loads(process.stdout)
    folder = tmp_path / SLIDE.stem
    built = store.load_graph(folder / "graph.safetensors")
    assert facts["nodes"] == built.n_nodes > 500
    assert facts["edges"] == built.n_edges
    assert facts["tissue_mm2"] == pytest.approx(built.moment("n").sum() / 1e6)
    assert {"read", "tissue", "segment", "graph"} == set(facts["seconds"])
    assert sorted(path.name for path in folder.iterdir()) == sorted(facts["files"])
    assert (folder / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_chunks_threads_and_memory_change_nothing(run: Run, tmp_path) -> None:
    for name, options in (
        ("plain", ()),
        ("odd", ("--chunk-px", "311", "--threads", "1")),
        ("small", ("--memory", "60MB")),
    ):
        process = run("graph", SLIDE, "--out", tmp_path / name, *options)
        assert process.returncode == 0, process.stderr
    for file in ("graph.safetensors", "slide.json", "graph.png"):
        contents = {(tmp_path / name / SLIDE.stem / file).read_bytes() for name in ("plain", "odd", "small")}
        assert len(contents) == 1, file
    circumstances = json.loads((tmp_path / "small" / SLIDE.stem / "run.json").read_text())
    assert circumstances["runtime"]["chunk_px"] < 2048


def test_a_size_that_is_none_is_refused(run: Run, tmp_path) -> None:
    process = run("graph", SLIDE, "--out", tmp_path / "out", "--memory", "plenty")
    assert process.returncode == 1
    assert "--memory plenty: expected a size such as 1GB" in process.stderr
    assert not (tmp_path / "out").exists()


def test_chunks_shrink_before_threads_do() -> None:
    assert plan_chunks(2048, 8, 300, 1e12) == (2048, 8)
    side, threads = plan_chunks(2048, 8, 300, 3e8)
    assert side < 2048
    assert threads * BYTES_PER_PX * (side + 600) ** 2 <= 3e8
    assert plan_chunks(2048, 8, 300, 1.0) == (256, 1)


@pytest.mark.parametrize("with_slide", [True, False])
def test_features_of_another_tool_become_a_graph(run: Run, tmp_path, with_slide: bool) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    side = 256
    y, x = np.mgrid[1024:2560:side, 768:1792:side]
    with h5py.File(tmp_path / "tiles.h5", "w") as file:
        coords = file.create_dataset("coords", data=np.stack([x.ravel(), y.ravel()], axis=1))
        coords.attrs["patch_size_level0"] = side
        file["features"] = np.random.default_rng(0).normal(size=(x.size, 8)).astype(np.float32)
    slide = [SLIDE] if with_slide else ["--mpp", "0.499"]
    words = ["--features", tmp_path / "tiles.h5", "--coarsen", "--out", tmp_path / "out", "--json"]
    process = run("graph", *slide, *words)
    assert process.returncode == 0, process.stderr
    facts = json.loads(process.stdout)
    built = store.load_graph(tmp_path / "out" / facts["slide_id"] / "graph.safetensors")
    assert facts["nodes"] == built.n_nodes
    assert (built.n_nodes == x.size) != with_slide
    assert built.encoding_sum is not None
    assert built.encoding_sum.shape == (built.n_nodes, 8)
    coarse = store.load_coarse_graph(tmp_path / "out" / facts["slide_id"] / "coarse.safetensors")
    assert facts["regions"] == coarse.graph.n_nodes <= built.n_nodes
    assert coarse.embedding_id == "encoding-unnamed"
    # with the slide the area is that of the tissue, without it that of the tiles
    area_mm2 = x.size * (side * 0.499e-3) ** 2
    assert facts["has_slide"] == with_slide
    assert (facts["tissue_mm2"] == pytest.approx(area_mm2, rel=0.01)) != with_slide


def test_neither_slide_nor_features_is_wrong_usage(run: Run) -> None:
    process = run("graph")
    assert process.returncode == 2
    assert "--features" in process.stderr
