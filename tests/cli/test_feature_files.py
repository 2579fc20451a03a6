"""Feature files alone, from one command to a model that reads them, with nothing set."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import Run
from tests.feature_cohort import write_feature_cohort
from wsigraph.config import load
from wsigraph.errors import ConfigError
from wsigraph.exchange.feature_manifest import manifest_of_features
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.steps import run_slide
from wsigraph.store import load_coarse_graph, load_graph


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_feature_cohort(tmp_path_factory.mktemp("cohort"), 40, n_features=128)


@pytest.fixture(scope="module")
def graphs(cohort: Path) -> Path:
    for path in sorted((cohort / "features").iterdir()):
        run_slide(None, cohort / "runs", features=path, mpp=0.5, until="coarsen")
    return cohort / "runs"


@pytest.fixture(scope="module")
def model(run: Run, cohort: Path, graphs: Path) -> Path:
    words = (
        "train",
        "manifest.csv",
        "--graphs",
        "runs",
        "--out",
        "model",
        "--workers",
        "1",
        "--organ",
        "kidney",
        "--json",
    )
    done = run(*words, cwd=cohort, timeout=1200)
    assert done.returncode == 0, done.stderr
    # a stage that is planted in imported features is found with nothing set
    assert json.loads(done.stdout)["metrics"]["stage_auc"]["value"] > 0.95
    return cohort / "model"


def test_a_folder_of_feature_files_is_one_command(run: Run, cohort: Path, tmp_path: Path) -> None:
    command = ("run", "--features", cohort / "features", "--out", tmp_path / "runs", "--until", "coarsen", "--json")
    missing = run(*command, "--cluster", "threads")
    assert missing.returncode == 3
    assert "--mpp states the pixel size of all slides without one" in missing.stderr
    done = run(*command, "--cluster", "threads", "--mpp", "0.5")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == 40
    coarse = load_coarse_graph(tmp_path / "runs" / "P003" / "coarse.safetensors")
    assert coarse.embedding_id == "encoding-unnamed"
    # nothing is left to do: no cluster is started
    assert "workers with" in done.stderr
    again = run(*command, "--cluster", "threads", "--mpp", "0.5")
    assert again.returncode == 0, again.stderr
    assert "workers with" not in again.stderr
    assert json.loads(again.stdout)["skipped"] == 40


def test_regions_of_a_feature_file_without_its_slide_are_refused(cohort: Path, tmp_path: Path) -> None:
    regions = tmp_path / "r.geojson"
    regions.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(ConfigError, match="drawn on pixels"):
        run_slide(None, tmp_path, features=cohort / "features" / "P000.h5", mpp=0.5, until="graph", roi=regions)


def test_a_finished_run_needs_no_cluster_and_an_unfinished_one_does(cohort: Path, tmp_path: Path) -> None:
    table = manifest_of_features(str(cohort / "features" / "P00[01].h5"))
    threads = load(overrides=["cluster.kind=threads", "cluster.workers=1"])
    started: list[object] = []
    options = {"until": "coarsen", "missing_mpp": 0.5, "started": started.append}
    assert run_cohort(table, tmp_path, threads, **options).summary["done"] == 2
    assert len(started) == 1
    assert run_cohort(table, tmp_path, threads, **options).summary["skipped"] == 2
    assert len(started) == 1
    (tmp_path / "P001" / "coarse.safetensors").unlink()
    again = run_cohort(table, tmp_path, threads, **options).summary
    assert (again["done"], again["skipped"], len(started)) == (1, 1, 2)


def test_withheld_slides_are_named_and_start_no_cluster_again(cohort: Path, model: Path, tmp_path: Path) -> None:
    table = manifest_of_features(str(cohort / "features" / "P00[01].h5"))
    settings = load(overrides=["cluster.kind=threads", "cluster.workers=1", "prediction.organ=lung"])
    started: list[object] = []
    options = {"until": "page", "missing_mpp": 0.5, "model": model, "started": started.append}
    for done in (2, 0):
        summary = run_cohort(table, tmp_path, settings, **options).summary
        assert (summary["done"], summary["skipped"], len(started)) == (done, 2 - done, 1)
        assert [one["slide_id"] for one in summary["withheld"]] == ["P000", "P001"]
        assert "organ 'lung', the model was trained on 'kidney'" in summary["withheld"][0]["reason"]
    text = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "## Predictions withheld" in text
    # without the organ there is a prediction to explain
    (tmp_path / "P000" / "prediction.json").unlink()
    plain = load(overrides=["cluster.kind=threads", "cluster.workers=1"])
    again = run_cohort(table, tmp_path, plain, **options).summary
    assert (again["done"], again["withheld"], len(started)) == (2, [], 2)
    assert (tmp_path / "P000" / "report.html").is_file()


def test_a_model_of_feature_files_predicts_and_explains_a_new_one(
    run: Run, cohort: Path, model: Path, tmp_path: Path
) -> None:
    new = write_feature_cohort(tmp_path / "new", 4, n_features=128, seed=5) / "features" / "P003.h5"
    given = ("--features", new, "--mpp", "0.5", "--model", model, "--out", tmp_path / "out", "--json")
    predicted = run("predict", *given)
    assert predicted.returncode == 0, predicted.stderr
    facts = json.loads(predicted.stdout)
    assert sum(facts["stage"].values()) == pytest.approx(1.0)
    assert any("areas are those of the tiles" in text for text in facts["warnings"])
    before = (tmp_path / "out" / "P003" / "graph.safetensors").read_bytes()
    explained = run("explain", *given, "--target", "risk")
    assert explained.returncode == 0, explained.stderr
    assert (tmp_path / "out" / "P003" / "report.html").is_file()
    assert (tmp_path / "out" / "P003" / "graph.safetensors").read_bytes() == before
    assert load_graph(tmp_path / "out" / "P003" / "graph.safetensors").encoder == "unnamed"


def test_a_model_that_lacks_its_features_says_what_to_give_and_writes_nothing(
    run: Run, small_slide: Path, model: Path, tmp_path: Path
) -> None:
    done = run("predict", small_slide, "--model", model, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert "reads features of encoder 'unnamed', and no features are given; give its feature file with --features" in (
        done.stderr
    )
    assert not (tmp_path / "out").exists()
    demo = run(
        "predict", "--features", model.parent / "features" / "P000.h5", "--mpp", "0.5", "--out", tmp_path / "out"
    )
    assert demo.returncode == 1
    assert "a feature file is given alone; give the slide as well" in demo.stderr


def test_a_study_asks_for_columns_in_a_terminal(cohort: Path, tmp_path: Path) -> None:
    """The question is answered through a pseudo-terminal, as a person would."""
    table = tmp_path / "table.csv"
    lines = (cohort / "clinical.csv").read_text(encoding="utf-8").replace("OS_days", "follow").splitlines()
    rows = [line.split(",") for line in lines]
    # more than 720 could be days alone
    short = [rows[0], *([*row[:2], str(1 + int(row[2]) // 10), *row[3:]] for row in rows[1:])]
    table.write_text("\n".join(map(",".join, short)) + "\n", encoding="utf-8")
    words = ["study", str(cohort / "features"), "--clinical", str(table), "--mpp", "0.5", "--until", "manifest"]
    terminal, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wsigraph", *words, "--out", str(tmp_path / "out")],
        stdin=child, stdout=child, stderr=child, close_fds=True,
    )  # fmt: skip
    os.close(child)
    shown = b""
    answers = [b"time=follow\n", b"time_unit=days\n", b"\n"]
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        shown += part
        if answers and shown.endswith((b"time_unit=months: ", b"time_unit=months:")):
            shown += b"<asked>"
            os.write(terminal, answers.pop(0))
    os.close(terminal)
    assert process.wait() == 0, shown.decode()
    assert not answers
    text = shown.decode()
    assert "columns: patient, stage, follow" in text
    assert "still needed: time_unit" in text
    assert "follow" in (tmp_path / "out" / "study.yaml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_cohort_of_160_feature_files_from_folder_to_page(run: Run, tmp_path: Path) -> None:
    folder = write_feature_cohort(tmp_path, 160)
    done = run(
        *("study", "--features", folder / "features", "--clinical", folder / "clinical.csv", "--mpp", "0.5"),
        *("--out", tmp_path / "study", "--yes", "--json"),
        timeout=3600,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["evaluation"]["stage"]["auc"]["value"] > 0.95
    assert len(document["explained"]) == 3
    assert (tmp_path / "study" / "study.html").is_file()
