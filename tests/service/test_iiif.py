"""The IIIF Image API 3.0 at level 1, request by request as its compliance document lists them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.service.contexts import make_context
from wsigraph.geometry import Size
from wsigraph.service.app import create_app
from wsigraph.service.iiif_requests import IiifError, image_information, parse_request

IMAGE = "/iiif/3/CMU-1-Small-Region"
WIDTH, HEIGHT = 2220, 2967


def size_of(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


@pytest.mark.parametrize(
    ("request_path", "size"),
    [
        ("full/max/0/default.jpg", (WIDTH, HEIGHT)),
        ("full/300,/0/default.jpg", (300, 401)),
        ("full/,300/0/default.jpg", (224, 300)),
        ("full/200,200/0/color.jpg", (200, 200)),
        ("square/100,/0/default.jpg", (100, 100)),
        ("512,1024,512,512/512,512/0/default.jpg", (512, 512)),
        ("2000,2900,512,512/max/0/default.jpg", (220, 67)),
        ("0,0,2048,2048/256,256/0/default.jpg", (256, 256)),
    ],
)
def test_images_have_the_requested_size(client: TestClient, request_path: str, size: tuple[int, int]) -> None:
    response = client.get(f"{IMAGE}/{request_path}")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/jpeg")
    assert size_of(response.content) == size


@pytest.mark.parametrize(
    ("request_path", "status"),
    [
        ("full/max/90/default.jpg", 501),
        ("full/max/!0/default.jpg", 501),
        ("full/max/up/default.jpg", 400),
        ("full/max/0/gray.jpg", 501),
        ("full/max/0/default.png", 501),
        ("full/pct:50/0/default.jpg", 501),
        ("full/!10,10/0/default.jpg", 501),
        ("full/^max/0/default.jpg", 501),
        ("pct:0,0,10,10/max/0/default.jpg", 501),
        ("9000,0,10,10/max/0/default.jpg", 400),
        ("0,0,0,10/max/0/default.jpg", 400),
        ("0,0,10/max/0/default.jpg", 400),
        ("full/0,/0/default.jpg", 400),
        ("full/,/0/default.jpg", 400),
        ("full/9999,/0/default.jpg", 400),
    ],
)
def test_what_is_malformed_or_above_level_1_is_refused(client: TestClient, request_path: str, status: int) -> None:
    response = client.get(f"{IMAGE}/{request_path}")
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


def test_tiles_of_the_information_are_those_of_deep_zoom(client: TestClient) -> None:
    tile = client.get(f"{IMAGE}/0,0,2032,2032/254,254/0/default.jpg").content
    region = client.get("/v1/slides/CMU-1-Small-Region/region.jpeg?x=0&y=0&w=2032&h=2032&scale=0.125").content
    first, second = (
        np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int) for content in (tile, region)
    )
    assert np.abs(first - second).max() == 0


def test_the_information_is_json_ld_for_whom_asks_for_it(client: TestClient) -> None:
    response = client.get(f"{IMAGE}/info.json")
    values = response.json()
    assert values["id"] == f"http://127.0.0.1{IMAGE}"
    assert (values["width"], values["height"], values["profile"]) == (WIDTH, HEIGHT, "level1")
    assert response.headers["content-type"] == "application/json"
    linked = client.get(f"{IMAGE}/info.json", headers={"Accept": "application/ld+json"})
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")
    assert linked.json() == values
    moved = client.get(IMAGE, follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (303, "CMU-1-Small-Region/info.json")
    assert client.get(IMAGE).json() == values


def test_only_named_origins_may_read(client: TestClient, data: Path) -> None:
    origin = {"Origin": "https://mirador.example.org"}
    assert "access-control-allow-origin" not in client.get(f"{IMAGE}/info.json", headers=origin).headers
    context = make_context(data, "service.iiif_origins=[https://mirador.example.org]")
    with TestClient(create_app(context), base_url="http://127.0.0.1") as opened:
        for path in ("info.json", "full/9,/0/default.jpg"):
            headers = opened.get(f"{IMAGE}/{path}", headers=origin).headers
            assert headers["access-control-allow-origin"] == origin["Origin"]
            assert headers["cross-origin-resource-policy"] == "cross-origin"
            other = opened.get(f"{IMAGE}/{path}", headers={"Origin": "https://evil.example"}).headers
            assert "access-control-allow-origin" not in other


@given(height=st.integers(1, 200_000), width=st.integers(1, 200_000), data=st.data())
def test_every_tile_of_the_information_is_answered_at_its_power_of_two(
    height: int, width: int, data: st.DataObject
) -> None:
    slide = Size(height, width)
    information = image_information("a", slide)
    (tiles,) = information["tiles"]
    factor = data.draw(st.sampled_from(tiles["scaleFactors"]))
    side = tiles["width"] * factor
    x, y = (data.draw(st.integers(0, (length - 1) // side)) * side for length in (width, height))
    w, h = min(side, width - x), min(side, height - y)
    size = f"{-(-w // factor)},{-(-h // factor)}"
    wanted = parse_request(slide, f"{x},{y},{w},{h}", size, "0", "default", "jpg")
    assert wanted.downsample <= factor
    if min(w, h) >= factor * 2:
        assert wanted.downsample == factor
    for listed in information["sizes"]:
        parse_request(slide, "full", f"{listed['width']},{listed['height']}", "0", "default", "jpg")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_other_text_is_refused(region: str, size: str) -> None:
    status, wanted = None, None
    try:
        wanted = parse_request(Size(300, 400), region, size, "0", "default", "jpg")
    except IiifError as error:
        status = error.status
    assert status in (None, 400, 501)
    assert wanted is None or (wanted.size.height <= 300 and wanted.size.width <= 400)
