"""Whole runs on real worker processes: the same bytes whatever happens on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from tests.run.batch.cohorts import content, die, fail_once, hang_once, manifest_of, row
from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.config import Config, load
from wsigraph.errors import ConfigError
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.batch.tally import Tally

if TYPE_CHECKING:
    from distributed import Client

Slides = dict[str, Path]


def with_(config: Config, **batch: object) -> Config:
    return config.model_copy(update={"batch": config.batch.model_copy(update=batch)})


@pytest.fixture(scope="module")
def done(slides: Slides, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on two processes; look, do not touch."""
    out = tmp_path_factory.mktemp("done")
    settings = load(overrides=[f"cluster.kind={scheduler}", "cluster.insecure=true"])
    run_cohort(manifest_of(slides), out, settings, until="coarsen")
    return out


def test_two_processes_give_the_bytes_of_a_bare_loop(done: Path, reference: dict[str, bytes]) -> None:
    assert content(done) == reference


@pytest.mark.parametrize("override", ["cluster.kind=threads", "cluster.workers=1"])
def test_so_do_threads_and_one_process(
    slides: Slides, reference: dict[str, bytes], tmp_path: Path, override: str
) -> None:
    config = load(overrides=["cluster.workers=2", override])
    summary = run_cohort(manifest_of(slides), tmp_path, config, until="coarsen").summary
    assert content(tmp_path) == reference
    assert len(summary["workers"]) == 1


def test_the_summary_names_the_manifest_for_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.csv").write_text("slide_id,path\nlater,\n")
    monkeypatch.chdir(tmp_path)
    table = read_manifest("m.csv", stage_names=("I", "II"))
    run_cohort(table, "runs", load(overrides=["cluster.kind=threads"]), until="tissue")
    assert json.loads((tmp_path / "runs" / "summary.json").read_text())["manifest"] == str(tmp_path / "m.csv")


def test_the_summary_tells_what_was_done(done: Path, slides: Slides) -> None:
    output = json.loads((done / "summary.json").read_text())
    assert (output["slides"], output["done"], output["skipped"], output["failed"]) == (5, 5, 0, 0)
    assert set(output["steps"]) == {"read", "tissue", "segment", "graph", "coarsen"}
    assert output["mpx"] == pytest.approx(5 * 700 * 800 / 1e6, abs=1e-3)
    assert 0 < output["mpx_per_s"] <= output["mpx"] / 0.1
    assert sum(worker["slides"] for worker in output["workers"].values()) == 5
    assert len(output["workers"]) == 2
    for worker in output["workers"].values():
        assert 0 < worker["busy_s"] <= output["seconds"] * 1.01
        assert 0.05 < worker["peak_gb"] < 4
    slowest = [one["seconds"] for one in output["slowest"]]
    assert len(slowest) == 5
    assert slowest == sorted(slowest, reverse=True)
    page = (done / "summary.md").read_text()
    assert "| done | 5 |" in page
    assert "## Slowest slides" in page
    assert "## Failures" not in page
    assert parquet.read_table(done / "failures.parquet").num_rows == 0


