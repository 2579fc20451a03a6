"""Clients that send half a request, read half a response, or open connections without end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.command import command
from tests.service.contexts import make_context
from tests.service.serving import serving

_HEADER_S, _BODY_S = 1.0, 1.5


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    limits = (
        f"service.header_time_s={_HEADER_S}",
        f"service.body_time_s={_BODY_S}",
        "service.connections_address_max=20",
        "service.uploads_max=1000",
    )
    with serving(make_context(tmp_path_factory.mktemp("slow"), *limits)) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def ended_after(connection: socket.socket, wait_s: float = 10.0) -> tuple[float, bytes]:
    """Return how long a connection stays open, and what it brings."""
    started, content = time.monotonic(), b""
    connection.settimeout(wait_s)
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            content += part
    return time.monotonic() - started, content


def test_a_header_that_never_ends_is_cut_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as silent, socket.create_connection(address) as half:
        half.sendall(b"GET /v1/slides HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        for connection in (silent, half):
            seconds, content = ended_after(connection)
            assert seconds < _HEADER_S + 1.0
            assert content.startswith(b"HTTP/1.1 408") or not content


def test_a_header_of_one_byte_at_a_time_is_cut_off(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in b"GET /v1/slides HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 40:
                connection.sendall(bytes([byte]))
                time.sleep(0.1)
        assert time.monotonic() - started < _HEADER_S + 2.0


def test_the_second_header_of_a_connection_is_cut_off_too(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /v1/hea")
        assert ended_after(connection)[0] < _HEADER_S + 1.0


def test_a_body_that_stops_is_cut_off_and_its_bytes_are_kept(address: tuple[str, int]) -> None:
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        upload = client.post("/v1/uploads", json={"name": "a.svs", "size": 50_000}).json()["upload_id"]
        with socket.create_connection(address) as connection:
            head = f"PATCH /v1/uploads/{upload} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpload-Offset: 0\r\n"
            connection.sendall(f"{head}Content-Length: 50000\r\n\r\n".encode() + bytes(20_000))
            # the first window has 20 kB, which is fast enough; the second has none
            assert ended_after(connection)[0] < 3 * _BODY_S
        until = time.monotonic() + 5
        while client.get(f"/v1/uploads/{upload}").json()["offset"] != 20_000:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_client_that_does_not_read_is_cut_off(address: tuple[str, int]) -> None:
    """Its requests are pipelined, and each response has a page of the viewer."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.settimeout(0.5)
        wanted = b"GET /v1/openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        started, is_cut = time.monotonic(), False
        while not is_cut and time.monotonic() - started < 15:
            try:
                connection.sendall(wanted * 20)
                time.sleep(0.05)
            except TimeoutError:
                continue
            except ConnectionError:
                is_cut = True
        assert is_cut


def test_connections_of_one_address_are_limited(address: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(address)) for _ in range(30)]
        time.sleep(0.3)
        statuses = []
        for connection in opened:
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                statuses.append(connection.recv(100)[:12])
        assert statuses.count(b"HTTP/1.1 503") == 10
    with httpx.Client(base_url="http://{}:{}".format(*address)) as client:
        time.sleep(0.2)
        assert client.get("/v1/health").status_code == 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_half_sent_requests_do_not_delay_the_end(tmp_path: Path, how: signal.Signals) -> None:
    words = command("serve", "--data", tmp_path, "--port", 0, "--cluster", "threads", "--workers", 1)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        port = int(process.stderr.readline().split("/ serves")[0].rpartition(":")[2])
        until = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200
                break
            except httpx.TransportError:
                assert time.monotonic() < until
                time.sleep(0.1)
        with contextlib.ExitStack() as stack:
            for content in (
                b"",
                b"GET /",
                b"PATCH /v1/uploads/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n",
            ):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(content)
            time.sleep(0.2)
            started = time.monotonic()
            os.kill(process.pid, how)
            assert process.wait(40) in (0, -how, 128 + how)
            # 5 s of grace, and the end of the workers
            assert time.monotonic() - started < 20
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()  # type: ignore[union-attr]
