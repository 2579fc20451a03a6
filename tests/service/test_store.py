"""Jobs in SQLite and in PostgreSQL: nothing is lost, nothing runs twice, whoever asks and whatever ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.service.databases import postgres
from wsigraph.errors import NotFound, PluginError, StoreError, TooMany
from wsigraph.service.jobs.schema import CANCELLED, DONE, FAILED, QUEUED, RUNNING, STATES, StoredJob, new_job
from wsigraph.service.jobs.store import JobStore


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite'}"
    address: str = request.getfixturevalue("postgres_url")
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return address


@pytest.fixture
def store(url: str) -> Iterator[JobStore]:
    opened = JobStore(url)
    yield opened
    opened.close()


def job(number: int, *, slide: int | None = None, owner: str = "one") -> StoredJob:
    name = f"slide-{number if slide is None else slide}"
    made = new_job(
        key=f"key-{number}", slide_key=name, slide_id=name, sha256="0" * 64, path=f"{name}.svs", kind="predict",
        target="", owner=owner,
    )  # fmt: skip
    return replace(made, created_at=1e9 + number)


def add(store: JobStore, n: int) -> list[StoredJob]:
    return [store.create(job(number), queue_max=10_000, owner_max=10_000)[0] for number in range(n)]


def test_a_job_comes_back_as_it_was_stored(store: JobStore) -> None:
    made = job(1)
    assert store.create(made, queue_max=9, owner_max=9) == (made, True)
    assert store.find(made.job_id) == made
    assert store.latest() == [made]
    assert store.count() == {**dict.fromkeys(STATES, 0), QUEUED: 1}
    with pytest.raises(NotFound, match="there is no job"):
        store.find("0" * 20)


def test_equal_wishes_are_one_job_and_failed_ones_are_queued_again(store: JobStore) -> None:
    first, _ = store.create(job(1), queue_max=9, owner_max=9)
    again, is_new = store.create(job(1), queue_max=9, owner_max=9)
    assert (again.job_id, is_new) == (first.job_id, False)
    (claimed,) = store.claim("a", 5, 30)
    assert store.finish(claimed.job_id, "a", FAILED, step="tissue", error="NoTissue", message="no tissue")
    anew, is_new = store.create(job(1, owner="two"), queue_max=9, owner_max=9)
    assert (anew.job_id, anew.state, anew.error, anew.owner, is_new) == (first.job_id, QUEUED, "", "two", True)
    (claimed,) = store.claim("a", 5, 30)
    assert store.finish(claimed.job_id, "a", DONE)
    done, is_new = store.create(job(1), queue_max=9, owner_max=9)
    assert (done.state, done.completions, is_new) == (DONE, 1, False)


def test_jobs_are_claimed_in_their_order_and_once(store: JobStore) -> None:
    made = add(store, 5)
    first, rest = store.claim("a", 2, 30), store.claim("b", 9, 30)
    assert [each.job_id for each in first + rest] == [each.job_id for each in made]
    assert store.claim("c", 9, 30) == []
    assert {each.claimed_by for each in store.latest()} == {"a", "b"}
    assert all(each.attempts == 1 for each in store.latest())


def test_jobs_that_share_their_first_stages_run_one_after_another(store: JobStore) -> None:
    for number in range(4):
        store.create(job(number, slide=number // 2), queue_max=9, owner_max=9)
    first = store.claim("a", 9, 30)
    assert [each.key for each in first] == ["key-0", "key-2"]
    store.finish(first[0].job_id, "a", DONE)
    assert [each.key for each in store.claim("a", 9, 30)] == ["key-1"]
    assert store.done_before("slide-0") == [first[0].job_id]


def test_the_queue_has_an_end_for_all_and_for_each(store: JobStore) -> None:
    for number in range(3):
        store.create(job(number), queue_max=4, owner_max=3)
    with pytest.raises(TooMany, match="3 jobs of 'one'"):
        store.create(job(4), queue_max=4, owner_max=3)
    store.create(job(5, owner="two"), queue_max=4, owner_max=3)
    with pytest.raises(TooMany, match="4 jobs are queued or running"):
        store.create(job(6, owner="three"), queue_max=4, owner_max=3)
    # what is there already costs nothing
    store.create(job(1), queue_max=4, owner_max=3)


def test_what_a_service_leaves_is_taken_over_once_its_claim_has_run_out(store: JobStore) -> None:
    add(store, 2)
    store.claim("gone", 1, 0.05)
    store.claim("alive", 1, 0.05)
    alive = {each.job_id for each in store.latest() if each.claimed_by == "alive"}
    assert store.renew("alive", alive, 30) == alive
    time.sleep(0.1)
    assert store.release_claims() == 1
    (taken,) = store.claim("next", 9, 30)
    assert (taken.claimed_by, taken.attempts) == ("next", 2)
    # the one that was thought gone has nothing to say any more
    assert not store.report_progress(taken.job_id, "gone", "graph", 0.5)
    assert not store.finish(taken.job_id, "gone", DONE)
    assert store.report_progress(taken.job_id, "next", "graph", 0.5)
    assert store.find(taken.job_id).fraction == 0.5
    assert store.release_claims("next") == 1


def test_a_service_renews_what_it_runs_and_gives_back_what_it_does_not(store: JobStore) -> None:
    add(store, 3)
    runs, stranded, another = [each.job_id for each in store.claim("a", 2, 0.05) + store.claim("b", 1, 0.05)]
    # a job of another service and one that is not there are not renewed, and said so
    assert store.renew("a", {runs, another, "0" * 20}, 30) == {runs}
    time.sleep(0.1)
    assert store.release_claims() == 2
    assert {each.job_id for each in store.latest(state=RUNNING)} == {runs}
    assert {each.job_id for each in store.claim("a", 9, 30)} == {stranded, another}
    assert store.release_claims("a", but={runs, another}) == 1
    assert store.find(stranded).state == QUEUED


def test_a_job_is_done_once(store: JobStore) -> None:
    (made,) = add(store, 1)
    store.claim("a", 1, 30)
    assert store.finish(made.job_id, "a", DONE)
    assert not store.finish(made.job_id, "a", DONE)
    assert not store.finish(made.job_id, "a", FAILED)
    assert store.find(made.job_id).completions == 1


def test_cancelling(store: JobStore) -> None:
    waiting, running, done = add(store, 3)
    claimed = store.claim("a", 3, 30)
    store.finish(claimed[0].job_id, "a", QUEUED)
    store.finish(claimed[2].job_id, "a", DONE)
    assert store.cancel(waiting.job_id).state == CANCELLED
    assert store.cancel(running.job_id).state == RUNNING
    assert store.cancel(done.job_id).state == DONE
    assert store.to_cancel("a") == [running.job_id]
    assert store.to_cancel("b") == []
    with pytest.raises(NotFound):
        store.cancel("0" * 20)


def test_what_has_ended_long_ago_is_removed(store: JobStore) -> None:
    made = add(store, 3)
    claimed = store.claim("a", 2, 30)
    store.finish(claimed[0].job_id, "a", DONE)
    assert store.remove_ended(time.time() - 60) == []
    assert store.remove_ended(time.time() + 60) == [made[0].job_id]
    assert {each.job_id for each in store.latest()} == {each.job_id for each in made[1:]}


def test_lists_are_cut_and_sorted(store: JobStore) -> None:
    made = add(store, 5)
    assert [each.key for each in store.latest(limit=2, offset=1)] == ["key-3", "key-2"]
    assert [each.key for each in store.latest(slide_id="slide-3")] == ["key-3"]
    assert store.latest(state=DONE) == []
    assert len(store.latest(state=QUEUED)) == len(made)


def test_digests_are_remembered(store: JobStore) -> None:
    assert store.find_digest("v") is None
    store.save_digest("v", "1" * 64)
    store.save_digest("v", "2" * 64)
    assert store.find_digest("v") == "2" * 64


def test_many_services_claim_and_finish_at_once_and_every_job_runs_once(url: str) -> None:
    stores = [JobStore(url) for _ in range(3)]
    add(stores[0], 60)
    taken: list[str] = []
    lock = threading.Lock()

    def serve(number: int) -> None:
        store, instance, idle = stores[number % 3], f"instance-{number}", 0
        while idle < 3:
            claimed = store.claim(instance, 4, 30)
            idle = 0 if claimed else idle + 1
            with lock:
                taken.extend(each.job_id for each in claimed)
            for each in claimed:
                store.report_progress(each.job_id, instance, "graph", 0.5)
                assert store.finish(each.job_id, instance, DONE)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(serve, range(6)))
    assert len(taken) == len(set(taken)) == 60
    assert all(each.completions == 1 and each.attempts == 1 for each in stores[0].latest(limit=100))
    for store in stores:
        store.close()


def test_equal_wishes_at_once_are_one_job(url: str) -> None:
    stores = [JobStore(url) for _ in range(4)]

    def ask(store: JobStore) -> str:
        return store.create(job(1), queue_max=9, owner_max=9)[0].job_id

    with ThreadPoolExecutor(4) as pool:
        names = set(pool.map(ask, stores * 5))
    assert len(names) == 1
    for store in stores:
        store.close()


def test_jobs_outlive_the_service(url: str) -> None:
    first = JobStore(url)
    made = add(first, 3)
    first.close()
    second = JobStore(url)
    assert second.find(made[1].job_id) == made[1]
    second.close()


def test_tables_of_another_version_are_refused(url: str) -> None:
    JobStore(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE wsigraph_revision SET version_num = '0099'"))
    with pytest.raises(StoreError, match="tables of revision 0099, expected at most"):
        JobStore(url)
    # as before migrations
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE wsigraph_revision"))
        connection.execute(text("UPDATE wsigraph_schema SET version = 99"))
    engine.dispose()
    with pytest.raises(StoreError, match="tables of version 99, expected 1"):
        JobStore(url)


def test_databases_that_are_not_there_are_errors_of_ours(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not answer"):
        JobStore(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.sqlite'}")
    with pytest.raises(PluginError, match=r"wsigraph\[postgres\]"):
        JobStore("postgresql+nosuchdriver://x/y")


def test_a_given_pixel_size_is_another_wish(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from tests.service.contexts import make_context, write_slide
    from wsigraph.service.app import create_app

    write_slide(tmp_path / "s.tiff", mpp=None)
    with TestClient(create_app(make_context(tmp_path)), base_url="http://127.0.0.1") as client:
        requested = [client.post("/v1/jobs", json={"slide_id": "s", "mpp": mpp}) for mpp in (None, 0.5, 0.25, 0.5)]
        assert [each.status_code for each in requested] == [422, 201, 201, 200]
        assert requested[0].json()["title"] == "MissingMpp"
        assert "--mpp" in requested[0].json()["detail"]
        assert requested[1].json()["job_id"] == requested[3].json()["job_id"]
        assert client.post("/v1/jobs", json={"slide_id": "s", "mpp": 72}).status_code == 422
        assert client.app.state.service.store.find(requested[2].json()["job_id"]).mpp == 0.25
