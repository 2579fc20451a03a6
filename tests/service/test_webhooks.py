"""Webhooks: signed, sent to allowed hosts alone, again after a failure, and once for each end of a job."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import make_context, settings, write_slide
from tests.service.databases import postgres
from wsigraph.config import ServiceConfig
from wsigraph.errors import ConfigError
from wsigraph.service.app import create_app
from wsigraph.service.jobs.schema import DONE, FAILED, StoredJob, new_job
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.jobs.webhook_sender import WebhookSender
from wsigraph.service.jobs.webhook_store import WebhookStore

SECRET = b"a-secret-that-both-sides-know-0123"
LOOPBACK = "service.webhook_networks=[127.0.0.0/8]"


class Receiver:
    """A receiver on a socket that answers what a test tells it to, then 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == 0:
                    # no answer at all
                    self.close_connection = True
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/hook?key=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, n: int) -> None:
        until = time.monotonic() + 60
        while len(self.requests) < n and time.monotonic() < until:
            time.sleep(0.05)
        assert len(self.requests) >= n

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.touch(mode=0o600)
    path.write_bytes(b"whsec_" + base64.b64encode(SECRET) + b"\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    yield made
    made.close()


def config(secret: Path, *hosts: str, networks: str = LOOPBACK, tries: int = 12) -> ServiceConfig:
    overrides = [f"service.webhook_hosts={list(hosts)}", f"service.webhook_secret_file={secret}", networks]
    return settings(*overrides, f"service.webhook_tries={tries}").service


def a_job(store: JobStore, key: str = "k") -> StoredJob:
    job = new_job(key=key, slide_key=key, slide_id="s", sha256="", path="s", kind="predict", target="", owner="ann")
    return store.create(job, queue_max=1000, owner_max=1000)[0]


def end(store: JobStore, job: StoredJob, state: str = DONE) -> None:
    assert job.job_id in {claimed.job_id for claimed in store.claim("i", 100, 60)}
    assert store.finish(job.job_id, "i", state, error="UnreadableSlide" if state == FAILED else "")


@pytest.fixture
def sender(store: JobStore, secret: Path, receiver: Receiver) -> Iterator[Callable[..., WebhookSender]]:
    made: list[WebhookSender] = []

    def make(*hosts: str, first_wait_s: float = 0.01, **options: str) -> WebhookSender:
        made.append(
            WebhookSender(WebhookStore(store), config(secret, *(hosts or (receiver.host,)), **options), first_wait_s)
        )
        return made[-1]

    yield make
    for one in made:
        one.close()


def state_of(store: JobStore, job_id: str) -> tuple[str, int]:
    from sqlalchemy import select

    from wsigraph.service.jobs.schema import webhooks

    with store._read_transaction() as connection:
        row = connection.execute(select(webhooks).where(webhooks.c.job_id == job_id)).mappings().one()
    return str(row["state"]), int(row["attempts"])


def until(condition: Callable[[], bool]) -> None:
    end_at = time.monotonic() + 60
    while not condition() and time.monotonic() < end_at:
        time.sleep(0.05)
    assert condition()


def test_an_end_is_told_once_and_signed(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    webhooks, job = sender(), a_job(store)
    webhooks.start()
    for _ in range(3):
        webhooks.add(job.job_id, receiver.url)
    end(store, job)
    receiver.wait(1)
    # a request for the same job, after its end
    webhooks.add(job.job_id, receiver.url)
    other = a_job(store, "other")
    end_other = store.cancel(other.job_id)
    webhooks.add(other.job_id, receiver.url)
    receiver.wait(2)
    until(lambda: state_of(store, other.job_id)[0] == "delivered")
    assert [json.loads(body)["data"]["state"] for _, _, body in receiver.requests] == ["done", end_other.state]
    path, headers, body = receiver.requests[0]
    event = json.loads(body)
    assert (path, headers["host"]) == ("/hook?key=1", receiver.host)
    assert (event["type"], event["data"]["job_id"], event["data"]["slide_id"]) == ("job.done", job.job_id, "s")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(SECRET, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 120


def test_a_failure_is_tried_again_with_the_same_identifier(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    receiver.statuses = [500, 307, 302, 0, 404]
    job, webhooks = a_job(store), sender()
    webhooks.add(job.job_id, receiver.url)
    webhooks.start()
    end(store, job)
    receiver.wait(6)
    until(lambda: state_of(store, job.job_id) == ("delivered", 6))
    # no redirect was followed
    assert {path for path, _, _ in receiver.requests} == {"/hook?key=1"}
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 6


def test_attempts_end_and_their_pauses_grow(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.statuses = [500] * 9
    job, webhooks = a_job(store), sender(tries=3)
    webhooks.add(job.job_id, receiver.url)
    end(store, job)
    webhooks.start()
    until(lambda: state_of(store, job.job_id) == ("failed", 3))
    assert [f"in {wait} s" in caplog.text for wait in ("0.01", "0.02")] == [True, True]
    assert "given up" in caplog.text
    assert len(receiver.requests) == 3


def test_a_job_that_is_queued_again_has_another_end(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    job, webhooks = a_job(store), sender()
    webhooks.add(job.job_id, receiver.url)
    webhooks.start()
    end(store, job, FAILED)
    receiver.wait(1)
    until(lambda: state_of(store, job.job_id)[0] == "delivered")
    assert a_job(store).job_id == job.job_id
    webhooks.add(job.job_id, receiver.url)
    end(store, job)
    receiver.wait(2)
    assert [json.loads(body)["type"] for _, _, body in receiver.requests] == ["job.failed", "job.done"]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 2


def test_the_next_end_has_another_identifier_though_the_first_was_not_taken(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver
) -> None:
    receiver.statuses = [500]
    job, webhooks = a_job(store), sender(first_wait_s=3600.0)
    webhooks.add(job.job_id, receiver.url)
    webhooks.start()
    end(store, job, FAILED)
    until(lambda: state_of(store, job.job_id) == ("pending", 1))
    receiver.wait(1)
    assert a_job(store).job_id == job.job_id
    webhooks.add(job.job_id, receiver.url)
    end(store, job)
    until(lambda: state_of(store, job.job_id) == ("delivered", 1))
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 2


def test_a_receiver_that_drips_holds_nobody_up(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsigraph.service.jobs.webhook_sender._TOTAL_S", 2.0)
    released, n_dripping = threading.Event(), []

    def drip(connection: socket.socket) -> None:
        n_dripping.append(1)
        with connection, suppress(OSError):
            while not released.wait(0.1):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=drip, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        slow = f"127.0.0.1:{server.getsockname()[1]}"
        webhooks, jobs = sender(receiver.host, slow, tries=1), [a_job(store, "slow")]
        webhooks.add(jobs[0].job_id, f"http://{slow}/hook")
        webhooks.start()
        end(store, jobs[0])
        until(lambda: bool(n_dripping))
        monkeypatch.setattr("wsigraph.service.jobs.webhook_sender._TOTAL_S", 60.0)
        jobs.append(a_job(store, "quick"))
        webhooks.add(jobs[1].job_id, receiver.url)
        end(store, jobs[1])
        receiver.wait(1)
        # the slow attempt ends by its total time, although every byte came in time
        until(lambda: state_of(store, jobs[0].job_id)[0] == "failed")
        released.set()


def test_a_webhook_survives_a_restart(store: JobStore, secret: Path, tmp_path: Path) -> None:
    receiver = Receiver()
    host, url = receiver.host, receiver.url
    receiver.close()
    job = a_job(store)
    first = WebhookSender(WebhookStore(store), config(secret, host), 0.01)
    first.add(job.job_id, url)
    first.start()
    end(store, job)
    until(lambda: state_of(store, job.job_id)[1] > 0)
    first.close()
    store.close()
    again = Receiver()
    reopened = JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    try:
        # the receiver has another port now, and this service allows it; the stored address stays refused
        second = WebhookSender(WebhookStore(reopened), config(secret, again.host), 0.01)
        second.add(job.job_id, again.url)
        second.start()
        again.wait(1)
        second.close()
        assert json.loads(again.requests[0][2])["data"]["job_id"] == job.job_id
    finally:
        reopened.close()
        again.close()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_two_services_do_not_send_the_same(database: str, tmp_path: Path) -> None:
    def check(url: str) -> None:
        stores = [JobStore(url) for _ in range(2)]
        made = [a_job(stores[0], str(number)) for number in range(12)]
        for job in made:
            WebhookStore(stores[0]).add(job.job_id, "https://ward.example/hook")
        stores[0].claim("i", 100, 60)
        for job in made:
            assert stores[0].finish(job.job_id, "i", DONE)
        with ThreadPoolExecutor(2) as threads:
            claimed = list(threads.map(lambda store: WebhookStore(store).claim(60), stores))
        names = [webhook.webhook_id for part in claimed for webhook in part]
        assert len(names) == len(set(names)) == 12
        stores[0].remove(made[0].job_id)
        WebhookStore(stores[1]).remove_orphans()
        for one in stores:
            one.close()

    if database == "sqlite":
        check(f"sqlite:///{tmp_path / 'jobs.sqlite'}")
    else:
        with postgres() as url:
            check(url)


def test_a_name_inside_is_refused_when_it_is_sent_to(
    store: JobStore, sender: Callable[..., WebhookSender], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    # the operator allowed the name, and it leads inside
    allowed = f"localhost:{receiver.port}"
    job, webhooks = a_job(store), sender(allowed, networks="service.webhook_networks=[]", tries=1)
    webhooks.add(job.job_id, f"https://{allowed}/hook")
    webhooks.start()
    end(store, job)
    until(lambda: state_of(store, job.job_id)[0] == "failed")
    assert "is not public" in caplog.text
    assert not receiver.requests


def test_settings_of_webhooks_are_checked(store: JobStore, secret: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.touch(mode=0o600)
    short.write_bytes(base64.b64encode(b"short"))
    plain = tmp_path / "plain"
    plain.touch(mode=0o600)
    plain.write_bytes(SECRET)
    for wanted, text in (
        (config(short, "a.example"), "at least 24"),
        (config(plain, "a.example"), "is not base64"),
        (config(tmp_path / "absent", "a.example"), "cannot be read"),
        (config(secret, "a.example", networks="service.webhook_networks=[10.0.0.1/8]"), "expected networks"),
    ):
        with pytest.raises(ConfigError, match=text):
            WebhookSender(WebhookStore(store), wanted)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        WebhookSender(WebhookStore(store), config(secret, "a.example"))


def test_a_request_names_its_webhook(tmp_path: Path, secret: Path, receiver: Receiver) -> None:
    (tmp_path / "data").mkdir()
    write_slide(tmp_path / "data" / "s.tiff", 300, 400)
    overrides = [f"service.webhook_hosts=[{receiver.host}]", f"service.webhook_secret_file={secret}", LOOPBACK]
    with TestClient(create_app(make_context(tmp_path / "data", *overrides)), base_url="http://127.0.0.1") as client:
        asked = {"slide_id": "s", "kind": "predict", "webhook": "https://evil.example/"}
        refused = client.post("/v1/jobs", json=asked)
        assert (refused.status_code, refused.json()["title"]) == (403, "NotAllowed")
        assert client.get("/v1/jobs").json()["total"] == 0
        batch = client.post("/v1/jobs/batch", json={"slide_ids": ["s"], "webhook": "https://evil.example/"})
        assert batch.json()["not_started"][0]["status"] == 403
        job = client.post("/v1/jobs", json=asked | {"webhook": receiver.url}).json()["job_id"]
        assert client.delete(f"/v1/jobs/{job}").status_code == 200
        receiver.wait(1)
        assert json.loads(receiver.requests[0][2])["data"] == {
            "job_id": job, "slide_id": "s", "kind": "predict", "target": None, "state": "cancelled", "error": None,
            "ended_at": client.get(f"/v1/jobs/{job}").json()["ended_at"],
        }  # fmt: skip
