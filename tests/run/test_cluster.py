"""Where the work is done: SLURM jobs, schedulers that are away, workers that do not serve, GPUs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.run.batch.cohorts import content, do_nothing, hang_once, manifest_of
from tests.slurm import fake_slurm
from wsigraph.config import Config, load
from wsigraph.errors import ClusterError
from wsigraph.run import cluster
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.batch.tally import Tally
from wsigraph.run.cluster import connect, for_slides, job_script
from wsigraph.run.step_tasks import StepTask, plan_tasks

Slides = dict[str, Path]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM of this machine: sbatch runs the script, scancel ends it."""
    folder = tmp_path / "slurm"
    for name, value in fake_slurm(folder).items():
        monkeypatch.setenv(name, value)
    return folder


def test_the_job_script_says_what_the_settings_say() -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    settings = load(
        overrides=[
            "cluster.kind=slurm", "cluster.slurm_queue=long", "cluster.slurm_account=path", "cluster.slurm_cores=4",
            "cluster.slurm_memory=16GB", "cluster.slurm_walltime='02:30:00'", "cluster.gpus=1",
            "cluster.slurm_directives=['--gres=gpu:1']", "cluster.slurm_prologue=['module load python']",
        ]
    )  # fmt: skip
    lines = job_script(settings.cluster).splitlines()
    assert lines[0].startswith("#!")
    for directive in ("-J wsigraph", "-p long", "-A path", "-n 1", "--cpus-per-task=4", "-t 02:30:00", "--gres=gpu:1"):
        assert f"#SBATCH {directive}" in lines
    assert any(line.startswith("#SBATCH --mem=") for line in lines)
    assert "module load python" in lines
    (start,) = [line for line in lines if "distributed.cli.dask_worker" in line or "dask worker" in line]
    assert start.startswith(sys.executable)
    assert "tls://SCHEDULER:PORT" in start
    assert re.search(r"--tls-ca-file (\S+)/ca.pem --tls-cert \1/cert.pem --tls-key \1/key.pem", start)
    assert "--worker-class wsigraph.run.cluster_nodes.QuietWorker" in start
    assert "--nworkers 4" in start
    assert "--nthreads 1" in start
    assert "--resources 'GPU=1'" in start


def test_a_run_on_slurm_submits_works_and_cancels(
    slurm: Path, slides: Slides, reference: dict[str, bytes], tmp_path: Path
) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    words = ["kind=slurm", "slurm_cores=1", "slurm_memory=4GB", "slurm_interface=lo", "wait_s=90"]
    config = load(overrides=[f"cluster.{word}" for word in words])
    manifest = manifest_of({name: slides[name] for name in ("alpha", "beta")})
    result = run_cohort(manifest, tmp_path / "out", config, until="coarsen")
    assert (result.n_failed, result.summary["done"]) == (0, 2), (slurm / "log").read_text()
    assert content(tmp_path / "out") == {
        name: kept for name, kept in reference.items() if name.split("/")[0] in ("alpha", "beta")
    }
    assert "#SBATCH -J wsigraph" in (slurm / "script").read_text()
    assert "4711" in (slurm / "cancelled").read_text()


@pytest.mark.parametrize(
    ("words", "directives"),
    [
        (["gpus=1"], ["#SBATCH --gres=gpu:4"]),
        (["gpus=2", "workers=6"], ["#SBATCH --gres=gpu:6"]),
        (["gpus=1", "slurm_directives=['--gres=gpu:a100:1']"], ["#SBATCH --gres=gpu:a100:1"]),
        (["gpus=1", "slurm_directives=['--gpus-per-node=1']"], []),
        (["gpus=0"], []),
    ],
)
def test_a_job_requests_the_gpus_of_its_workers(words: list[str], directives: list[str]) -> None:
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    common = ["cluster.kind=slurm", "cluster.slurm_cores=4", "cluster.slurm_memory=16GB"]
    settings = load(overrides=[*common, *(f"cluster.{word}" for word in words)])
    assert [line for line in job_script(settings.cluster).splitlines() if "gres" in line] == directives


def test_nine_slides_ask_slurm_for_two_jobs_of_five_workers(slurm: Path) -> None:
    """Not for the four jobs of eight workers that the settings allow."""
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
    # a queue in which nothing starts
    (slurm / "sbatch").write_text(
        '#!/bin/sh\nfor script; do :; done\ncat "$script" >> "$FAKE_SLURM/scripts"\n'
        'echo x >> "$FAKE_SLURM/submitted"\necho "Submitted batch job 4711"\n'
    )
    (slurm / "job").write_text("999999999")
    words = ["kind=slurm", "workers=32", "slurm_cores=8", "slurm_memory=4GB", "slurm_interface=lo", "wait_s=2"]
    config = load(overrides=[f"cluster.{word}" for word in words]).cluster
    with pytest.raises(ClusterError, match="no worker has joined"), connect(for_slides(config, 9)):
        pass
    assert (slurm / "submitted").read_text().split() == ["x", "x"]
    assert (slurm / "scripts").read_text().count("--nworkers 5") == 2


