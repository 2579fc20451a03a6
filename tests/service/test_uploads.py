"""Uploads: resumed where they broke, never under a name of the client's, removed where they are no slide."""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.service.contexts import bearer, make_context, tokens, write_slide
from wsigraph.service.app import create_app


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[TestClient]:
    """A client of a service that takes small slides."""
    small = make_context(
        place,
        "service.upload_max_gb=0.02",
        "service.uploads_max=3",
        "service.slide_memory_gb=2",
        "service.slide_time_s=20",
    )
    with TestClient(create_app(small), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_slide(tmp_path_factory.mktemp("made") / "s.tiff", 300, 400).read_bytes()


def begin(client: TestClient, name: str, size: int) -> str:
    response = client.post("/v1/uploads", json={"name": name, "size": size})
    assert response.status_code == 201, response.text
    assert response.json()["offset"] == 0
    return str(response.json()["upload_id"])


def send(client: TestClient, upload_id: str, offset: int, content: bytes):
    return client.patch(f"/v1/uploads/{upload_id}", content=content, headers={"Upload-Offset": str(offset)})


def upload(client: TestClient, name: str, content: bytes):
    """Upload a file and wait for the verdict."""
    upload_id = begin(client, name, len(content))
    response, until = send(client, upload_id, 0, content), time.monotonic() + 60
    while response.status_code == 202 and time.monotonic() < until:
        response = send(client, upload_id, len(content), b"")
    # the first answer of a slide is 201, that of a repeated part 200
    if response.status_code == 200:
        response.status_code = 201
    return response


def test_an_upload_goes_on_where_it_broke_and_becomes_a_slide(client: TestClient, place: Path, content: bytes) -> None:
    upload_id = begin(client, "Patient 7.tiff", len(content))
    half = len(content) // 2
    assert send(client, upload_id, 0, content[:half]).json()["slide_id"] is None
    wrong = send(client, upload_id, 0, content[:half])
    assert (wrong.status_code, wrong.json()["title"]) == (409, "Conflict")
    assert f"continue from {half}" in wrong.json()["detail"]
    head = client.head(f"/v1/uploads/{upload_id}")
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(half), str(len(content)))
    ended = send(client, upload_id, half, content[half:])
    assert ended.status_code == 201
    slide_id = ended.json()["slide_id"]
    listed = {each["slide_id"]: each for each in client.get("/v1/slides").json()["slides"]}
    assert re.fullmatch("[0-9a-f]{16}", listed[slide_id].pop("version"))
    assert listed[slide_id] == {"slide_id": slide_id, "name": "Patient 7.tiff", "bytes": len(content), "uploaded": True}
    assert client.get(f"/v1/slides/{slide_id}").json()["size"] == {"width": 400, "height": 300}
    # a client that missed the last answer asks again, or sends the last part again
    known = {"upload_id": upload_id, "offset": len(content), "size": len(content), "slide_id": slide_id}
    known |= {"state": "done", "error": None, "detail": ""}
    assert client.get(f"/v1/uploads/{upload_id}").json() == known
    assert send(client, upload_id, half, content[half:]).json() == known
    assert client.delete(f"/v1/uploads/{upload_id}").status_code == 409
    assert [path.name for path in (place / ".wsigraph" / "uploads" / upload_id).glob("slide*")] == ["slide.tiff"]
    assert client.delete(f"/v1/slides/{slide_id}").status_code == 204
    assert client.get(f"/v1/slides/{slide_id}").status_code == 404
    assert client.get(f"/v1/uploads/{upload_id}").status_code == 404


@pytest.mark.parametrize(
    "name", ["../../evil.tiff", "/etc/cron.d/x.tiff", "..\\..\\boot.tiff", "a\x00b\n.tiff", "." * 90 + ".tiff"]
)
def test_a_name_is_shown_and_never_a_path(client: TestClient, place: Path, content: bytes, name: str) -> None:
    before = {path for path in place.parent.rglob("*") if ".wsigraph" not in path.parts}
    slide_id = upload(client, name, content).json()["slide_id"]
    assert "/" not in slide_id
    assert ".." not in slide_id
    assert {path for path in place.parent.rglob("*") if ".wsigraph" not in path.parts} == before
    assert client.delete(f"/v1/slides/{slide_id}").status_code == 204


@pytest.mark.parametrize(("name", "size", "status"), [
    ("a.exe", 10, 422), ("a", 10, 422), ("a.mrxs", 10, 422), ("a.svs", 0, 422), ("a.svs", -1, 422),
    ("", 10, 422), ("a.svs", 10**30, 422), ("a.svs", 10**9, 413),
])  # fmt: skip
def test_what_cannot_become_a_slide_is_refused_before_its_bytes(
    client: TestClient, name: str, size: int, status: int
) -> None:
    assert client.post("/v1/uploads", json={"name": name, "size": size}).status_code == status


def test_more_bytes_than_announced_are_refused(client: TestClient, content: bytes) -> None:
    upload_id = begin(client, "a.tiff", 100)
    assert send(client, upload_id, 0, content[:101]).status_code == 409
    assert client.get(f"/v1/uploads/{upload_id}").json()["offset"] == 0
    assert client.delete(f"/v1/uploads/{upload_id}").status_code == 204
    assert send(client, upload_id, 0, b"x").status_code == 404


