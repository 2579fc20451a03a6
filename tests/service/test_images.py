"""Images of slides over HTTP: what is kept and for how long, and that slides do not wait for each other."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.service.contexts import make_context, write_slide
from tests.service.serving import serving
from wsigraph.service.app import create_app
from wsigraph.service.image_store import ImageStore
from wsigraph.slide.reader import read

REAL = "/v1/slides/CMU-1-Small-Region"


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Directory with one small slide."""
    write_slide(tmp_path / "s.tiff")
    return tmp_path


@pytest.fixture
def own(folder: Path) -> Iterator[TestClient]:
    """A client of a service on it."""
    with TestClient(create_app(make_context(folder)), base_url="http://127.0.0.1") as client:
        yield client


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".wsigraph" / "images").glob("*/*")}


def test_tiles_stand_beside_their_description_as_deep_zoom_says(client: TestClient) -> None:
    version = client.get(REAL).json()["version"]
    for address in (f"{REAL}/dzi", f"{REAL}/versions/{version}/dzi"):
        root = ElementTree.fromstring(client.get(address).content)
        tile = client.get(f"{address}_files/12/1_1.{root.attrib['Format']}")
        assert pixels(tile.content).shape == (256, 256, 3)
        assert tile.content == client.get(f"{REAL}/tiles/12/1_1.jpeg").content


def test_a_versioned_url_is_immutable_and_a_plain_one_is_checked(client: TestClient) -> None:
    version = client.get(REAL).json()["version"]
    fixed = client.get(f"{REAL}/versions/{version}/dzi_files/11/0_0.jpeg")
    assert fixed.headers["cache-control"] == "private, max-age=31536000, immutable"
    plain = client.get(f"{REAL}/dzi_files/11/0_0.jpeg")
    assert plain.headers["cache-control"] == "private, no-cache"
    assert plain.headers["etag"] == fixed.headers["etag"] == f'"{version}"'
    assert client.get(f"{REAL}/versions/{'0' * 16}/dzi_files/11/0_0.jpeg").status_code == 404


@pytest.mark.parametrize("path", ["dzi", "dzi_files/11/0_0.jpeg", "thumbnail.jpeg", "region.jpeg?x=0&y=0&w=9&h=9", ""])
def test_head_and_304_have_the_headers_of_the_200(client: TestClient, path: str) -> None:
    address = f"{REAL}/{path}".rstrip("/")
    full, head = client.get(address), client.head(address)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert head.headers[name] == full.headers[name], name
    tag = full.headers["etag"]
    for known in (tag, f"W/{tag}", f'"another", {tag}'):
        again = client.get(address, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b""), known
        assert (again.headers["etag"], again.headers["cache-control"]) == (tag, full.headers["cache-control"])
    assert client.get(address, headers={"If-None-Match": '"another"'}).status_code == 200


def test_head_of_what_is_not_there_is_404_without_content(client: TestClient) -> None:
    response = client.head("/v1/slides/nowhere/thumbnail.jpeg")
    assert (response.status_code, response.content) == (404, b"")


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37])
def test_a_region_is_the_slide_s_pixels_at_any_scale(client: TestClient, data: Path, scale: float) -> None:
    query = {"x": 600, "y": 800, "w": 400, "h": 300, "scale": scale}
    met = pixels(client.get(f"{REAL}/region.jpeg", params=query).content)
    assert met.shape == (round(300 * scale), round(400 * scale), 3)
    with read(data / "CMU-1-Small-Region.svs") as slide:
        whole = slide.pixels().compute()[800:1100, 600:1000] if scale == 1.0 else None
    if whole is not None:
        # JPEG at quality 80 with halved chroma
        assert np.abs(met.astype(int) - whole).mean() < 8


def test_a_region_outside_the_slide_is_white_and_a_large_one_is_refused(client: TestClient) -> None:
    outside = client.get(f"{REAL}/region.jpeg?x=-500&y=-500&w=100&h=100")
    assert pixels(outside.content).min() > 250
    assert client.get(f"{REAL}/region.jpeg?x=0&y=0&w=50000&h=10").status_code == 413
    assert client.get(f"{REAL}/region.jpeg?x=0&y=0&w=10&h=10&scale=0").status_code == 422
    assert client.get(f"{REAL}/region.jpeg?x=0&y=0&w=10&h=10&scale=1e-300").status_code in (200, 413, 422)


