"""The database of jobs goes away while jobs run: each ends done once, none is left running for ever."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.contexts import light, marks, settings, slow
from tests.service.databases import Server, postgres_server
from tests.service.test_supervisor import Work, add, until
from wsigraph.service.jobs.schema import DONE, QUEUED, RUNNING
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.jobs.supervisor import JobSupervisor

_CLAIM_S = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


def dispatching(store: JobStore, results: Path, work: Work, *overrides: str) -> JobSupervisor:
    results.mkdir(exist_ok=True)
    config = settings("cluster.kind=threads", "cluster.workers=2", f"service.claim_s={_CLAIM_S:g}", *overrides)
    supervisor = JobSupervisor(store, results, config, work=work)
    supervisor.start()
    return supervisor


def begun(results: Path, jobs: list[str]) -> int:
    return sum(marks(results / job / "begun") for job in jobs)


def check_done_once(store: JobStore, results: Path, jobs: list[str]) -> None:
    found = {each.job_id: each for each in store.latest()}
    assert {job: (found[job].state, found[job].completions) for job in jobs} == dict.fromkeys(jobs, (DONE, 1))
    assert [marks(results / job / "finished") for job in jobs] == [1] * len(jobs)
    # the work itself outlasted the outage: nothing was begun a second time
    assert begun(results, jobs) == len(jobs)


@pytest.mark.parametrize("ends_meanwhile", [True, False], ids=["ends while it is away", "ends after it is back"])
def test_postgresql_is_restarted_in_the_middle_of_jobs(server: Server, tmp_path: Path, ends_meanwhile: bool) -> None:
    store, results = JobStore(server.url), tmp_path / "results"
    earlier = [each.job_id for each in store.latest()]
    jobs = [each.job_id for each in add(store, 3, f"slide-{ends_meanwhile}")]
    supervisor = dispatching(store, results, slow)
    try:
        until(lambda: begun(results, jobs) == 2, "two have begun, and one waits")
        server.stop()
        until(lambda: "does not answer" in supervisor.detail, "the outage is told")
        if ends_meanwhile:
            (results / "go").touch()
        # longer than claims hold, so that another service could take the jobs over
        time.sleep(_CLAIM_S + 1.0)
        server.start()
        (results / "go").touch()
        until(lambda: store.count()[DONE] == len(earlier) + 3, "all are done")
        assert supervisor.detail == ""
    finally:
        supervisor.close()
    check_done_once(store, results, jobs)
    store.close()


def test_postgresql_goes_away_again_and_again(server: Server, tmp_path: Path) -> None:
    store, results = JobStore(server.url), tmp_path / "results"
    earlier = len(store.latest())
    jobs = [each.job_id for each in add(store, 40, "many")]
    supervisor = dispatching(store, results, light)
    try:
        for number in range(4):
            time.sleep(0.37 * (number + 1))
            server.stop()
            server.start()
        until(lambda: store.count()[DONE] == earlier + len(jobs), "all are done")
    finally:
        supervisor.close()
    found = {each.job_id: each for each in store.latest()}
    assert all(found[job].completions == 1 for job in jobs)
    assert [marks(results / job / "finished") for job in jobs] == [1] * len(jobs)
    store.close()


def test_sqlite_is_locked_in_the_middle_of_jobs(tmp_path: Path) -> None:
    path, results = tmp_path / "jobs.sqlite", tmp_path / "results"
    store, looking = JobStore(f"sqlite:///{path}?timeout=0.2"), JobStore(f"sqlite:///{path}")
    jobs = [each.job_id for each in add(store, 3)]
    supervisor = dispatching(store, results, slow)
    try:
        until(lambda: begun(results, jobs) == 2, "two have begun, and one waits")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        until(lambda: "does not answer" in supervisor.detail, "the outage is told")
        (results / "go").touch()
        time.sleep(_CLAIM_S + 1.0)
        other.execute("ROLLBACK")
        other.close()
        until(lambda: looking.count()[DONE] == 3, "all are done")
    finally:
        supervisor.close()
    check_done_once(looking, results, jobs)
    looking.close()
    store.close()


def test_claims_that_nothing_runs_under_are_given_back_by_their_service(tmp_path: Path) -> None:
    """As after a claim whose answer was lost: the database has it, and the service knows nothing of it."""
    store, results = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}"), tmp_path / "results"
    supervisor = dispatching(store, results, light)
    try:
        until(lambda: supervisor.n_workers > 0, "workers are there")
        jobs = [each.job_id for each in add(store, 3)]
        store.claim(supervisor.instance, 3, 3600.0)
        until(lambda: store.count()[DONE] == 3, "all are done", 20.0)
    finally:
        supervisor.close()
    check_done_once(store, results, jobs)
    store.close()


def test_a_job_that_another_service_took_over_is_let_go(tmp_path: Path) -> None:
    store, results = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}"), tmp_path / "results"
    (made,) = add(store, 1)
    supervisor = dispatching(store, results, slow)
    try:
        until(lambda: begun(results, [made.job_id]) == 1, "it has begun")
        assert store.release_claims(supervisor.instance) == 1
        (taken,) = store.claim("another", 1, 60)
        (results / "go").touch()
        time.sleep(_CLAIM_S)
        assert (store.find(made.job_id).state, store.find(made.job_id).claimed_by) == (RUNNING, "another")
    finally:
        supervisor.close()
    assert store.finish(taken.job_id, "another", DONE)
    assert store.find(made.job_id).completions == 1
    store.close()


def test_a_service_that_ends_during_an_outage_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    store, results = JobStore(server.url), tmp_path / "results"
    (made,) = add(store, 1, "left")
    supervisor = dispatching(store, results, slow)
    until(lambda: begun(results, [made.job_id]) == 1, "it has begun")
    server.stop()
    supervisor.close()
    (results / "go").touch()
    server.start()
    assert store.find(made.job_id).state == RUNNING
    following = dispatching(store, results, slow)
    try:
        until(lambda: store.find(made.job_id).state == DONE, "the next service takes it over")
    finally:
        following.close()
    assert (store.find(made.job_id).completions, store.count()[QUEUED]) == (1, 0)
    store.close()
