"""PostgreSQL is killed at random points of the lives of jobs: each ends done once, by the database and by its results.

The short form runs with the other tests. The long one kills the database 200 times and is run by name; ``-s`` shows the
seed, with which ``WSIGRAPH_SEED`` repeats it::

    python -m pytest -s -m slow tests/service/test_database_kills.py
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.service.contexts import light, marks
from tests.service.databases import Server, postgres_server
from tests.service.test_outage import dispatching
from tests.service.test_supervisor import add, until
from wsigraph.errors import StoreError
from wsigraph.service.jobs.schema import DONE, StoredJob
from wsigraph.service.jobs.store import JobStore


def kill_again_and_again(server: Server, results: Path, n_kills: int) -> None:
    """Kill the database `n_kills` times while jobs are made, claimed, run and finished; check every job at the end."""
    seed = int(os.environ.get("WSIGRAPH_SEED") or secrets.randbelow(2**32))
    print(f"seed {seed}", flush=True)
    rng = random.Random(seed)
    store = JobStore(server.url)
    jobs: list[StoredJob] = []
    states: Counter[str] = Counter()
    supervisor = dispatching(store, results, light)
    try:
        until(lambda: supervisor.n_workers > 0, "workers are there")
        for number in range(n_kills):
            jobs += add(store, rng.randint(1, 3), f"kill-{number}")
            time.sleep(rng.uniform(0.0, 2.5))
            states += Counter(job.state for job in jobs_now(store, jobs[-6:]))
            server.stop()
            server.start()
        until(lambda: store.count()[DONE] == len(jobs), "all are done", 300.0)
    finally:
        supervisor.close()
    stored = {job.job_id: job for job in store.latest(limit=10_000)}
    assert {(job.state, job.completions) for job in stored.values()} == {(DONE, 1)}
    assert len(stored) == len(jobs)
    for job in jobs:
        directory = results / job.job_id
        assert marks(directory / "finished") == 1
        assert (directory / job.slide_id / "prediction.json").read_bytes() == b"{}"
    print(f"{n_kills} kills, {len(jobs)} jobs, each done once; states just before a kill: {dict(states)}", flush=True)
    store.close()


def jobs_now(store: JobStore, jobs: list[StoredJob]) -> list[StoredJob]:
    try:
        return [store.find(job.job_id) for job in jobs]
    except StoreError:
        # connections of the time before the last kill
        return []


def test_the_database_is_killed_while_jobs_run(tmp_path: Path) -> None:
    with postgres_server() as server:
        kill_again_and_again(server, tmp_path / "results", 5)


@pytest.mark.slow
def test_the_database_is_killed_two_hundred_times(tmp_path: Path) -> None:
    with postgres_server() as server:
        kill_again_and_again(server, tmp_path / "results", 200)
