"""The Python client: the library's own errors, and uploads that go on where they broke."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.service.contexts import TOKENS, make_context, tokens, write_slide
from wsigraph.errors import ConfigError, NotAllowed, NotFound, NotSignedIn, ServiceError, Unavailable
from wsigraph.service import client as module
from wsigraph.service.app import create_app
from wsigraph.service.client import Client


class Wire(httpx.BaseTransport):
    """Carries requests to an application of this process; breaks where it is told to."""

    def __init__(self, to: TestClient) -> None:
        self._to = to
        self.breaks: list[int] = []
        self.n_parts = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            self.n_parts += 1
            if self.n_parts in self.breaks:
                raise httpx.ReadError("connection reset", request=request)
        path = request.url.raw_path.decode()
        response = self._to.request(request.method, path, content=request.read(), headers=dict(request.headers))
        return httpx.Response(response.status_code, headers=response.headers, content=response.content)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    data = tmp_path_factory.mktemp("data")
    write_slide(data / "s.tiff")
    with TestClient(create_app(make_context(data, tokens=tokens())), base_url="http://slides.example") as to:
        yield Wire(to)


def connect(wire: Wire, role: str | None = "run") -> Client:
    return Client("http://slides.example", None if role is None else TOKENS[role], transport=wire)


def test_slides_and_jobs(wire: Wire) -> None:
    with connect(wire) as client:
        assert [each["slide_id"] for each in client.slides()] == ["s"]
        assert client.tile("s", 0, 0, 0).startswith(b"\xff\xd8")
        assert client.region("s", 0, 0, 60, 40, 0.5).startswith(b"\xff\xd8")
        job = client.start("s", "explain", "survival@1825", mpp=0.5)
        assert client.job(job["job_id"])["target"] == "survival@1825"
        assert [each["job_id"] for each in client.jobs("queued")] == [job["job_id"]]
        with pytest.raises(ServiceError, match=r"is queued after 0\.01 s"):
            client.wait(job["job_id"], timeout_s=0.01, every_s=0.01)
        batch = client.start_many(["s", "nowhere"], "explain", "survival@1825")
        assert [each["error"]["kind"] for each in batch["not_started"]] == ["NotFound"]
        client.cancel(batch["jobs"][0]["job_id"])
        assert client.cancel(job["job_id"])["state"] == "cancelled"
        assert [each["state"] for each in client.follow(job["job_id"])] == ["cancelled"]
        with pytest.raises(ServiceError, match="was cancelled"):
            client.wait(job["job_id"])


def test_refusals_are_errors_of_the_library(wire: Wire) -> None:
    with connect(wire) as client:
        for ask, error in ((lambda: client.slide("x"), NotFound), (lambda: client.start("s", "guess"), ServiceError),
                           (lambda: client.start("s", "explain", "survival@0"), ConfigError)):  # fmt: skip
            with pytest.raises(error):
                ask()
    with connect(wire, None) as nobody, pytest.raises(NotSignedIn, match="Bearer TOKEN"):
        nobody.slides()
    with connect(wire, "read") as reader, pytest.raises(NotAllowed, match="has the role read; this needs the role run"):
        reader.start("s")


def test_a_service_that_is_not_there_is_told() -> None:
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unavailable, match="start it with 'wsigraph serve'"):
        client.slides()


def test_an_upload_goes_on_after_broken_connections(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PART_BYTES", 300_000)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    path = write_slide(tmp_path / "Ward 7, block B.tiff")
    seen: list[tuple[int, int]] = []
    wire.breaks, wire.n_parts = [2, 3], 0
    with connect(wire) as client:
        slide_id = client.upload(path, lambda *progress: seen.append(progress))
        metadata: dict[str, Any] = client.slide(slide_id)
    assert metadata["name"] == "Ward 7, block B.tiff"
    assert metadata["bytes"] == path.stat().st_size
    assert wire.n_parts == -(-path.stat().st_size // 300_000) + 2
    assert [sent for sent, _ in seen] == sorted(sent for sent, _ in seen)
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
