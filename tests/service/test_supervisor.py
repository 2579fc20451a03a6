"""Jobs on workers: killed, restarted, cancelled, shared; none is lost and none is done twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.contexts import deadly, hang, light, marks, settings, slow
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.service.jobs.running_job import RunningJob, inherit
from wsigraph.service.jobs.schema import CANCELLED, DONE, FAILED, QUEUED, RUNNING, StoredJob, new_job
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.jobs.supervisor import JobSupervisor

Work = Callable[[Job], Outcome]


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two worker processes, which outlives the services of this module."""
    import logging

    import dask
    from distributed import LocalCluster

    options = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    opened = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield opened
    opened.close()


def add(store: JobStore, n: int, name: str = "slide") -> list[StoredJob]:
    made = []
    for number in range(n):
        one = new_job(
            key=f"{name}-{number}", slide_key=f"{name}-{number}", slide_id=f"{name}-{number}", sha256="0" * 64,
            path="x.svs", kind="predict", target="", owner="one",
        )  # fmt: skip
        made.append(store.create(replace(one, created_at=1e9 + number), queue_max=10_000, owner_max=10_000)[0])
    return made


@contextmanager
def running(store: JobStore, results: Path, scheduler: str, work: Work, *overrides: str) -> Iterator[JobSupervisor]:
    results.mkdir(exist_ok=True)
    config = settings(f"cluster.kind={scheduler}", "cluster.insecure=true", *overrides)
    supervisor = JobSupervisor(store, results, config, work=work)
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.close()


def until(condition: Callable[[], bool], what: str, wait_s: float = 90.0) -> None:
    end = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def kill_a_worker(scheduler: str) -> None:
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        victim = next(iter(client.run(os.getpid).values()))
    os.kill(victim, signal.SIGKILL)


def check_once(store: JobStore, results: Path, n: int) -> None:
    """Check that every job is done, once by the store and at least once, at most once at its end, on disk."""
    found = store.latest(limit=1000)
    assert len(found) == n
    assert {each.state for each in found} == {DONE}
    assert all(each.completions == 1 for each in found)
    assert all(marks(results / each.job_id / "finished") == 1 for each in found)


