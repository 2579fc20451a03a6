"""Options before the command: less or more on stderr, and a file of messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Run
from tests.feature_cohort import write_feature_cohort
from wsigraph.cli.progress import NestedSteps, progress_text


@pytest.fixture
def command(tmp_path: Path) -> tuple[object, ...]:
    """Return a study that ends after its manifest, with notes on stderr."""
    folder = write_feature_cohort(tmp_path, 4, n_features=4)
    table = ("--clinical", folder / "clinical.csv", "--mpp", "0.5", "--yes")
    return ("study", folder / "features", *table, "--out", tmp_path / "study", "--until", "manifest")


def test_quiet_prints_results_and_a_log_file_keeps_messages(
    run: Run, command: tuple[object, ...], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "study.jsonl"
    done = run("--quiet", "--log-file", log, "--json-log", *command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "4 slides and 4 patients" in done.stdout
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert any(line["message"] == "step 1 of 1: manifest" and line["level"] == "info" for line in lines)
    assert all(line["time"].endswith("Z") for line in lines)
    refused = run("--quiet", "--log-file", log, "inspect", tmp_path / "absent.svs")
    assert refused.returncode == 1
    assert "does not exist" in refused.stderr
    assert "ERROR slide" in log.read_text(encoding="utf-8").splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--quiet", "--verbose"], "both given"), (["--json-log"], "form of --log-file")],
)
def test_contradictions_are_wrong_usage(run: Run, options: list[str], message: str) -> None:
    done = run(*options, "version")
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("step", "done", "total", "text"),
    [
        ("load", 3, 40, "3 of 40 graphs"),
        ("folds", 1, 5, "1 of 5 folds"),
        ("train", 20, 60, "20 of 60 epochs"),
        ("tissue", 50_000_000, 100_000_000, "25.0 Mpx/s"),
        ("gather", 1, 1, ""),
        ("explain", 3, 7, "3 of 7"),
    ],
)
def test_progress_is_in_the_unit_of_the_step(step: str, done: int, total: int, text: str) -> None:
    assert progress_text(step, done, total, 2.0) == text


def test_one_bar_a_level_and_the_time_left_is_true() -> None:
    """Folds of 10 s with two fits of 5 epochs each: the bar of the folds knows the epochs and never goes back."""
    now = 0.0
    steps = NestedSteps(lambda: now)
    steps.update("baseline ridge", 0, 1)
    steps.update("folds", 0, 4)
    left = []
    for fold in range(4):
        for tick in range(10):
            now += 1.0
            steps.update("train", tick % 5 + 1, 5)
            assert [one.step for one in steps.levels] == ["baseline ridge", "folds", "train"]
            folds = steps.levels[1]
            left.append((steps.seconds_left(folds) or 0.0, 40.0 - now))
        steps.update("folds", fold + 1, 4)
        assert [one.step for one in steps.levels] == ["baseline ridge", "folds"]
        assert steps.seconds_left(steps.levels[1]) == pytest.approx(40.0 - now)
    # two fits of a fold look like one until it has ended, so within a fold the estimate is up to one fold too low
    assert all(-10.5 <= estimate - truth <= 0.5 for estimate, truth in left[10:])
    steps.update("load", 3, 160)
    assert [one.step for one in steps.levels] == ["load"]
