"""A job goes on within seconds after its worker was killed, and says that it is resuming."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.contexts import mark, marks
from tests.service.test_supervisor import add, running, scheduler, until
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.service.jobs.schema import DONE, FAILED, RESUMING
from wsigraph.service.jobs.store import JobStore

__all__ = ["scheduler"]
_WITHIN_S = 15.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield opened
    opened.close()


def reporting(job: Job) -> Outcome:
    """Say who works, and wait until a file says that the work may end; the second time only after another one."""
    from distributed import get_worker

    from wsigraph.run.batch.work import topic

    worker, out = get_worker(), Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    again = (out / "begun").exists()
    mark(out / "begun")
    end = time.monotonic() + 60
    event = {"slide": job.slide_id, "worker": worker.address, "stage": "graph", "done": 0, "total": 1}
    while not (out.parent / "go").exists() and time.monotonic() < end:
        if not again or (out.parent / "report").exists():
            worker.log_event(topic(job.run_id), event)
        time.sleep(0.1)
    return Outcome(status="done")


def fail_here(job: Job) -> Outcome:
    """Fail, and leave the address of the worker."""
    from distributed import get_worker

    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "workers").open("a") as stream:
        stream.write(f"{get_worker().address}\n")
    return Outcome(
        status="failed", worker=get_worker().address, step="read", error="UnreadableSlide", message="bad disk"
    )


def test_a_job_goes_on_after_its_worker_was_killed(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "results"
    (job,) = add(store, 1)
    with running(store, results, scheduler, reporting):
        until(lambda: store.find(job.job_id).step == "graph", "it runs")
        victim = int((results / job.job_id / "begun").read_text().splitlines()[0])
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: store.find(job.job_id).step == RESUMING, "it says that it is resuming")
        until(lambda: marks(results / job.job_id / "begun") == 2, "another worker goes on")
        (results / "report").touch()
        until(lambda: store.find(job.job_id).step == "graph", "it runs again")
        took = time.monotonic() - began
        (results / "go").touch()
        until(lambda: store.find(job.job_id).state == DONE, "it is done")
    print(f"a killed worker: {took:.1f} s")
    assert took < _WITHIN_S
    assert store.find(job.job_id).completions == 1


def test_a_job_that_failed_is_tried_on_another_worker(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "results"
    (job,) = add(store, 1)
    with running(store, results, scheduler, fail_here):
        until(lambda: store.find(job.job_id).state == FAILED, "it has failed")
    first, second = (results / job.job_id / "workers").read_text().split()
    assert first != second
    assert store.find(job.job_id).attempts == 2


def test_steps_on_a_gpu_wait_for_a_worker_that_has_one(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    add(store, 1)
    with running(store, tmp_path / "results", scheduler, reporting, "batch.gpu_steps=['predict']") as supervisor:
        until(lambda: "no worker offers the resource GPU" in supervisor.detail, "the reason is stated", 60.0)