def work_through(store: JobStore, results: Path, scheduler: str, n: int) -> None:
    add(store, n)
    with running(store, results, scheduler, light):
        until(lambda: store.count()[DONE] >= n // 4, "a quarter is done")
        kill_a_worker(scheduler)
        until(lambda: store.count()[DONE] == n, "all are done")
    check_once(store, results, n)


def test_a_worker_is_killed_while_jobs_wait(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    work_through(store, tmp_path / "results", scheduler, 20)


@pytest.mark.slow
def test_a_worker_is_killed_while_a_hundred_jobs_wait(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    work_through(store, tmp_path / "results", scheduler, 100)


def test_a_job_that_takes_its_worker_down_is_tried_elsewhere(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "results"
    add(store, 1, "doomed")
    add(store, 3)
    with running(store, results, scheduler, deadly):
        until(lambda: store.count()[DONE] == 4, "all are done")
    check_once(store, results, 4)


def test_a_service_ends_in_the_middle_and_the_next_goes_on(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "results"
    add(store, 12)
    with running(store, results, scheduler, light):
        until(lambda: store.count()[DONE] >= 3, "some are done")
    left = store.count()
    assert left[RUNNING] == 0
    assert left[QUEUED] + left[DONE] == 12
    with running(store, results, scheduler, light):
        until(lambda: store.count()[DONE] == 12, "the others are done")
    found = store.latest()
    assert all(each.completions == 1 for each in found)


def test_a_job_that_runs_and_one_that_waits_are_cancelled(store: JobStore, tmp_path: Path, scheduler: str) -> None:
    results = tmp_path / "results"
    first, second, third = add(store, 3)
    with running(store, results, scheduler, slow, "service.jobs_at_once=1") as supervisor:
        until(lambda: marks(results / first.job_id / "begun") == 1, "the first has begun")
        assert store.cancel(second.job_id).state == CANCELLED
        store.cancel(first.job_id)
        supervisor.wake()
        until(lambda: store.find(first.job_id).state == CANCELLED, "the first is cancelled")
        until(lambda: marks(results / third.job_id / "begun") == 1, "the third has begun")
        (results / "go").touch()
        until(lambda: store.find(third.job_id).state == DONE, "the third is done")
    assert marks(results / second.job_id / "begun") == 0
    assert store.count()[CANCELLED] == 2


def test_what_is_wrong_with_a_slide_is_told_as_the_command_tells_it(
    store: JobStore, tmp_path: Path, scheduler: str
) -> None:
    (made,) = add(store, 1)
    with running(store, tmp_path / "results", scheduler, None):  # type: ignore[arg-type]
        until(lambda: store.find(made.job_id).state == FAILED, "it has failed")
    failed = store.find(made.job_id)
    # as in a cohort, a slide that does not open is tried on another worker (batch.attempts)
    assert (failed.error, failed.step, failed.attempts) == ("UnreadableSlide", "read", 2)
    assert failed.message == "slide 'x.svs' does not exist; check the path"


def test_the_fraction_never_goes_back() -> None:
    running_job = RunningJob(job=new_job(
        key="k", slide_key="k", slide_id="s", sha256="0", path="p", kind="explain", target="risk", owner="o",
    ), run_id="r")  # fmt: skip
    seen = []
    for stage, done in [
        ("read", 0),
        ("tissue", 1),
        ("segment", 5),
        ("segment", 2),
        ("graph", 0),
        ("nonsense", 5),
        ("page", 10),
    ]:
        running_job.update_progress({"stage": stage, "done": done, "total": 10})
        seen.append(running_job.fraction)
    assert seen == sorted(seen)
    assert 0.9 < seen[-1] < 1.0


def test_a_job_inherits_records_without_sharing_their_fate(tmp_path: Path) -> None:
    source, target = tmp_path / "a" / "s", tmp_path / "b" / "s"
    (source / "tissue.zarr").mkdir(parents=True)
    (source / "tissue.zarr" / "c").write_bytes(b"1")
    (source / "slide.json").write_bytes(b"2")
    target.parent.mkdir()
    inherit(source, target)
    assert (target / "tissue.zarr" / "c").read_bytes() == b"1"
    (target / "slide.json").unlink()
    assert (source / "slide.json").read_bytes() == b"2"
    inherit(tmp_path / "nothing", target)
    assert not (target / "slide.json").exists()


def test_a_job_that_hangs_is_given_up_and_its_worker_begins_anew(
    store: JobStore, tmp_path: Path, scheduler: str
) -> None:
    (made,) = add(store, 1)
    with running(store, tmp_path / "results", scheduler, hang, "batch.stall_s=1", "batch.attempts=2"):
        until(lambda: store.find(made.job_id).state == FAILED, "it is given up")
    failed = store.find(made.job_id)
    assert (failed.error, failed.attempts, failed.step) == ("TimeoutError", 2, "graph")
    assert "no progress for 1 s" in failed.message


def test_results_that_are_gone_are_made_again(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from tests.service.contexts import make_context, write_slide
    from wsigraph.service.app import create_app

    write_slide(tmp_path / "s.tiff")
    with TestClient(create_app(make_context(tmp_path)), base_url="http://127.0.0.1") as client:
        own: JobStore = client.app.state.service.store
        first = client.post("/v1/jobs", json={"slide_id": "s"}).json()["job_id"]
        own.claim("a", 1, 30)
        own.finish(first, "a", DONE)
        assert client.get(f"/v1/jobs/{first}/results/prediction.json").status_code == 404
        again = client.post("/v1/jobs", json={"slide_id": "s"})
        assert (again.status_code, again.json()["state"]) == (201, QUEUED)
        broken = tmp_path / "broken.svs"
        broken.write_bytes(b"II*\0" + bytes(100))
        client.app.state.service.catalogue.forget()
        assert client.post("/v1/jobs", json={"slide_id": "broken"}).status_code == 422
