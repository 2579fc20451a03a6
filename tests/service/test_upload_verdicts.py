"""A whole upload ends by a verdict on its file, never because it could not be checked at that moment."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.contexts import bearer, make_context, tokens, write_slide
from tests.service.serving import serving
from tests.service.test_supervisor import until
from wsigraph.errors import UnreadableSlide
from wsigraph.service.client import Client
from wsigraph.service.context import ServiceContext


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_slide(tmp_path_factory.mktemp("made") / "s.tiff", 300, 400).read_bytes()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_slide(tmp_path / "other.tiff")
    return tmp_path


@contextmanager
def asking(service: ServiceContext) -> Iterator[httpx.Client]:
    with serving(service) as url, httpx.Client(base_url=url, timeout=120) as client:
        warm(service)
        yield client


def warm(service: ServiceContext) -> None:
    """Have the process import what it needs, so that the time of a request is not spent on that."""
    service.check_pool.request({"op": "describe", "path": str(service.data / "other.tiff")}, time_s=120)


def reader_of(service: ServiceContext) -> int:
    """Return the process that checks uploads; there is one."""
    return service.check_pool._all[0].start().pid


def send(client: httpx.Client, content: bytes, name: str = "s.tiff") -> tuple[str, httpx.Response]:
    address = f"/v1/uploads/{client.post('/v1/uploads', json={'name': name, 'size': len(content)}).json()['upload_id']}"
    return address, client.patch(address, content=content, headers={"Upload-Offset": "0"})


@contextmanager
def killed_while_it_checks(service: ServiceContext) -> Iterator[None]:
    """Kill the process that opens slides in the middle of its next request."""
    reader = reader_of(service)
    os.kill(reader, signal.SIGSTOP)

    def kill() -> None:
        until(service.check_pool._idle.empty, "it is asked")
        os.kill(reader, signal.SIGKILL)

    with ThreadPoolExecutor(1) as others:
        killing = others.submit(kill)
        yield
        killing.result()


def check_kept(client: httpx.Client, address: str, response: httpx.Response, content: bytes) -> None:
    """Check that an upload was not judged, is there with all its bytes, and that an empty part finishes it."""
    assert (response.status_code, response.json()["state"]) == (202, "checking"), response.text
    assert "is complete and kept, but was not checked yet" in response.json()["detail"]
    assert client.head(address).headers["upload-offset"] == str(len(content))
    again = verdict(client, address, content)
    assert again["state"] == "done", again
    assert client.get(f"/v1/slides/{again['slide_id']}/thumbnail.jpeg").status_code == 200


def verdict(client: httpx.Client, address: str, content: bytes) -> dict[str, Any]:
    """Send empty parts until there is a verdict; return the status."""
    until(lambda: client.patch(address, headers={"Upload-Offset": str(len(content))}).status_code != 202, "a verdict")
    status: dict[str, Any] = client.get(address).json()
    return status


def test_a_check_that_takes_too_long_is_made_again(data: Path, content: bytes) -> None:
    service = make_context(data, "service.slide_time_s=8")
    with asking(service) as client:
        os.kill(reader_of(service), signal.SIGSTOP)
        address, response = send(client, content)
        assert "took longer than 8 s" in response.json()["detail"]
        warm(service)
        check_kept(client, address, response, content)


def test_a_check_whose_process_is_killed_is_made_again(data: Path, content: bytes) -> None:
    service = make_context(data)
    with asking(service) as client:
        with killed_while_it_checks(service):
            address, response = send(client, content)
        assert "crashed the process that read it" in response.json()["detail"]
        check_kept(client, address, response, content)


def test_an_upload_outlasts_a_pool_that_is_full(data: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsigraph.service.isolation.pool._WAIT_S", 0.5)  # a minute otherwise
    service = make_context(data)
    with asking(service) as client, ThreadPoolExecutor(1) as others:
        os.kill(reader_of(service), signal.SIGSTOP)
        waiting = others.submit(service.check_pool.request, {"op": "describe", "path": str(data / "other.tiff")})
        until(lambda: service.check_pool._idle.empty(), "another request has the process")
        address, response = send(client, content)
        assert "all processes that open slides are busy" in response.json()["detail"]
        os.kill(reader_of(service), signal.SIGCONT)
        assert waiting.result()[0]["size"]
        check_kept(client, address, response, content)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")
def test_a_process_without_files_to_open_gives_no_verdict(data: Path, content: bytes) -> None:
    """The reader turns a fault of the system into one of the slide; it must not count as a verdict."""
    service = make_context(data)
    with asking(service) as client:
        reader = reader_of(service)
        limits = resource.prlimit(reader, resource.RLIMIT_NOFILE)
        resource.prlimit(reader, resource.RLIMIT_NOFILE, (3, limits[1]))
        address, response = send(client, content)
        assert "Too many open files" in response.json()["detail"]
        resource.prlimit(reader, resource.RLIMIT_NOFILE, limits)
        check_kept(client, address, response, content)


def test_an_upload_outlasts_the_end_of_the_service(data: Path, content: bytes) -> None:
    first = make_context(data)
    with asking(first) as client, ThreadPoolExecutor(1) as others:
        os.kill(reader_of(first), signal.SIGSTOP)
        sent = others.submit(send, client, content)
        until(lambda: first.check_pool._idle.empty(), "it is being checked")
        first.check_pool.close()
        address, response = sent.result()
        assert (response.status_code, response.json()["state"]) == (202, "checking")
    with asking(make_context(data)) as client:
        # nobody asks for it: the service goes on by itself
        until(lambda: client.get(address).json()["state"] == "done", "the service checks it when it starts")


def test_an_upload_is_checked_once_at_a_time_and_stays_answerable(data: Path, content: bytes) -> None:
    service = make_context(data)
    with asking(service) as client, ThreadPoolExecutor(1) as others:
        os.kill(reader_of(service), signal.SIGSTOP)
        sent = others.submit(send, client, content)
        until(lambda: service.check_pool._idle.empty(), "it is being checked")
        (place,) = (service.state / "uploads" / ".open").iterdir()
        address, again = f"/v1/uploads/{place.name}", {"Upload-Offset": str(len(content))}
        assert client.get(address).json()["state"] == "checking"
        twice = others.submit(client.patch, address, headers=again)
        os.utime(place / "slide.tiff", (0, 0))
        service.uploads.sweep()
        assert service.check_pool._idle.n_waiting == 0
        # after 10 s without a verdict the answer says so, and the check goes on
        assert sent.result()[1].status_code == 202
        os.kill(reader_of(service), signal.SIGCONT)
        slide_id = twice.result().json()["slide_id"]
        assert slide_id
        missed = client.patch(address, headers=again)
        assert (missed.status_code, missed.json()["slide_id"]) == (200, slide_id)


def part_head(client: httpx.Client, address: str, n_bytes: int) -> bytes:
    """Return the header of a request that sends a whole upload."""
    lines = (
        f"PATCH {address} HTTP/1.1",
        f"Host: {client.base_url.host}",
        "Upload-Offset: 0",
        f"Content-Length: {n_bytes}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def has_state(client: httpx.Client, address: str, state: str) -> bool:
    return bool(client.get(address).json()["state"] == state)


def test_the_last_answer_may_be_lost(data: Path, content: bytes) -> None:
    """The connection ends with the last byte, so nobody takes the answer; the client asks, and loses nothing."""
    with asking(make_context(data)) as client:
        host, port = client.base_url.host, client.base_url.port
        for body, state in ((content, "done"), (content[: len(content) // 2], "refused")):
            created = client.post("/v1/uploads", json={"name": "s.tiff", "size": len(body)}).json()
            address = f"/v1/uploads/{created['upload_id']}"
            with socket.create_connection((host, port)) as connection:
                connection.sendall(part_head(client, address, len(body)) + body)
            until(partial(has_state, client, address, state), "the verdict")
            status = client.get(address).json()
            assert status["offset"] == len(body)
            if state == "done":
                assert client.get(f"/v1/slides/{status['slide_id']}").status_code == 200
            else:
                assert (status["slide_id"], status["error"]["kind"]) == (None, "TruncatedSlide")
                repeated = client.patch(address, headers={"Upload-Offset": str(len(body))})
                assert (repeated.status_code, repeated.json()["detail"]) == (422, status["error"]["message"])


def test_a_half_open_connection_does_not_block_resuming(data: Path, content: bytes) -> None:
    """A client that vanished without a sign leaves its request open; another connection goes on at once."""
    with asking(make_context(data)) as client:
        host, port = client.base_url.host, client.base_url.port
        created = client.post("/v1/uploads", json={"name": "s.tiff", "size": len(content)}).json()
        address = f"/v1/uploads/{created['upload_id']}"
        with socket.create_connection((host, port)) as vanished:
            vanished.sendall(part_head(client, address, len(content)) + content[:1000])
            time.sleep(0.3)
            offset = client.get(address).json()["offset"]
            resumed = client.patch(address, content=content[offset:], headers={"Upload-Offset": str(offset)})
            assert resumed.status_code in (201, 202), resumed.text
            assert verdict(client, address, content)["state"] == "done"
            vanished.sendall(content[1000:2000])
        slide_id = client.get(address).json()["slide_id"]
        assert client.get(f"/v1/slides/{slide_id}").json()["bytes"] == len(content)


def test_a_damaged_note_is_skipped_and_logged(data: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    service = make_context(data)
    with asking(service) as client:
        address, _ = send(client, content)
        kept = verdict(client, address, content)["slide_id"]
        for number, damaged in enumerate(
            (b"", b'{"upload_id": "00', b"[]", b"\xff", b'{"file": "../../../x"}', b"null")
        ):
            place = service.state / "uploads" / f"{number:020x}"
            place.mkdir()
            (place / "upload.json").write_bytes(damaged)
            broken = service.state / "uploads" / ".open" / f"{number:020x}"
            broken.mkdir()
            (broken / "upload.json").write_bytes(damaged)
        service.catalogue.forget()
        listed = client.get("/v1/slides")
        assert listed.status_code == 200
        assert kept in {slide["slide_id"] for slide in listed.json()["slides"]}
        assert client.get(f"/v1/uploads/{0:020x}").status_code == 404
        assert send(client, content)[1].status_code in (201, 202)
        assert client.delete(f"/v1/slides/{kept}").status_code == 204
    assert "the note of upload 00000000000000000001 is damaged" in caplog.text


def test_announced_bytes_are_reserved_and_users_have_quotas(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    free = 2**30 + 5_000
    usage = shutil.disk_usage(data)._replace(free=free)
    monkeypatch.setattr("wsigraph.service.upload_store.shutil.disk_usage", lambda _: usage)
    owned = make_context(data, "service.upload_quota_gb=0.000009", tokens=tokens())
    with asking(owned) as client:

        def announce(size: int, role: str = "run") -> int:
            wanted = {"name": "s.tiff", "size": size}
            return client.post("/v1/uploads", json=wanted, headers=bearer(role)).status_code

        assert announce(4_000) == 201
        # the disk has 5,000 bytes, of which 4,000 are announced though none has arrived
        assert announce(2_000) == 507
        assert announce(900) == 201
        usage = usage._replace(free=2**40)
        assert announce(5_000) == 413
        assert announce(5_000, "admin") == 201


def test_the_client_goes_on_until_there_is_a_verdict(data: Path, content: bytes) -> None:
    service = make_context(data)
    sound, broken = data / ".sound.tiff", data / ".broken.tiff"
    sound.write_bytes(content)
    broken.write_bytes(content[: len(content) // 2])
    with asking(service) as client, Client(str(client.base_url)) as sending:
        with killed_while_it_checks(service):
            slide_id = sending.upload(sound)
        assert sending.slide(slide_id)["size"] == {"width": 400, "height": 300}
        with pytest.raises(UnreadableSlide, match="cut short"):
            sending.upload(broken)
        # the verdict has ended it: the reason is kept, and no bytes
        assert not list((service.state / "uploads" / ".open").rglob("slide*"))
