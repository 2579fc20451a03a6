"""16-bit RGB is read by a stated window alone; every refusal says what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

import wsigraph
from wsigraph.config import load
from wsigraph.errors import ConfigError, UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.colour import apply_window

LOW, HIGH = 400, 4495


@pytest.fixture
def deep(texture) -> np.ndarray:
    """Return 16-bit RGB whose levels 400 to 4495 hold a picture."""
    picture = texture(150, 170).astype(np.uint16)
    return (picture * 16 + LOW).astype(np.uint16)


def write(path: Path, pixels: np.ndarray, kind: str) -> Path:
    tiled = {"tile": (64, 64)} if kind == "tiled" else {"rowsperstrip": 16}
    compression = "zlib" if kind == "tiled" else None
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, metadata=None, **tiled)
    return path


@pytest.mark.parametrize("kind", ["tiled", "strips"])
def test_a_window_makes_a_picture(deep: np.ndarray, tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "deep.tiff", deep, kind)
    with pytest.raises(UnreadableSlide, match=r"16 bits; state which levels.*slide.window=\[LOW,HIGH\].*bfconvert"):
        wsigraph.read(path, mpp=1.0)
    with wsigraph.read(path, mpp=1.0, window=(LOW, HIGH)) as slide:
        pixels = slide.read(Box.whole(slide.size()))
        assert slide.info.window == (LOW, HIGH)
        # another process opens it by the same window
        other = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(other.read(Box.whole(slide.size())), pixels)
    exact = np.floor((deep.astype(float) - LOW) * 255 / (HIGH - LOW) + 0.5).clip(0, 255)
    np.testing.assert_array_equal(pixels, exact)


def test_levels_outside_are_cut_off_and_the_ends_are_black_and_white() -> None:
    samples = np.array([0, 400, 401, 4494, 4495, 65535], np.uint16)
    assert apply_window(samples, (LOW, HIGH)).tolist() == [0, 0, 0, 255, 255, 255]
    assert apply_window(samples, (0, 65535)).tolist() == [0, 2, 2, 17, 17, 255]


def test_a_window_leaves_8_bits_alone(tmp_path: Path, texture) -> None:
    picture = texture(100, 100)
    path = write(tmp_path / "plain.tiff", picture, "tiled")
    with wsigraph.read(path, mpp=1.0, window=(LOW, HIGH)) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), picture)
        assert slide.info.window is None


@pytest.mark.parametrize("kind", ["tiled", "strips"])
def test_one_deep_channel_is_refused_with_a_window_too(deep: np.ndarray, tmp_path: Path, kind: str) -> None:
    tiled = {"tile": (64, 64)} if kind == "tiled" else {"rowsperstrip": 16}
    tifffile.imwrite(tmp_path / "grey.tiff", deep[..., 0], photometric="minisblack", metadata=None, **tiled)
    with pytest.raises(UnreadableSlide, match="bfconvert"):
        wsigraph.read(tmp_path / "grey.tiff", mpp=1.0, window=(LOW, HIGH)).read(Box(y0=0, x0=0, y1=9, x1=9))


@pytest.mark.parametrize("window", ["[9,9]", "[-1,5]", "[0,70000]", "[5]"])
def test_a_window_that_is_none_is_refused(window: str) -> None:
    with pytest.raises(ConfigError, match="window"):
        load([], [f"slide.window={window}"])


def test_the_window_is_part_of_the_slide_that_a_run_knows(tmp_path: Path, deep: np.ndarray) -> None:
    from wsigraph.store import load_slide_info, save_slide_info

    path = write(tmp_path / "deep.tiff", deep, "tiled")
    with wsigraph.read(path, mpp=1.0, window=(LOW, HIGH)) as slide:
        save_slide_info(slide.info, tmp_path / "slide.json")
    assert load_slide_info(tmp_path / "slide.json").window == (LOW, HIGH)
