"""OME-Zarr: where its metadata state what, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from wsigraph.errors import CorruptTile, MissingMpp, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide.inspection import inspect
from wsigraph.slide.ome_zarr import OmeZarrReader
from wsigraph.slide.reader import default_slide_id, read

Write = Callable[..., Path]
SCALE = [{"type": "scale", "scale": [1.0, 0.25, 0.25]}]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of one array with the axes c, y, x and any change to its metadata."""

    def make(planes: np.ndarray, *, zarr_format: int = 2, inside: str = "", **change: Any) -> Path:
        path = tmp_path / "slide.ome.zarr"
        group = zarr.open_group(str(path / inside), mode="w", zarr_format=zarr_format)
        chunks = (*planes.shape[:-2], 50, 60)
        array = group.create_array("full", shape=planes.shape, chunks=chunks, dtype=planes.dtype)
        array[:] = planes
        units = [{"name": "c"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]
        multiscale = {
            "axes": units,
            "datasets": [{"path": "full", "coordinateTransformations": SCALE}],
            **change,
        }
        group.attrs["multiscales"] = [{key: value for key, value in multiscale.items() if value is not None}]
        return path

    return make


@pytest.fixture
def planes(texture) -> np.ndarray:
    return np.moveaxis(texture(130, 170), 2, 0)


def test_it_is_opened_by_its_folder(write: Write, planes: np.ndarray) -> None:
    path = write(planes)
    assert default_slide_id(path) == "slide"
    with read(path) as slide:
        assert (slide.info.reader, slide.info.mpp, slide.info.mpp_source) == ("ome_zarr", 0.25, "ome-zarr.scale")
        assert slide.info.levels[0].tile == Size(50, 60)
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), np.moveaxis(planes, 0, 2))
    assert inspect(path)["reader"] == "ome_zarr"


def test_its_digest_tells_where_chunks_lie(write: Write, planes: np.ndarray) -> None:
    path = write(planes)
    before = inspect(path)["sha256"]
    first, second = path / "full" / "0.0.0", path / "full" / "0.0.1"
    first.rename(path / "aside")
    second.rename(first)
    (path / "aside").rename(second)
    assert inspect(path)["sha256"] != before


@pytest.mark.parametrize(
    ("change", "mpp"),
    [
        ({}, 0.25),
        ({"coordinateTransformations": [{"type": "scale", "scale": [1.0, 2.0, 2.0]}]}, 0.5),
        ({"axes": [{"name": "c"}, *({"name": name, "unit": "nanometer"} for name in "yx")]}, 0.00025),
        ({"axes": [{"name": "c"}, {"name": "y"}, {"name": "x"}]}, None),
        ({"axes": ["c", "y", "x"]}, None),
        ({"datasets": [{"path": "full"}]}, None),
    ],
    ids=["scale", "two scales", "nanometres", "no unit", "axes of version 0.3", "no scale"],
)
def test_the_pixel_size_needs_scale_and_unit(
    write: Write, planes: np.ndarray, change: dict[str, Any], mpp: float | None
) -> None:
    path = write(planes, **change)
    assert inspect(path)["mpp"] == mpp
    if mpp is None:
        with pytest.raises(MissingMpp, match="--mpp"):
            read(path)


def test_pixels_that_are_not_square_are_refused(write: Write, planes: np.ndarray) -> None:
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.25]}]
    path = write(planes, datasets=[{"path": "full", "coordinateTransformations": scale}])
    assert "not square, 0.25 um along x and 0.5 along y" in inspect(path)["mpp_problem"]
    with pytest.raises(MissingMpp, match="not square"):
        read(path)


def test_channels_last_and_grey_are_read_too(write: Write, texture) -> None:
    picture = texture(60, 90)
    axes = [{"name": name} for name in ("y", "x", "c")]
    reader = OmeZarrReader(write(picture, axes=axes))
    np.testing.assert_array_equal(reader.read_level(0, Box(y0=3, x0=5, y1=50, x1=70)), picture[3:50, 5:70])
    reader = OmeZarrReader(write(picture[..., 0], axes=axes[:2], datasets=[{"path": "full"}]))
    expected = np.repeat(picture[..., :1], 3, axis=2)
    np.testing.assert_array_equal(reader.read_level(0, Box.whole(Size(60, 90))), expected)


def test_series_0_of_a_converter_is_found(write: Write, planes: np.ndarray) -> None:
    path = write(planes, inside="0")
    zarr.open_group(str(path), mode="a", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    with read(path) as slide:
        assert slide.size() == Size(130, 170)


def test_chunks_that_are_not_stored_are_white(write: Write, planes: np.ndarray) -> None:
    planes[:, :50, 60:120] = 0
    path = write(planes)
    with read(path) as slide:
        pixels = slide.read(Box.whole(slide.size()))
    assert (pixels[:50, 60:120] == 255).all()
    np.testing.assert_array_equal(pixels[50:], np.moveaxis(planes, 0, 2)[50:])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_is_named_and_leaves_the_others(write: Write, planes: np.ndarray, zarr_format: int) -> None:
    path = write(planes, zarr_format=zarr_format)
    (path / "full" / ("0.1.1" if zarr_format == 2 else "c/0/1/1")).write_bytes(b"damaged")
    reader = OmeZarrReader(path)
    with pytest.raises(CorruptTile, match="chunk 1, 1 of level 0 does not decode"):
        reader.read_level(0, Box(y0=0, x0=0, y1=60, x1=100))
    assert reader.read_level(0, Box(y0=0, x0=0, y1=50, x1=170)).shape == (50, 170, 3)
    expected = np.moveaxis(planes, 0, 2).copy()
    expected[50:100, 60:120] = 255
    with read(path, max_bad_tile_fraction=0.2) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), expected)
        assert [(tile.row, tile.column) for tile in slide.bad_tiles] == [(1, 1)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"axes": [{"name": name} for name in ("c", "y", "z")]}, "its axes are c, y, z"),
        ({"axes": [{"name": name} for name in ("t", "y", "x")]}, "a series in time"),
        ({"datasets": [{"path": "absent"}]}, "damaged OME-Zarr metadata"),
        ({"datasets": []}, "damaged OME-Zarr metadata"),
        ({"axes": None}, "damaged OME-Zarr metadata"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_reason(
    write: Write, planes: np.ndarray, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnreadableSlide, match=words):
        read(write(planes, **change), mpp=0.5)


def test_other_samples_are_refused(write: Write, planes: np.ndarray) -> None:
    with pytest.raises(UnreadableSlide, match="it holds uint16"):
        read(write(planes.astype(np.uint16)), mpp=0.5)
    with pytest.raises(UnreadableSlide, match="it holds 2 channels"):
        read(write(planes[:2]), mpp=0.5)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"multiscales": 3}), json.dumps({"ome": []})])
def test_damaged_metadata_match_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "slide.zarr"
    path.mkdir()
    (path / ".zattrs").write_text(content)
    assert not OmeZarrReader.matches(path)
    with pytest.raises(UnreadableSlide, match="of no format that the readers know"):
        read(path)