def test_a_scheduler_that_does_not_answer_is_named(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    config = load(overrides=["cluster.kind=tcp://127.0.0.1:1", "cluster.insecure=true"])
    with pytest.raises(ClusterError, match=r"no scheduler answers at tcp://127.0.0.1:1 .*dask scheduler"):
        run_cohort(manifest_of(slides), tmp_path, config, until="graph")


def test_a_worker_of_another_version_is_refused(on_two: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.wsigraph, "__version__", "9.9.9")
    expected = r"runs wsigraph .*, expected wsigraph 9\.9\.9; install the same wheel"
    with pytest.raises(ClusterError, match=expected), connect(on_two.cluster):
        pass


@pytest.fixture
def lone(tmp_path: Path) -> list[subprocess.Popen[bytes]]:
    """A scheduler and a worker as processes of their own; the scheduler's address lies in a file."""
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    started = [subprocess.Popen([sys.executable, *words, "--scheduler-file", str(file)], **quiet)]  # type: ignore[call-overload]
    worker = ["-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-dashboard", "--death-timeout", "60"]
    started.append(subprocess.Popen([sys.executable, *worker, "--scheduler-file", str(file)], **quiet))  # type: ignore[call-overload]
    yield started  # type: ignore[misc]
    for process in started:
        process.kill()
        process.wait()


def test_a_scheduler_killed_in_the_middle_ends_the_run_and_nothing_is_lost(
    lone: list[subprocess.Popen[bytes]], slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    import json
    import time

    file = tmp_path / "scheduler.json"
    while not file.exists() or not file.read_text():
        time.sleep(0.1)
    config = load(
        overrides=[
            f"cluster.kind={json.loads(file.read_text())['address']}", "cluster.insecure=true", "batch.lease_beat_s=0.2"
        ]
    )  # fmt: skip

    def kill(tally: Tally, active: list[Active]) -> None:
        if tally.done >= 1 and any(each.step for each in active):
            lone[0].send_signal(signal.SIGKILL)

    out = tmp_path / "out"
    with pytest.raises(ClusterError, match="the scheduler is gone; start one and run the same command again"):
        run_cohort(manifest_of(slides), out, config, until="coarsen", watch=kill)
    output = json.loads((out / "summary.json").read_text())
    assert output["status"] == "stopped"
    result = run_cohort(manifest_of(slides), out, on_two, until="coarsen")
    assert (result.n_failed, result.summary["done"] + result.summary["skipped"]) == (0, 5)
    assert result.summary["skipped"] >= 1
    assert content(out) == reference


def test_a_gpu_is_requested_for_its_steps_alone() -> None:
    assert plan_tasks("predict", ()) == (StepTask(until="predict", on_gpu=False),)
    assert plan_tasks("predict", ("graph",)) == (
        StepTask(until="segment", on_gpu=False),
        StepTask(until="graph", on_gpu=True),
        StepTask(until="predict", on_gpu=False),
    )
    assert plan_tasks("graph", ("graph", "predict"))[-1] == StepTask(until="graph", on_gpu=True)
    assert plan_tasks("read", ("read",)) == (StepTask(until="read", on_gpu=True),)


def test_gpu_steps_run_where_a_gpu_is_offered(slides: Slides, reference: dict[str, bytes], tmp_path: Path) -> None:
    wanted = ["batch.gpu_steps=[graph]", "cluster.kind=threads", "cluster.workers=1"]
    with pytest.raises(ClusterError, match=r"no worker offers the resource GPU; set cluster\.gpus"):
        run_cohort(manifest_of(slides), tmp_path / "none", load(overrides=wanted), until="coarsen", work=do_nothing)
    manifest = manifest_of({"alpha": slides["alpha"]})
    config = load(overrides=[*wanted, "cluster.gpus=1"])
    summary = run_cohort(manifest, tmp_path / "out", config, until="coarsen").summary
    assert summary["done"] == 1
    assert set(summary["steps"]) == {"read", "tissue", "segment", "graph", "coarsen"}
    assert {one["slides"] for one in summary["steps"].values()} == {1}
    assert content(tmp_path / "out") == {name: kept for name, kept in reference.items() if name.startswith("alpha/")}
    summary = run_cohort(manifest, tmp_path / "out", config, until="coarsen").summary
    assert (summary["done"], summary["skipped"]) == (0, 1)


def test_a_hanging_thread_does_not_hold_up_the_others(
    slides: Slides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_CLOSE_S", 1)
    config = load(overrides=["cluster.kind=threads", "cluster.workers=2", "batch.stall_s=2", "batch.lease_beat_s=0.2"])
    result = run_cohort(manifest_of(slides), tmp_path, config, until="tissue", work=hang_once)
    assert (result.n_failed, result.summary["done"]) == (0, 5)


def test_local_workers_keep_the_memory_they_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handing it back at once, as dask has it, costs a fifth of the time of a slide."""
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    settings = load(overrides=["cluster.kind=local", "cluster.workers=1"]).cluster
    with connect(settings) as made:
        assert made.client.submit(os.environ.get, "MALLOC_TRIM_THRESHOLD_").result() is None
