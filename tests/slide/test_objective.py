"""The objective's power is what the file says, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile

from wsigraph.slide.inspection import inspect
from wsigraph.slide.objective import contradiction, parse_power, power_in
from wsigraph.slide.reader import read


@pytest.mark.parametrize("reader", ["tiled_tiff", "openslide"])
def test_both_readers_find_the_same(small_slide: Path, reader: str) -> None:
    assert inspect(small_slide, reader=reader)["objective_power"] == 20.0


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("Aperio |AppMag = 40|MPP = 0.25", 40.0),
        ("Aperio | AppMag=20 ", 20.0),
        ("Aperio |AppMag = x|", None),
        ("", None),
    ],
)
def test_an_aperio_description(text: str, power: float | None) -> None:
    assert power_in(text) == power


@pytest.mark.parametrize("text", [None, "", "nan", "inf", "0", "-20", "20x"])
def test_what_is_no_power(text: str | None) -> None:
    assert parse_power(text) is None


def test_a_picture_states_none(small_slide: Path, tmp_path: Path) -> None:
    pixels = tifffile.imread(small_slide, key=0)[:64, :64]
    tifffile.imwrite(tmp_path / "plain.tiff", pixels)
    assert inspect(tmp_path / "plain.tiff")["objective_power"] is None


@pytest.mark.parametrize(
    ("power", "mpp"),
    [
        (None, 2.5),
        (20.0, 0.499),
        (40.0, 0.2525),
        (40.0, 0.125),
        (20.0, 0.25),
        (100.0, 0.05),
        (20.0, 1.0),
        (2.5, 4.0),
        (20.0, 0.2325),
    ],
)
def test_a_pixel_size_that_fits(power: float | None, mpp: float) -> None:
    assert contradiction(power, mpp) == ()


@pytest.mark.parametrize(("power", "mpp"), [(40.0, 2.5), (40.0, 0.11), (20.0, 1.01), (40.0, 0.025), (5.0, 0.5)])
def test_a_pixel_size_that_contradicts_the_objective(power: float, mpp: float) -> None:
    (warning,) = contradiction(power, mpp)
    assert f"{mpp:g} um/px" in warning
    assert f"{power:g} x" in warning


@pytest.mark.parametrize("reader", ["tiled_tiff", "openslide"])
@pytest.mark.parametrize(("stated", "n_warnings"), [("MPP = 2.5", 1), ("MPP = 0.25", 0)])
def test_the_objective_is_compared_in_inspect_and_read(
    texture, tmp_path: Path, reader: str, stated: str, n_warnings: int
) -> None:
    path = tmp_path / "a.svs"
    text = f"Aperio Image Library v11.2.1\n300x300 [0,0 300x300] (256x256) JPEG/RGB Q=70|AppMag = 40|{stated}"
    tifffile.imwrite(
        path, texture(300, 300), photometric="rgb", tile=(256, 256), compression="jpeg", description=text, metadata=None
    )
    shown = inspect(path, reader=reader)["warnings"]
    assert len(shown) == n_warnings
    with read(path, reader=reader) as slide:
        assert slide.info.warnings == tuple(shown)
    (wrong,) = inspect(path, mpp=3.0, reader=reader)["warnings"][1:]
    assert "3 um/px does not fit the objective of 40 x" in wrong


def test_the_real_slide_has_no_warning(cmu: Path) -> None:
    assert inspect(cmu)["warnings"] == []
