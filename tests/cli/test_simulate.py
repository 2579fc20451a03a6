"""``wsigraph simulate`` as a user meets it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.command import Run
from wsigraph import store
from wsigraph.graph.feature.interpret import interpret

SMALL = [
    argument
    for setting in ("min_side=4", "max_side=5", "grain=2", "library_side=2", "sites=2")
    for argument in ("--set", f"synthesis.{setting}")
]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "data_manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_cohort_is_made_twice_alike(run: Run, tmp_path: Path) -> None:
    shown = []
    for name in ("a", "b"):
        process = run(
            "simulate",
            "--out",
            tmp_path / name,
            "--patients",
            8,
            "--seed",
            5,
            "--scenario",
            "spatial",
            "--json",
            *SMALL,
        )
        assert (process.returncode, process.stderr) == (0, "")
        shown.append(json.loads(process.stdout))
    facts = shown[0]
    assert (facts["synthetic"], facts["scenario"], facts["patients"]) == (True, "spatial", 8)
    rows = table(tmp_path / "a")
    assert len(rows) == facts["slides"] >= 8
    assert len({row["patient_id"] for row in rows}) == 8
    for row in rows:
        assert row["slide_id"].startswith("synthetic-spatial-s5-")
        assert "synthetic" in row["source"]
        assert 0 <= float(row["oracle_contact_fraction"]) <= 1
        graph = Path(row["slide_id"]) / "graph.safetensors"
        assert (tmp_path / "a" / graph).read_bytes() == (tmp_path / "b" / graph).read_bytes()
    assert table(tmp_path / "b") == rows


def test_painted_slides_go_through_the_reading_path(run: Run, tmp_path: Path) -> None:
    process = run("simulate", "--out", tmp_path, "--patients", 1, "--images", *SMALL)
    assert (process.returncode, process.stderr) == (0, "")
    assert "synthetic, scenario composition" in process.stdout
    for row in table(tmp_path):
        assert (tmp_path / row["path"]).is_file()
        graph = store.load_graph(tmp_path / row["slide_id"] / "graph.safetensors")
        values = interpret(graph).values
        # about 10 x 10 superpixels of 30 um
        assert 40 < len(values) < 250
        inspected = json.loads(run("inspect", tmp_path / row["path"], "--json").stdout)
        assert inspected["mpp"] == 1.0


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (("--law", "gravity"), 1, "synthesis.scenario"),
    (("--patients", "0"), 2, "--patients"),
])  # fmt: skip
def test_bad_arguments_are_told(run: Run, tmp_path: Path, arguments: tuple[str, str], code: int, words: str) -> None:
    process = run("simulate", "--out", tmp_path / "x", *arguments)
    assert process.returncode == code
    assert words in process.stderr
    assert not (tmp_path / "x").exists()
