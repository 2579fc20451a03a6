"""The tus protocol 1.0 as it is written, and with the client that most sites use."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.service.contexts import make_context, write_slide
from tests.service.serving import serving

TUS = {"Tus-Resumable": "1.0.0"}
PART = {**TUS, "Content-Type": "application/offset+octet-stream"}
_CLIENT = "tus-js-client@4.3.1"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_slide(tmp_path_factory.mktemp("made") / "s.tiff", 300, 400).read_bytes()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(make_context(tmp_path_factory.mktemp("tus"))) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def create(client: httpx.Client, size: int, name: str = "Schnitt 7 é.tiff") -> httpx.Response:
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {encode(name)},is_confidential"}
    return client.post("/v1/uploads", headers=headers)


def place_of(created: httpx.Response) -> str:
    # relative to the address of the request, as it may be shown under the prefix of a proxy
    return str(created.url.join(created.headers["location"]))


def test_what_is_supported_is_announced(client: httpx.Client) -> None:
    response = client.options("/v1/uploads")
    assert response.status_code == 204
    assert response.headers["tus-version"] == response.headers["tus-resumable"] == "1.0.0"
    assert set(response.headers["tus-extension"].split(",")) == {"creation", "expiration", "checksum", "termination"}
    assert {"sha1", "sha256"} <= set(response.headers["tus-checksum-algorithm"].split(","))
    assert int(response.headers["tus-max-size"]) == 20 * 10**9


def test_an_upload_from_creation_to_slide(client: httpx.Client, content: bytes) -> None:
    created = create(client, len(content))
    assert (created.status_code, created.content) == (201, b"")
    assert created.headers["tus-resumable"] == "1.0.0"
    assert parsedate_to_datetime(created.headers["upload-expires"]).timestamp() > time.time() + 3600
    place = place_of(created)
    half = len(content) // 2
    part = client.patch(place, content=content[:half], headers={**PART, "Upload-Offset": "0"})
    assert (part.status_code, part.content, part.headers["upload-offset"]) == (204, b"", str(half))
    assert "upload-expires" in part.headers
    head = client.head(place, headers=TUS)
    assert head.status_code in (200, 204)
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(half), str(len(content)))
    assert head.headers["cache-control"] == "no-store"
    assert encode("Schnitt 7 é.tiff") in head.headers["upload-metadata"]
    last = client.patch(place, content=content[half:], headers={**PART, "Upload-Offset": str(half)})
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(content)))
    until_state(client, place, "done")
    assert client.head(place, headers=TUS).headers["upload-offset"] == str(len(content))


def until_state(client: httpx.Client, place: str, state: str) -> dict[str, object]:
    end = time.monotonic() + 60
    while (status := client.get(place).json())["state"] != state:
        assert time.monotonic() < end, status
        time.sleep(0.1)
    return dict(status)


def test_requests_that_break_the_protocol_are_refused(client: httpx.Client, content: bytes) -> None:
    old = client.post("/v1/uploads", headers={"Tus-Resumable": "0.2.2", "Upload-Length": "9"})
    assert (old.status_code, old.headers["tus-version"]) == (412, "1.0.0")
    for headers in (
        {"Upload-Metadata": f"filename {encode('a.tiff')}"},
        {"Upload-Defer-Length": "1", "Upload-Metadata": f"filename {encode('a.tiff')}"},
        {"Upload-Length": "9"},
        {"Upload-Length": "9", "Upload-Metadata": "filename %%%"},
        {"Upload-Length": "-9", "Upload-Metadata": f"filename {encode('a.tiff')}"},
    ):
        response = client.post("/v1/uploads", headers={**TUS, **headers})
        assert (response.status_code, response.headers["tus-resumable"]) == (422, "1.0.0"), headers
    assert create(client, 10**12).status_code == 413
    place = place_of(create(client, len(content)))
    wrong_type = client.patch(place, content=b"x", headers={**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"})
    assert wrong_type.status_code == 415
    wrong_offset = client.patch(place, content=b"x", headers={**PART, "Upload-Offset": "7"})
    assert (wrong_offset.status_code, wrong_offset.headers["tus-resumable"]) == (409, "1.0.0")
    assert client.head(place, headers=TUS).headers["upload-offset"] == "0"


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_a_part_that_was_damaged_on_the_way_is_not_kept(client: httpx.Client, content: bytes, algorithm: str) -> None:
    place = place_of(create(client, len(content)))
    part = content[:5000]
    good = base64.b64encode(hashlib.new(algorithm, part).digest()).decode()
    bad = base64.b64encode(hashlib.new(algorithm, b"other").digest()).decode()
    headers = {**PART, "Upload-Offset": "0"}
    damaged = client.patch(place, content=part, headers={**headers, "Upload-Checksum": f"{algorithm} {bad}"})
    assert damaged.status_code == 460
    assert client.head(place, headers=TUS).headers["upload-offset"] == "0"
    unknown = client.patch(place, content=part, headers={**headers, "Upload-Checksum": f"crc32 {good}"})
    assert unknown.status_code == 400
    sound = client.patch(place, content=part, headers={**headers, "Upload-Checksum": f"{algorithm} {good}"})
    assert (sound.status_code, sound.headers["upload-offset"]) == (204, "5000")


def test_an_upload_is_terminated_also_through_post(client: httpx.Client) -> None:
    place = place_of(create(client, 100))
    part = client.post(
        place, content=b"x" * 10, headers={**PART, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    )
    assert (part.status_code, part.headers["upload-offset"]) == (204, "10")
    assert client.post(place, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert client.head(place, headers=TUS).status_code == 404


def test_a_refused_file_is_gone_for_a_client_of_tus(client: httpx.Client) -> None:
    place = place_of(create(client, 200))
    refused = client.patch(place, content=bytes(200), headers={**PART, "Upload-Offset": "0"})
    assert refused.status_code in (204, 422)
    until_state(client, place, "refused")
    assert client.head(place, headers=TUS).status_code == 410


@pytest.mark.slow
def test_tus_js_client_resumes_an_upload(url: str, client: httpx.Client, tmp_path: Path) -> None:
    """Needs npm and its registry; run by name."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm is not installed")
    words = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), _CLIENT]
    if subprocess.run(words, capture_output=True, timeout=240, check=False).returncode:
        pytest.skip("npm cannot install tus-js-client")
    path = write_slide(tmp_path / "s.tiff", 400, 500)
    script = Path(__file__).parent / "resume_with_tus.mjs"
    command = [node, script, tmp_path / "node_modules", f"{url}/v1/uploads", path, "über.tiff"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 100_000 <= report["resumedAt"] < report["size"]
    status = until_state(client, report["url"], "done")
    slide = client.get(f"/v1/slides/{status['slide_id']}").json()
    assert (slide["bytes"], slide["name"]) == (path.stat().st_size, "über.tiff")
