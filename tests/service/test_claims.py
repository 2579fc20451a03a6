"""Claims on jobs: compared by the database's clock, renewed by who runs them, released when their service ended."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.contexts import light, marks
from tests.service.databases import Server, postgres_server
from tests.service.test_outage import dispatching
from tests.service.test_supervisor import add, until
from wsigraph.service.jobs.instance import is_ended, new_instance
from wsigraph.service.jobs.schema import DONE, QUEUED, RESUMING, RUNNING
from wsigraph.service.jobs.store import JobStore


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    return str(request.getfixturevalue("server").url)


def test_a_clock_that_is_wrong_steals_no_running_job(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(url)
    (job,) = add(store, 1, f"clock-{time.time_ns()}")
    assert [each.job_id for each in store.claim("one", 1, 30.0)] == [job.job_id]
    # another service, whose clock is an hour ahead
    monkeypatch.setattr(time, "time", lambda: 1e9 + 3600 * 24 * 365 * 40)
    other = JobStore(url)
    assert other.release_claims() == 0
    other.close()
    assert store.find(job.job_id).state == RUNNING
    # and one that is behind renews what it runs for the same time
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert store.renew("one", [job.job_id], 0.3) == {job.job_id}
    time.sleep(0.5)
    assert store.release_claims() == 1
    released = store.find(job.job_id)
    assert (released.state, released.step) == (QUEUED, RESUMING)
    store.claim("two", 1, 30.0)
    assert store.finish(job.job_id, "two", DONE)
    store.close()


def test_the_claims_of_a_service_that_was_killed_are_released_at_once(url: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from wsigraph.service.jobs.instance import new_instance; print(new_instance())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert is_ended(ended)
    assert not is_ended(new_instance())
    assert not is_ended("elsewhere-1-abc")
    store, results = JobStore(url), tmp_path / "results"
    (job,) = add(store, 1, f"killed-{time.time_ns()}")
    store.claim(ended, 1, 3600.0)
    began = time.monotonic()
    supervisor = dispatching(store, results, light)
    try:
        until(lambda: store.find(job.job_id).state == DONE, "it is done", 60.0)
    finally:
        supervisor.close()
    assert time.monotonic() - began < 15.0
    assert marks(results / job.job_id / "finished") == 1
    store.close()
