"""The page "Write your paper with it": every block runs, on a small cohort, in the order of the page."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

import wsigraph
from tests.cli.command import ROOT
from wsigraph.config import load
from wsigraph.errors import CohortError, ModelError, PluginError
from wsigraph.model.bundle import load_bundle
from wsigraph.torch import FittedNetwork, Fitting, GraphDataset, compare_network, load_network, splits
from wsigraph.training.held_out import load_held_out

PAGE = (ROOT / "docs" / "paper.md").read_text()
BLOCKS = re.findall(r"```python(?: file=(\S+))?\n(.*?)```", PAGE, re.DOTALL)
SETTINGS = (
    "synthesis.scenario=spatial", "synthesis.sites=2", "synthesis.library_side=3", "synthesis.min_side=3",
    "synthesis.max_side=4", "model.design=network", "model.epochs=1", "model.layers=1", "model.channels=4",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the cohort, the model, the two networks and predictions of another program."""
    folder, settings = tmp_path_factory.mktemp("paper"), load(overrides=SETTINGS)
    rows = wsigraph.simulate(40, folder / "cohort", settings, seed=3)
    manifest = folder / "cohort" / "data_manifest.csv"
    wsigraph.train(manifest, folder / "cohort", folder / "model", settings, n_folds=2, workers=1, force=True)
    for name, code in BLOCKS:
        if name:
            (folder / name).write_text(code)
    follow_up = {row.patient_id: row.time_days or 0.0 for row in rows}
    with (folder / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["patient_id", "risk"], *((name, -days) for name, days in follow_up.items())])
    return folder


def test_every_block_runs_in_order(folder: Path) -> None:
    code = "\n".join(block for name, block in BLOCKS if not name)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Sage: C-index" in done.stdout
    assert "Gps: C-index" in done.stdout
    assert (folder / "attribution.png").stat().st_size > 5000
    assert {path.name for path in (folder / "model" / "networks").iterdir()} == {"Sage", "Gps", "other_program"}


def test_networks_have_at_most_thirty_lines_and_the_comparison_twelve() -> None:
    lengths = [len(code.strip().splitlines()) for _, code in BLOCKS]
    assert [length <= 30 for length in lengths[:2]] == [True, True]
    assert lengths[2] <= 12


def test_predictions_by_follow_up_are_perfect_and_above_the_model(folder: Path) -> None:
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    frame = {name: [row[name] for row in rows] for name in rows[0]}
    scores = wsigraph.scores_from(frame, folder / "model", name="truth", store=False)
    assert scores["survival"]["c_index"]["value"] == 1.0
    bundle = load_bundle(folder / "model")
    own = bundle.card.metrics["c_index"].value
    assert scores["above"]["model"]["survival"]["c_index"]["value"] == pytest.approx(1.0 - own, abs=2e-4)
    held_out = load_held_out(folder / "model", bundle.model_id)
    assert len(held_out.risk) == len(rows)
    with pytest.raises(CohortError, match="1 of 40 patients of the model have no prediction"):
        wsigraph.scores_from({name: values[1:] for name, values in frame.items()}, folder / "model")
    with pytest.raises(CohortError, match="expected risk, or the stages"):
        wsigraph.scores_from({"patient_id": frame["patient_id"]}, folder / "model")
    n = len(rows)
    for wrong, message in (
        ({"risk": ["high"] * n}, "holds a value that is no number"),
        ({"risk": [None] * n}, "holds a value that is no number"),
        ({"risk": frame["risk"][1:]}, "have the lengths"),
        (dict.fromkeys(bundle.card.stage_names, [0.5] * n), "are not probabilities"),
        (dict.fromkeys(bundle.card.stage_names, [-1.0] * n), "are not probabilities"),
    ):
        with pytest.raises(CohortError, match=message):
            wsigraph.scores_from({"patient_id": frame["patient_id"], **wrong}, folder / "model")
    doubled = pandas.DataFrame(
        [[name, 1.0, 2.0] for name in frame["patient_id"]], columns=["patient_id", "risk", "risk"]
    )
    with pytest.raises(CohortError, match="'risk' several times"):
        wsigraph.scores_from(doubled, folder / "model")
    with pytest.raises(ModelError, match="not 'model'"):
        wsigraph.scores_from(frame, folder / "model", name="model")


def test_attributions_add_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    network = load_network("sage:Sage")
    dataset = GraphDataset("cohort/data_manifest.csv", "cohort")
    fitted = FittedNetwork.fit(
        network, dataset, splits("model", dataset)[0], task="survival", fitting=Fitting(epochs=1)
    )
    data = dataset[0]
    reference = data.__copy__()
    reference.x = fitted.mean.expand_as(data.x).clone()
    difference = float(fitted.outputs([data])[0, 0] - fitted.outputs([reference])[0, 0])
    assert fitted.attributions(data, steps=200).sum() == pytest.approx(difference, abs=1e-3)


def test_a_network_that_does_not_load_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(PluginError, match="network 'sage:Other' does not load"):
        load_network("sage:Other")
    with pytest.raises(PluginError, match=r"no plugin 'nothing' in group 'wsigraph\.networks'"):
        load_network("nothing")


def test_the_same_network_and_seed_give_the_same_predictions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    first, second = (
        json.dumps(compare_network("sage:Sage", "model", name=name, fitting=Fitting(epochs=1))["survival"])
        for name in ("first", "second")
    )
    assert first == second
    files = [(folder / "model" / "networks" / name / "predictions.csv").read_bytes() for name in ("first", "second")]
    assert files[0] == files[1]
    assert np.isfinite(json.loads(first)["c_index"]["value"])


@pytest.mark.slow
def test_evaluate_has_the_networks_in_its_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    compare_network("sage:Sage", "model", fitting=Fitting(epochs=1))
    document = wsigraph.evaluate(folder / "model")
    assert set(document["baselines"]) >= {"Sage", "means@1"}
    again = wsigraph.scores_from({"patient_id": [], "risk": []} | _follow_up(folder), folder / "model", name="truth")
    assert "means@1" in again["above"]


def _follow_up(folder: Path) -> dict[str, list[str]]:
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}
