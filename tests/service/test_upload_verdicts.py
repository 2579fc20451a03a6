"""A whole upload ends by a verdict on its file, never because it could not be checked at that moment."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.service.contexts import make_context, write_slide
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
    service.pool.request({"op": "describe", "path": str(service.data / "other.tiff")}, time_s=120)


def reader_of(service: ServiceContext) -> int:
    """Return the process that opens slides; there is one."""
    return service.pool._all[0].start().pid


def send(client: httpx.Client, content: bytes, name: str = "s.tiff") -> tuple[str, httpx.Response]:
    address = f"/v1/uploads/{client.post('/v1/uploads', json={'name': name, 'size': len(content)}).json()['upload_id']}"
    return address, client.patch(address, content=content, headers={"Upload-Offset": "0"})


@contextmanager
def killed_while_it_checks(service: ServiceContext) -> Iterator[None]:
    """Kill the process that opens slides in the middle of its next request."""
    reader = reader_of(service)
    os.kill(reader, signal.SIGSTOP)

    def kill() -> None:
        until(service.pool._idle.empty, "it is asked")
        os.kill(reader, signal.SIGKILL)

    with ThreadPoolExecutor(1) as others:
        killing = others.submit(kill)
        yield
        killing.result()


def check_kept(client: httpx.Client, address: str, response: httpx.Response, content: bytes) -> None:
    """Check that an upload was not judged, is there with all its bytes, and that an empty part finishes it."""
    assert (response.status_code, response.json()["title"]) == (503, "Unavailable"), response.text
    assert response.headers["retry-after"] == "5"
    assert "is complete and kept, but was not checked" in response.json()["detail"]
    assert client.head(address).headers["upload-offset"] == str(len(content))
    assert client.get(address).json()["slide_id"] is None
    again = client.patch(address, headers={"Upload-Offset": str(len(content))})
    assert again.status_code == 201, again.text
    assert client.get(f"/v1/slides/{again.json()['slide_id']}/thumbnail.jpeg").status_code == 200
    assert client.get(address).json()["slide_id"] == again.json()["slide_id"]


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
        waiting = others.submit(client.get, "/v1/slides/other/tiles/9/0_0.jpeg")
        until(lambda: service.pool._idle.empty(), "another request has the process")
        address, response = send(client, content)
        assert "all processes that open slides are busy" in response.json()["detail"]
        os.kill(reader_of(service), signal.SIGCONT)
        assert waiting.result().status_code == 200
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
        until(lambda: first.pool._idle.empty(), "it is being checked")
        first.pool.close()
        address, response = sent.result()
        assert response.status_code == 503
    with asking(make_context(data)) as client:
        assert client.get(address).json()["offset"] == len(content)
        assert client.patch(address, headers={"Upload-Offset": str(len(content))}).status_code == 201


def test_an_upload_is_checked_once_at_a_time_and_stays_answerable(data: Path, content: bytes) -> None:
    service = make_context(data)
    with asking(service) as client, ThreadPoolExecutor(1) as others:
        os.kill(reader_of(service), signal.SIGSTOP)
        sent = others.submit(send, client, content)
        until(lambda: service.pool._idle.empty(), "it is being checked")
        (place,) = (service.state / "uploads" / ".open").iterdir()
        address, again = f"/v1/uploads/{place.name}", {"Upload-Offset": str(len(content))}
        twice = client.patch(address, headers=again)
        assert (twice.status_code, twice.json()["title"]) == (409, "Conflict")
        os.utime(place / "slide.tiff", (0, 0))
        service.uploads.sweep()
        os.kill(reader_of(service), signal.SIGCONT)
        slide_id = sent.result()[1].json()["slide_id"]
        missed = client.patch(address, headers=again)
        assert (missed.status_code, missed.json()["slide_id"]) == (200, slide_id)


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
        # the verdict has ended it
        assert not list((service.state / "uploads" / ".open").iterdir())
