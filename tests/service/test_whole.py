"""The whole service as a process: a slide in, its prediction and the reasons out, with the client that users have."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.command import SLIDE, command, content
from tests.run.batch.cohorts import write_slides
from wsigraph.errors import Conflict, NotFound, NotSignedIn, ServiceError
from wsigraph.run.steps import run_slide
from wsigraph.service.client import Client
from wsigraph.service.jobs.schema import RESUMING

LISTENS_S = 10.0
"""Time until slides are listed, s; 3.66 s on the machine of docs/service.md."""

RESUMES_S = 15.0
"""Time from the end of a killed service until a job goes on, with the start of the next service, s."""


@contextmanager
def serving(data: Path, *options: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address of a service and its process, once slides are listed."""
    words = command("serve", "--data", data, "--port", 0, "--workers", 1, *options)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, line
        until(lambda: responses(found.group()), LISTENS_S)
        yield found.group(), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stderr.close()  # type: ignore[union-attr]


def responses(address: str) -> bool:
    try:
        with Client(address) as client:
            return isinstance(client.slides(), list)
    except ServiceError:
        return False


def until(condition, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(SLIDE, folder)
    return folder


def test_a_slide_is_predicted_and_explained_as_the_library_does_it(data: Path, tmp_path: Path) -> None:
    with serving(data) as (address, process), Client(address) as client:
        slide_id = client.slides()[0]["slide_id"]
        assert client.slide(slide_id)["identifying_images"] == ["label", "macro"]
        assert client.tile(slide_id, 0, 0, 0).startswith(b"\xff\xd8")
        job = client.start(slide_id)
        with pytest.raises(Conflict, match="its results are available when it is done"):
            client.result(job["job_id"])
        explained = client.start(slide_id, "explain", "stage")
        # what is there already is not asked of the workers again
        assert client.start(slide_id)["job_id"] == job["job_id"]
        seen = list(client.follow(job["job_id"]))
        assert seen[-1]["state"] == "done", seen[-1]["error"]
        assert [each["fraction"] for each in seen] == sorted(each["fraction"] for each in seen)
        assert client.wait(explained["job_id"])["attempts"] == 1
        prediction = json.loads(client.result(job["job_id"], "prediction.json"))
        assert set(prediction) > {"risk", "survival", "stage_probability"}
        facts = json.loads(client.result(explained["job_id"], "explanation.json"))["facts"]
        assert facts["target"] == "stage"
        assert b"<!doctype html>" in client.result(explained["job_id"], "report.html")[:200].lower()
        with pytest.raises(NotFound, match=r"has no explanation\.json"):
            client.result(job["job_id"], "explanation.json")
        check_overlays(client, explained["job_id"])
        check_raw_paths(address)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, -signal.SIGINT, 130)
    run_slide(SLIDE, tmp_path)
    own = data / ".wsigraph" / "results" / job["job_id"] / slide_id
    assert content(own) == content(tmp_path / "CMU-1-Small-Region")


def check_overlays(client: Client, job_id: str) -> None:
    import io

    from PIL import Image

    requested = client._http
    layers = requested.get(f"/v1/jobs/{job_id}/overlay").json()["layers"]
    assert {"attribution", "stage", "regions", "artefacts"} <= set(layers)
    assert 'Format="png"' in requested.get(f"/v1/jobs/{job_id}/overlay/dzi").text
    for layer in layers:
        for place, size in (("12/0_0", (255, 255)), ("10/1_1", (256, 256)), ("0/0_0", (1, 1))):
            response = requested.get(f"/v1/jobs/{job_id}/overlay/tiles/{place}.png", params={"layer": layer})
            assert response.status_code == 200, response.text
            image = Image.open(io.BytesIO(response.content)).convert("RGBA")
            assert image.size == size
            if layer == "attribution" and place == "10/1_1":
                assert image.getextrema()[3][1] > 0
    assert requested.get(f"/v1/jobs/{job_id}/overlay/tiles/12/0_0.png", params={"layer": "nonsense"}).status_code == 404
    assert requested.get(f"/v1/jobs/{job_id}/overlay/tiles/12/99_0.png").status_code == 404


def check_raw_paths(address: str) -> None:
    """Ask for paths that a client's library would have tidied up."""
    host, port = address.removeprefix("http://").split(":")
    for path in ("/../../etc/passwd", "/viewer/../../../etc/passwd", "/v1/slides/../../etc/passwd", "//etc/passwd"):
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            response = b""
            while part := connection.recv(65536):
                response += part
        assert b"root:" not in response
        assert response.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), response[:80]


@pytest.mark.slow
def test_a_service_that_is_killed_in_the_middle_goes_on_from_the_finished_stages(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    shutil.copy(write_slides(tmp_path / "made", SLIDE)["omega"], tmp_path / "omega.tiff")
    shutil.rmtree(tmp_path / "made")
    short = ("--set", "service.claim_s=3")
    with serving(tmp_path, *short) as (address, process), Client(address) as client:
        job_id = client.start("omega")["job_id"]
        tissue = tmp_path / ".wsigraph" / "results" / job_id / "omega" / "tissue.zarr"
        until(tissue.exists, 90)
        os.kill(process.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        process.wait(10)
    stamp = tissue.stat().st_mtime_ns
    with serving(tmp_path, *short) as (address, _), Client(address) as client:
        # it says so for as long as nothing is known of its worker
        until(lambda: client.job(job_id)["step"] == RESUMING, RESUMES_S)
        until(lambda: client.job(job_id)["step"] != RESUMING, 60)
        took = time.monotonic() - killed_at
        done = client.wait(job_id, timeout_s=120, every_s=0.2)
        assert (done["state"], done["attempts"]) == ("done", 2)
    print(f"a killed service: the job goes on after {took:.1f} s")
    assert took < RESUMES_S
    assert tissue.stat().st_mtime_ns == stamp


def test_beyond_loopback_only_who_has_a_token_is_answered(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "tokens"
    made = subprocess.run(
        command("serve", "--token-file", file, "--new-token", "ward-7:read"),
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    token = made.stdout.strip()
    assert "printed only once" in made.stderr
    assert token not in file.read_text()
    words = command("serve", "--data", tmp_path / "data", "--host", "0.0.0.0", "--port", 0, "--token-file", file)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r":(\d+)/", process.stderr.readline())
        assert found
        address = f"http://127.0.0.1:{found.group(1)}"
        with Client(address) as nobody, pytest.raises(NotSignedIn):
            nobody.slides()
        with Client(address, token) as ward:
            assert ward.slides() == []
        process.send_signal(signal.SIGTERM)


def test_an_address_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = command("serve", "--data", tmp_path, "--port", port)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "give another --port" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere"), "is not a directory"),
        (("--data", ".", "--model", "tests"), "is not a model bundle"),
        (("--data", ".", "--token", "short"), "expected at least 32"),
        (("--data", ".", "--set", "service.database=postgresql://nobody@127.0.0.1:1/none"), "does not answer"),
    ],
)
def test_what_cannot_be_served_ends_with_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    words = [tmp_path if word == "." else word for word in options]
    done = subprocess.run(
        command("serve", "--port", "0", *words), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert message in done.stderr
