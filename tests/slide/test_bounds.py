"""A slide is the scanned area of its plane, and every output says where that area lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image

from tests.slide.leica import write_scn
from wsigraph.geometry import Box, Size
from wsigraph.slide.bounds import crop_levels, offset_px, parse_bounds
from wsigraph.slide.inspection import inspect
from wsigraph.slide.reader import read
from wsigraph.store import load_slide_info, save_slide_info

CORNER, PLANE = (2500, 4002), (6000, 8000)


@pytest.fixture(scope="module")
def scn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a slide of 1024 x 768 px on a plane of 6000 x 8000."""
    picture = np.random.default_rng(3).integers(90, 250, (96, 128, 3), np.uint8)
    image = Image.fromarray(picture)
    levels = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for size in ((1024, 768), (256, 192))]
    return write_scn(tmp_path_factory.mktemp("scn") / "area.scn", levels, CORNER, PLANE)


def test_a_slide_is_the_scanned_area_pixel_for_pixel(scn: Path) -> None:
    with read(scn) as slide, openslide.OpenSlide(str(scn)) as plane:
        assert (slide.info.origin, slide.info.plane) == (CORNER, Size(PLANE[1], PLANE[0]))
        assert [level.size for level in slide.info.levels] == [Size(768, 1024), Size(192, 256)]
        expected = np.asarray(plane.read_region((CORNER[0] + 40, CORNER[1] + 30), 0, (300, 200)))[..., :3]
        np.testing.assert_array_equal(slide.read(Box(y0=30, x0=40, y1=230, x1=340)), expected)
        # 4002 is no multiple of 4: the level begins at the nearest whole pixel, unblurred
        expected = np.asarray(plane.read_region((2500 + 80, 4000 + 40), 1, (100, 100)))[..., :3]
        np.testing.assert_array_equal(slide.read(Box(y0=10, x0=20, y1=110, x1=120), 2.0), expected)


def test_inspect_and_slide_json_state_the_place(scn: Path, tmp_path: Path) -> None:
    assert inspect(scn)["bounds"] == {
        "x": 2500, "y": 4002, "width": 1024, "height": 768, "plane_width": 6000, "plane_height": 8000,
    }  # fmt: skip
    with read(scn) as slide:
        save_slide_info(slide.info, tmp_path / "slide.json")
        stored = load_slide_info(tmp_path / "slide.json")
    assert (stored.origin, stored.plane) == (CORNER, Size(8000, 6000))
    assert offset_px(stored, "plane") == CORNER
    assert offset_px(stored, "bounds") == (0, 0)


@pytest.mark.parametrize(
    ("properties", "is_warned"),
    [
        ({}, False),
        ({"x": "0", "y": "0", "width": "100", "height": "80"}, False),
        ({"x": "5", "y": "0", "width": "100", "height": "80"}, True),
        ({"x": "-1", "y": "0", "width": "10", "height": "10"}, True),
        ({"x": "1", "y": "0", "width": "0", "height": "10"}, True),
        ({"x": "many", "y": "0", "width": "10", "height": "10"}, True),
    ],
)
def test_an_area_that_is_absurd_or_the_whole_plane_is_no_area(properties: dict[str, str], is_warned: bool) -> None:
    stated = {f"openslide.bounds-{side}": value for side, value in properties.items()}
    bounds, warnings = parse_bounds(stated, Size(80, 100))
    assert bounds is None
    assert bool(warnings) == is_warned


@pytest.mark.parametrize("corner", [(0, 1), (3, 5), (77, 31), (511, 640)])
def test_a_level_covers_the_area_within_half_a_pixel(corner: tuple[int, int]) -> None:
    x, y = corner
    bounds = Box(y0=y, x0=x, y1=y + 333, x1=x + 217)
    plane = [(Size(1024, 2048), Size(64, 64)), (Size(256, 512), Size(64, 64)), (Size(64, 128), Size(64, 64))]
    levels, corners = crop_levels(plane, bounds)
    assert levels[0].size == bounds.size
    for level, (top, left) in zip(levels, corners, strict=True):
        assert abs(top * level.downsample - y) <= level.downsample / 2
        assert abs(left * level.downsample - x) <= level.downsample / 2
        assert level.size.height * level.downsample >= 333
        assert level.size.width * level.downsample >= 217
