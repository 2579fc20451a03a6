"""16-bit RGB is read by a stated window alone; every refusal says what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

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


def write_png(path: Path, pixels: np.ndarray) -> Path:
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(pixels))
    return path


@pytest.mark.parametrize("has_alpha", [False, True])
def test_a_png_of_16_bits_is_read_by_its_window_alone(deep: np.ndarray, tmp_path: Path, has_alpha: bool) -> None:
    opaque = np.full(deep.shape[:2], 65535, np.uint16)
    path = write_png(tmp_path / "deep.png", np.dstack([deep, opaque]) if has_alpha else deep)
    with pytest.raises(UnreadableSlide, match=r"RGB of 16 bits; state which levels.*slide.window=\[LOW,HIGH\]"):
        wsigraph.read(path, mpp=1.0)  # Pillow would keep the upper 8 bits of each sample in silence
    with wsigraph.read(path, mpp=1.0, window=(LOW, HIGH)) as slide:
        assert slide.info.window == (LOW, HIGH)
        pixels = slide.read(Box.whole(slide.size()))
    np.testing.assert_array_equal(pixels, apply_window(deep, (LOW, HIGH)))


def test_glass_of_a_deep_png_stays_transparent_and_a_cut_one_is_refused(deep: np.ndarray, tmp_path: Path) -> None:
    clear = np.zeros(deep.shape[:2], np.uint16)
    path = write_png(tmp_path / "clear.png", np.dstack([deep, clear]))
    with wsigraph.read(path, mpp=1.0, window=(LOW, HIGH)) as slide:
        assert (slide.read(Box.whole(slide.size())) == 255).all()
    cut = tmp_path / "cut.png"
    cut.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(UnreadableSlide, match="copy it again"):
        wsigraph.read(cut, mpp=1.0, window=(LOW, HIGH))


def test_a_deep_png_without_colours_is_refused_and_8_bits_need_no_window(deep: np.ndarray, tmp_path: Path) -> None:
    grey = write_png(tmp_path / "grey.png", np.ascontiguousarray(deep[..., 0]))
    with pytest.raises(UnreadableSlide, match="bfconvert"):
        wsigraph.read(grey, mpp=1.0, window=(LOW, HIGH))
    Image.fromarray(apply_window(deep, (LOW, HIGH))).save(tmp_path / "plain.png")
    with wsigraph.read(tmp_path / "plain.png", mpp=1.0, window=(LOW, HIGH)) as slide:
        assert slide.info.window is None


def test_every_command_opens_a_slide_by_the_settings(deep: np.ndarray, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from wsigraph.cli.main import app
    from wsigraph.config import Config, SlideConfig
    from wsigraph.synthesis.diffusion.training_images import read_training_image

    folder = tmp_path / "slides"
    folder.mkdir()
    path = write(folder / "deep.tiff", deep, "tiled")
    stated = ("--set", f"slide.window=[{LOW},{HIGH}]")
    table = tmp_path / "manifest.csv"
    for words in (("inspect", str(path), "--mpp", "1"), ("manifest", "create", str(folder), "--out", str(table))):
        refused = CliRunner().invoke(app, list(words))
        assert refused.exit_code == 1
        assert "slide.window=[LOW,HIGH]" in refused.stderr
        answered = CliRunner().invoke(app, [*words, *stated])
        assert answered.exit_code == 0, answered.output
    assert "deep.tiff" in table.read_text()
    shown = CliRunner().invoke(app, ["inspect", str(path), "--mpp", "1", *stated])
    assert "16-bit levels 400 to 4,495 become 0 to 255" in shown.stdout
    settings = Config(slide=SlideConfig(window=(LOW, HIGH)))
    mask = np.ones(deep.shape[:2], np.uint8)
    Image.fromarray(mask).save(folder / "deep_mask.png")
    with pytest.raises(UnreadableSlide, match="16 bits"):
        read_training_image(path, Config(), mpp=1.0)
    image = read_training_image(path, settings, mpp=settings.diffusion.mpp)
    np.testing.assert_array_equal(image.image, apply_window(deep, (LOW, HIGH)))
