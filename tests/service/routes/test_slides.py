"""Slides over HTTP: what is listed and told, and tiles that are the slide's own pixels."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.service.contexts import make_context, write_slide
from wsigraph.geometry import Box, Size
from wsigraph.service.app import create_app
from wsigraph.service.catalogue import Catalogue, slug
from wsigraph.service.deepzoom import DeepZoom
from wsigraph.slide.inspection import inspect
from wsigraph.slide.reader import read

REAL = "/v1/slides/CMU-1-Small-Region"


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_what_may_be_a_slide_is_listed_and_nothing_else(client: TestClient) -> None:
    slides = client.get("/v1/slides").json()["slides"]
    assert [each["slide_id"] for each in slides] == ["CMU-1-Small-Region", "broken", "no-mpp", "made one"]
    assert [each["name"] for each in slides][-1] == "ward 7/made one.tiff"


def test_a_slide_is_told_as_the_command_tells_it_without_its_place(client: TestClient, small_slide: Path) -> None:
    metadata, stated = client.get(REAL).json(), inspect(small_slide)
    for name in ("size", "levels", "mpp", "mpp_source", "objective_power", "vendor", "associated", "warnings"):
        assert metadata[name] == stated[name], name
    assert metadata["identifying_images"] == ["label", "macro"]
    assert "patient" in metadata["privacy"]
    assert "path" not in metadata
    assert not metadata["associated_served"]


def test_a_slide_that_does_not_read_is_a_problem_with_the_command_s_sentence(client: TestClient, data: Path) -> None:
    response = client.get("/v1/slides/broken")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] in ("UnreadableSlide", "TruncatedSlide")
    assert response.json()["detail"].startswith("slide 'broken.svs'")
    assert str(data) not in response.text


def test_deep_zoom_description_is_read_by_its_schema(client: TestClient) -> None:
    root = ElementTree.fromstring(client.get(f"{REAL}/dzi").text)
    assert root.tag == "{http://schemas.microsoft.com/deepzoom/2008}Image"
    assert root.attrib == {"Format": "jpeg", "Overlap": "1", "TileSize": "254"}
    assert dict(root[0].attrib) == {"Width": "2220", "Height": "2967"}


@pytest.mark.parametrize("level", [12, 11, 9, 0])
def test_tiles_are_the_slide_s_pixels(client: TestClient, data: Path, level: int) -> None:
    pyramid = DeepZoom(size=Size(2967, 2220))
    cols, rows = pyramid.grid(level)
    with read(data / "CMU-1-Small-Region.svs") as slide:
        for col, row in {(0, 0), (cols - 1, rows - 1), (cols // 2, rows // 2)}:
            box = pyramid.box(level, col, row)
            met = pixels(client.get(f"{REAL}/tiles/{level}/{col}_{row}.jpeg").content)
            expected = slide.read(box, slide.info.mpp * pyramid.downsample(level))
            assert met.shape == expected.shape
            # JPEG at quality 80 with halved chroma: a few grey levels in the mean
            assert np.abs(met.astype(int) - expected).mean() < 8


def test_a_tile_is_kept_and_known_by_its_tag(client: TestClient) -> None:
    first = client.get(f"{REAL}/tiles/11/1_1.jpeg")
    assert client.get(f"{REAL}/tiles/11/1_1.jpeg").content == first.content
    again = client.get(f"{REAL}/tiles/11/1_1.jpeg", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_slide_without_pixel_size_can_be_looked_at(client: TestClient) -> None:
    assert client.get("/v1/slides/no-mpp").json()["mpp"] is None
    assert pixels(client.get("/v1/slides/no-mpp/thumbnail.jpeg").content).shape == (350, 450, 3)


@pytest.mark.parametrize("place", ["13/0_0", "12/99_0", "12/0_99", "99/0_0"])
def test_tiles_outside_the_pyramid_are_not_there(client: TestClient, place: str) -> None:
    response = client.get(f"{REAL}/tiles/{place}.jpeg")
    assert (response.status_code, response.json()["title"]) == (404, "NotFound")


def test_labels_are_served_where_asked_for_alone(client: TestClient, data: Path) -> None:
    refused = client.get(f"{REAL}/associated/label.jpeg")
    assert (refused.status_code, refused.json()["title"]) == (403, "NotAllowed")
    with TestClient(create_app(make_context(data, serves_associated=True)), base_url="http://127.0.0.1") as open_one:
        assert pixels(open_one.get(f"{REAL}/associated/label.jpeg").content).ndim == 3
        assert open_one.get(f"{REAL}/associated/..%2Flabel.jpeg").status_code == 404


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), tile=st.integers(64, 600), overlap=st.integers(0, 8))
def test_tiles_without_their_overlap_partition_every_level(height: int, width: int, tile: int, overlap: int) -> None:
    pyramid = DeepZoom(size=Size(height, width), tile_px=tile, overlap_px=overlap)
    assert pyramid.level_size(0) == Size(1, 1)
    assert pyramid.level_size(pyramid.n_levels - 1) == Size(height, width)
    for level in range(pyramid.n_levels):
        size, (cols, rows) = pyramid.level_size(level), pyramid.grid(level)
        for n, length, index in ((cols, size.width, 0), (rows, size.height, 1)):
            edges = []
            for at in range(n):
                box = pyramid.box(level, at if index == 0 else 0, at if index == 1 else 0)
                low, high = (box.x0, box.x1) if index == 0 else (box.y0, box.y1)
                edges.append((low + (overlap if at else 0), high - (overlap if at + 1 < n else 0)))
            assert edges[0][0] == 0
            assert edges[-1][1] == length
            # the last tile may be narrower than the overlap that its neighbour has of it
            assert all(before[1] >= after[0] - overlap for before, after in pairwise(edges))


@given(st.text(max_size=300))
def test_names_for_addresses_are_safe(text: str) -> None:
    made = slug(text)
    assert made
    assert len(made) <= 120
    assert made not in (".", "..")
    assert all(sign.isascii() and (sign.isalnum() or sign in "-_.") for sign in made)


def test_equal_names_stay_apart_and_links_to_nowhere_are_left_out(tmp_path: Path) -> None:
    for ward in ("a", "b"):
        (tmp_path / ward).mkdir()
        (tmp_path / ward / "x.svs").write_bytes(b"1")
    (tmp_path / "gone.svs").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = Catalogue(tmp_path, tmp_path / "up").slides()
    assert [entry.name for entry in found] == ["a/x.svs", "b/x.svs"]
    assert [entry.slide_id for entry in found] == ["a__x.svs", "b__x.svs"]


def test_a_changed_file_is_another_version(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.tiff")
    first = Catalogue(tmp_path, tmp_path / "up").find("s")
    write_slide(path, height=701)
    assert Catalogue(tmp_path, tmp_path / "up").find("s").version != first.version


def test_a_box_is_cut_at_the_level_s_edge() -> None:
    assert DeepZoom(size=Size(300, 300)).box(9, 1, 1) == Box(y0=253, x0=253, y1=300, x1=300)
