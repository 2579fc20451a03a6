"""The tables of jobs: made once where several services start, brought forward from earlier versions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, insert, text

from tests.service.contexts import make_context, write_slide
from tests.service.databases import Server, postgres_server
from tests.service.serving import serving
from wsigraph.errors import DatabaseUnavailable, StoreError
from wsigraph.service.jobs import schema
from wsigraph.service.jobs.database import open_database
from wsigraph.service.jobs.migrations import HEAD, VERSION_TABLE, migrate
from wsigraph.service.jobs.store import JobStore

_START = (
    "import sys; from wsigraph.service.jobs.store import JobStore; sys.stdin.read(1); JobStore(sys.argv[1]).count()"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


def clear(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


def start_at_once(url: str, n: int = 4) -> None:
    """Start processes that all open the database in the same moment."""
    command = [sys.executable, "-c", _START, url]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(n)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("x")
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * n, errors


def test_services_that_start_at_once_on_an_empty_postgresql(server: Server) -> None:
    clear(server.url)
    start_at_once(server.url)
    # threads come closer to one another than processes
    for _ in range(8):
        clear(server.url)
        barrier = threading.Barrier(6)

        def start(barrier: threading.Barrier = barrier) -> None:
            barrier.wait(30)
            store = JobStore(server.url)
            store.count()
            store.close()

        with ThreadPoolExecutor(6) as threads:
            for started in [threads.submit(start) for _ in range(6)]:
                started.result(60)


def test_services_that_start_at_once_on_an_empty_sqlite(tmp_path: Path) -> None:
    start_at_once(f"sqlite:///{tmp_path / 'jobs.sqlite'}", 3)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrated_tables_are_those_of_the_schema(kind: str, server: Server, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}" if kind == "sqlite" else server.url
    if kind == "postgresql":
        clear(url)
    JobStore(url).close()
    engine = open_database(url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata) == []
        assert connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one() == HEAD
    engine.dispose()


def test_a_database_of_an_earlier_version_keeps_its_jobs(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    engine = open_database(url)
    # the tables that there were before migrations
    schema.metadata.create_all(engine, tables=[schema.jobs, schema.digests, schema.schema])
    with engine.begin() as connection:
        connection.execute(insert(schema.schema).values(version=1))
        connection.execute(insert(schema.digests).values(version="v", sha256="s"))
    store = JobStore(url)
    assert store.find_digest("v") == "s"
    store.close()
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(StoreError, match="tables of revision 9999, expected at most"):
        migrate(engine)
    engine.dispose()


def processes_of(server: Server) -> list[int]:
    """Return the processes of a server, the first one last, so that it starts no others meanwhile."""
    first = int((server.folder / "cluster" / "postmaster.pid").read_text().split()[0])
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(first)], capture_output=True, text=True, check=True)
    return [first, *map(int, listed.stdout.split())]


@pytest.mark.slow
def test_a_hung_postgresql_blocks_neither_tiles_nor_threads(server: Server, tmp_path: Path) -> None:
    """The processes of the server are stopped: connections stay open, new ones are accepted, nothing is answered."""
    clear(server.url)
    write_slide(tmp_path / "s.tiff")
    service = make_context(tmp_path, f"service.database={server.url}", "service.database_time_s=1.5")
    with serving(service) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/v1/slides/s/tiles/9/0_0.jpeg").status_code == 200
        assert client.get("/v1/jobs").status_code == 200
        stopped = processes_of(server)
        for process in stopped:
            os.kill(process, signal.SIGSTOP)
        try:
            with ThreadPoolExecutor(40) as threads:
                started = time.monotonic()
                asked = [threads.submit(client.get, "/v1/jobs") for _ in range(40)]
                for number in range(4):
                    before = time.monotonic()
                    assert client.get(f"/v1/slides/s/tiles/{9 - number}/0_0.jpeg").status_code == 200
                    assert client.get("/v1/slides").status_code == 200
                    assert time.monotonic() - before < 3.0
                answers = [each.result() for each in asked]
                took = time.monotonic() - started
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.json()["title"] for answer in answers} == {"DatabaseUnavailable"}
            print(f"40 requests: {took:.1f} s")
            assert took < 10.0
            # the connection that made the tables gets no longer limit than others
            for _ in range(4):
                time.sleep(2.5)
                before = time.monotonic()
                assert client.get("/v1/jobs").status_code == 503
                assert time.monotonic() - before < 5.0
            # no answer names the database
            assert str(server.folder) not in "".join(answer.text for answer in answers) + client.get("/v1/ready").text
        finally:
            for process in stopped:
                os.kill(process, signal.SIGCONT)
        until = time.monotonic() + 30
        while client.get("/v1/jobs").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_database_that_is_away_is_503_and_its_address_is_hidden(server: Server) -> None:
    clear(server.url)
    store = JobStore(server.url)
    server.stop()
    try:
        with pytest.raises(DatabaseUnavailable) as raised:
            store.count()
        assert str(server.folder) not in str(raised.value)
    finally:
        server.start()
    store.close()
