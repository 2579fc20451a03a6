"""A stream that contradicts the tag of its colours is noticed, and read as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.geometry import Box
from wsigraph.slide.reader import read

_PHOTOMETRIC, _RGB, _YCBCR = 262, 2, 6
BOX = Box(y0=900, x0=400, y1=1400, x1=1000)


def write(path: Path, cmu: Path, stored: str, tag: int, subsampling: tuple[int, int]) -> Path:
    """Write a piece of a real slide whose JPEG streams hold `stored` colours, under any tag."""
    with read(cmu) as slide:
        picture = slide.read(BOX)
    picture[:130] = 243  # glass
    tifffile.imwrite(
        path, picture, tile=(128, 128), photometric="rgb", compression="jpeg",
        compressionargs={"level": 95, "colorspace": "rgb", "outcolorspace": stored},
        subsampling=subsampling, metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages.first.tags[_PHOTOMETRIC].overwrite(tag)
    return path


@pytest.mark.parametrize(
    ("stored", "tag", "subsampling"),
    [("ycbcr", _RGB, (2, 2)), ("ycbcr", _RGB, (1, 1)), ("rgb", _YCBCR, (1, 1))],
)
def test_a_wrong_tag_is_noticed_and_the_colours_are_right(
    cmu: Path, tmp_path: Path, stored: str, tag: int, subsampling: tuple[int, int]
) -> None:
    right = write(tmp_path / "right.tif", cmu, stored, _YCBCR if stored == "ycbcr" else _RGB, subsampling)
    wrong = write(tmp_path / "wrong.tif", cmu, stored, tag, subsampling)
    with read(right, mpp=0.5) as one, read(wrong, mpp=0.5) as other:
        box = Box.whole(one.size())
        assert one.info.warnings == ()
        assert [text for text in other.info.warnings if "contradict their tag: its tag says" in text]
        np.testing.assert_array_equal(other.read(box), one.read(box))


def test_real_slides_do_not_contradict_themselves(cmu: Path) -> None:
    with read(cmu) as slide:
        assert slide.info.warnings == ()