def test_unfinished_uploads_are_counted_and_expire(tmp_path: Path) -> None:
    import os

    owned = make_context(tmp_path, "service.uploads_max=2", tokens=tokens())
    with TestClient(create_app(owned)) as client:
        requested = {"name": "a.svs", "size": 9}
        made = [client.post("/v1/uploads", json=requested, headers=bearer("run")) for _ in range(3)]
        assert [each.status_code for each in made] == [201, 201, 429]
        known = made[0].json()["upload_id"]
        assert client.get(f"/v1/uploads/{known}", headers=bearer("admin")).status_code == 200
        os.utime(tmp_path / ".wsigraph" / "uploads" / ".open" / known / "slide.svs", (0, 0))
        assert client.post("/v1/uploads", json=requested, headers=bearer("run")).status_code == 201
        assert client.get(f"/v1/uploads/{known}", headers=bearer("run")).status_code == 404


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(tmp_path: Path, **options: object) -> bytes:
    path = tmp_path / "bomb.tiff"
    with tifffile.TiffWriter(path) as writer:
        writer.write(**options)  # type: ignore[arg-type]
    return path.read_bytes()


def test_decompression_bombs_cost_one_request_and_no_memory(client: TestClient, tmp_path: Path) -> None:
    # 30 Gpx of nothing in 4 kB of compressed rows; a picture that says it is small and unpacks to 1 GB; one giant tile
    liar = png(60_000, 500_000, zlib.compress(bytes(4_000_000)))
    flood = png(64, 64, zlib.compress(bytes(200_000_000), 9))
    tile = np.zeros((16384, 16384), np.uint8)
    giant = tiff(tmp_path, data=tile, tile=(16384, 16384), compression="zlib", photometric="minisblack")
    for name, bomb in (("liar.png", liar), ("flood.png", flood), ("giant.tiff", giant)):
        assert len(bomb) < 3_000_000
        response = upload(client, name, bomb)
        assert response.status_code in (413, 422, 201), (name, response.text)
        if response.status_code == 201:
            # the picture itself is small: what is beyond its end was not unpacked
            assert name == "flood.png"
    assert client.get("/v1/slides").status_code == 200


def broken_slides(content: bytes) -> dict[str, bytes]:
    """Slides broken in the ways that files break: cut, overwritten, pointing in circles or beyond their end."""
    rng = np.random.default_rng(0)
    made = {f"cut-{share}": content[: int(len(content) * share)] for share in (0.001, 0.01, 0.3, 0.9, 0.999)}
    for number in range(12):
        damaged = bytearray(content)
        for at in rng.integers(0, len(damaged), 40 if number % 2 else 4000):
            damaged[at] = rng.integers(256)
        made[f"damaged-{number}"] = bytes(damaged)
    head = bytearray(content[:8])
    made["circle"] = bytes(head[:4]) + struct.pack("<I", 8) + struct.pack("<H", 1) + bytes(12) + struct.pack("<I", 8)
    made["beyond"] = bytes(head[:4]) + struct.pack("<I", 2**31) + bytes(64)
    made["many-tags"] = bytes(head[:4]) + struct.pack("<I", 8) + struct.pack("<H", 65535) + bytes(65535)
    made["zeros"] = bytes(4096)
    made["noise"] = rng.bytes(4096)
    picture = io.BytesIO()
    Image.new("RGB", (300, 200)).save(picture, "JPEG")
    made["jpeg-cut"] = picture.getvalue()[:400]
    return made


def test_broken_slides_are_problems_and_the_service_goes_on(client: TestClient, content: bytes) -> None:
    statuses = {}
    for name, broken in broken_slides(content).items():
        response = upload(client, f"{name}.tiff", broken)
        statuses[name] = response.status_code
        assert response.status_code in (201, 413, 422), (name, response.text)
        if response.status_code == 201:
            slide_id = response.json()["slide_id"]
            for address in ("", "/dzi", "/thumbnail.jpeg", "/tiles/8/0_0.jpeg"):
                assert client.get(f"/v1/slides/{slide_id}{address}").status_code in (200, 404, 413, 422), (
                    name,
                    address,
                )
            client.delete(f"/v1/slides/{slide_id}")
        else:
            assert response.headers["content-type"] == "application/problem+json"
    assert sum(status == 422 for status in statuses.values()) > 5
    assert upload(client, "sound.tiff", content).status_code == 201


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0.01, 1.0), places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=60))
def test_any_damage_is_a_problem_or_a_slide(
    client: TestClient, content: bytes, cut: float, places: list[tuple[float, int]]
) -> None:
    damaged = bytearray(content[: max(1, int(len(content) * cut))])
    for at, value in places:
        damaged[int(at * len(damaged))] = value
    response = upload(client, "damaged.tiff", bytes(damaged))
    assert response.status_code in (201, 413, 422), response.text
    if response.status_code == 201:
        slide_id = response.json()["slide_id"]
        assert client.get(f"/v1/slides/{slide_id}/thumbnail.jpeg").status_code in (200, 413, 422)
        client.delete(f"/v1/slides/{slide_id}")