def test_nothing_is_repeated_that_is_done(
    done: Path, slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(done, tmp_path / "out")
    summary = run_cohort(manifest_of(slides), tmp_path / "out", on_two, until="coarsen").summary
    assert (summary["done"], summary["skipped"]) == (0, 5)
    assert summary["steps"] == {}
    changed = on_two.model_copy(update={"coarsening": on_two.coarsening.model_copy(update={"granularity": 3.0})})
    summary = run_cohort(manifest_of(slides), tmp_path / "out", changed, until="coarsen").summary
    assert summary["done"] == 5
    assert set(summary["steps"]) == {"read", "coarsen"}
    kept = {name for name in reference if not name.endswith("coarse.safetensors")}
    assert {name: content(tmp_path / "out")[name] for name in kept} == {name: reference[name] for name in kept}


def test_bad_slides_are_rows_and_the_others_are_done(
    slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.tiff"
    torn.write_bytes(slides["gamma"].read_bytes()[:50_000])
    unsized = tmp_path / "unsized.tiff"
    shutil.copy(slides["beta"], unsized)
    rows = [
        row(2, "alpha", slides["alpha"]),
        row(3, "torn", torn, patient_id="P9"),
        row(4, "absent", tmp_path / "absent.svs"),
        row(5, "planned", None),
        row(6, "other", slides["beta"], sha256="0" * 64),
        row(7, "delta", slides["delta"]),
    ]
    result = run_cohort(manifest_of(rows), tmp_path / "out", on_two, until="coarsen")
    assert (result.n_failed, result.summary["done"], result.summary["without_file"]) == (3, 2, 1)
    table = parquet.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert [(one["slide_id"], one["line"], one["error"], one["attempts"]) for one in table] == [
        ("torn", 3, "TruncatedSlide", 2),
        ("absent", 4, "UnreadableSlide", 2),
        ("other", 6, "UnreadableSlide", 2),
    ]
    assert table[0]["patient_id"] == "P9"
    assert {one["step"] for one in table} == {"read"}
    assert "cut short" in table[0]["message"]
    assert "as in the manifest" in table[2]["message"]
    expected = {name: kept for name, kept in reference.items() if name.split("/")[0] in ("alpha", "delta")}
    assert content(tmp_path / "out") == expected
    page = (tmp_path / "out" / "summary.md").read_text()
    assert "| torn | read | TruncatedSlide |" in page


def test_a_slide_corrupted_between_runs_fails_and_its_records_stay(
    done: Path, slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    shutil.copytree(done, tmp_path / "out")
    bad = tmp_path / "beta.tiff"
    bad.write_bytes(slides["beta"].read_bytes()[:-2] + b"xx")
    spoilt = {**slides, "beta": bad}
    result = run_cohort(manifest_of(spoilt), tmp_path / "out", on_two, until="coarsen")
    assert (result.n_failed, result.summary["skipped"]) == (1, 4)
    assert "belongs to another slide" in result.summary["failures"][0]["message"]
    assert content(tmp_path / "out") == reference
    # the sound file again
    assert run_cohort(manifest_of(slides), tmp_path / "out", on_two, until="coarsen").n_failed == 0
    assert parquet.read_table(tmp_path / "out" / "failures.parquet").num_rows == 0


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(
    slides: Slides, on_two: Config, client: Client, reference: dict[str, bytes], tmp_path: Path
) -> None:
    processes = client.run(os.getpid)
    killed: list[str] = []

    def kill(tally: Tally, active: list[Active]) -> None:
        for each in active:
            if not killed and each.step in ("tissue", "segment", "graph"):
                killed.append(each.row.slide_id)
                os.kill(processes[each.worker], signal.SIGKILL)

    result = run_cohort(manifest_of(slides), tmp_path, on_two, until="coarsen", watch=kill)
    assert killed
    assert (result.n_failed, result.summary["done"] + result.summary["skipped"]) == (0, 5)
    assert content(tmp_path) == reference


def test_a_worker_that_hangs_is_restarted_and_its_slide_done_elsewhere(
    slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    config = with_(on_two, stall_s=4.0)
    result = run_cohort(manifest_of(slides), tmp_path, config, until="coarsen", work=hang_once)
    (hung,) = [path.read_text().split() for path in [tmp_path / "hung"]]
    assert result.n_failed == 0
    assert result.summary["attempts_repeated"] == 1
    assert content(tmp_path) == reference
    with pytest.raises(ProcessLookupError):
        _wait_until_gone(int(hung[1]))


def _wait_until_gone(process: int) -> None:
    import time

    for _ in range(300):
        os.kill(process, 0)
        time.sleep(0.1)


def test_a_slide_is_tried_again_on_another_worker(slides: Slides, on_two: Config, tmp_path: Path) -> None:
    for name in ("alpha", "beta", "gamma"):
        out = tmp_path / name
        out.mkdir()
        result = run_cohort(manifest_of({name: slides[name]}), out, on_two, until="coarsen", work=fail_once)
        assert (result.n_failed, result.summary["attempts_repeated"]) == (0, 1)
        assert (out / f"tried-{name}").read_text() != (out / f"again-{name}").read_text()
    once = run_cohort(
        manifest_of(slides), tmp_path / "once", with_(on_two, attempts=1), until="coarsen", work=fail_once
    )
    assert once.n_failed == 5
    assert {one["attempts"] for one in once.summary["failures"]} == {1}


def test_a_slide_that_kills_its_workers_is_a_row(slides: Slides, on_two: Config, tmp_path: Path) -> None:
    config = with_(on_two, attempts=1)
    result = run_cohort(manifest_of({"alpha": slides["alpha"]}), tmp_path, config, until="coarsen", work=die)
    assert result.n_failed == 1
    (failure,) = result.summary["failures"]
    assert failure["error"] == "KilledWorker"
    assert "memory" in failure["message"]


def test_an_unknown_step_is_refused_before_a_cluster_is_started(slides: Slides, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--until: step 'explode' is unknown; expected one of read, "):
        run_cohort(manifest_of(slides), tmp_path / "out", until="explode")
    with pytest.raises(ConfigError, match=r"batch\.gpu_steps: step 'paint' is unknown"):
        run_cohort(manifest_of(slides), tmp_path / "out", load(overrides=["batch.gpu_stages=[paint]"]))
    assert not (tmp_path / "out").exists()