def test_a_replaced_slide_never_shows_its_old_thumbnail(own: TestClient, folder: Path) -> None:
    path, before = folder / "s.tiff", own.get("/v1/slides/s/thumbnail.jpeg")
    stat = path.stat()
    content = bytearray(path.read_bytes())
    # the same size and the same time: other pixels, written into the same file
    content[1000:200_000] = bytes(199_000)
    with path.open("r+b") as stream:
        stream.write(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    headers = {"If-None-Match": before.headers["etag"]}
    after = own.get("/v1/slides/s/thumbnail.jpeg", headers=headers)
    assert after.status_code == 200
    assert after.content != before.content
    assert after.headers["etag"] != before.headers["etag"]
    assert own.get(f"/v1/slides/s/versions/{before.headers['etag'][1:-1]}/thumbnail.jpeg").status_code == 404


def test_lowest_tiles_and_thumbnails_outlive_the_service_and_open_no_slide(folder: Path) -> None:
    addresses = ["/v1/slides/s", "/v1/slides/s/thumbnail.jpeg", "/v1/slides/s/dzi_files/9/0_0.jpeg"]
    with TestClient(create_app(make_context(folder)), base_url="http://127.0.0.1") as client:
        first = [client.get(address).content for address in addresses]
    assert kept(folder) == {"slide.json", "thumbnail.jpeg", "9-0_0.jpeg"}
    context = make_context(folder)
    with TestClient(create_app(context), base_url="http://127.0.0.1") as client:
        context.pool.request = pytest.fail  # type: ignore[method-assign,assignment]  # no slide may be opened
        assert [client.get(address).content for address in addresses] == first


def test_images_of_slides_that_are_gone_and_damaged_ones_are_not_used(folder: Path) -> None:
    with TestClient(create_app(make_context(folder)), base_url="http://127.0.0.1") as client:
        whole = client.get("/v1/slides/s/thumbnail.jpeg").content
    (image,) = (folder / ".wsigraph" / "images").glob("*/thumbnail.jpeg")
    image.write_bytes(whole[:100])
    with TestClient(create_app(make_context(folder)), base_url="http://127.0.0.1") as client:
        assert client.get("/v1/slides/s/thumbnail.jpeg").content == whole
    (folder / "s.tiff").unlink()
    with TestClient(create_app(make_context(folder)), base_url="http://127.0.0.1"):
        until = time.monotonic() + 20
        while kept(folder) and time.monotonic() < until:
            time.sleep(0.05)
    assert kept(folder) == set()


def test_the_images_on_disk_stay_below_their_limit(tmp_path: Path) -> None:
    store = ImageStore(tmp_path, 10_000)
    for number in range(30):
        store.write(f"{number:016x}", "thumbnail.jpeg", bytes(998) + b"\xff\xd9")
    total = sum(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert 0 < total <= 10_000
    assert store.read(f"{29:016x}", "thumbnail.jpeg") is not None
    nothing = ImageStore(tmp_path / "none", 0)
    nothing.write("0" * 16, "thumbnail.jpeg", b"\xff\xd9")
    assert not (tmp_path / "none").exists()


def test_one_slow_slide_never_delays_another(folder: Path) -> None:
    write_slide(folder / "slow.tiff", seed=1)
    context = make_context(folder, "service.slide_processes=2")
    answer, begun, may_end = context.pool.request, threading.Event(), threading.Event()

    def request(message: dict, **options: object) -> object:
        if message.get("path", "").endswith("slow.tiff"):
            begun.set()
            # as a disk that does not answer: the process is busy until then
            assert may_end.wait(60)
        return answer(message, **options)

    context.pool.request = request  # type: ignore[method-assign,assignment]
    with serving(context) as address:
        slow = [
            threading.Thread(target=httpx.get, args=(f"{address}/v1/slides/slow/{path}",), kwargs={"timeout": 90})
            for path in ["thumbnail.jpeg"] + [f"dzi_files/10/{number % 4}_0.jpeg" for number in range(60)]
        ]
        for thread in slow:
            thread.start()
        assert begun.wait(30)
        time.sleep(0.5)
        started = time.monotonic()
        for path in ("dzi_files/10/0_0.jpeg", "dzi_files/9/0_0.jpeg", "region.jpeg?x=0&y=0&w=99&h=99"):
            assert httpx.get(f"{address}/v1/slides/s/{path}", timeout=30).status_code == 200
        # the slow one would hold them for a minute; a second is for a busy machine
        assert time.monotonic() - started < 20
        assert not may_end.is_set()
        may_end.set()
        for thread in slow:
            thread.join(60)
