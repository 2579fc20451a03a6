"""The objective's power is what the file says, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsigraph.slide.inspection import inspect
from wsigraph.slide.objective import parse_power, power_in


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
    import tifffile

    pixels = tifffile.imread(small_slide, key=0)[:64, :64]
    tifffile.imwrite(tmp_path / "plain.tiff", pixels)
    assert inspect(tmp_path / "plain.tiff")["objective_power"] is None
