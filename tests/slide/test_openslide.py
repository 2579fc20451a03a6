from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsigraph.errors import CorruptTile, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide.openslide import OpenSlideReader
from wsigraph.slide.reader import read


def test_describes_the_real_slide(cmu: Path) -> None:
    reader = OpenSlideReader(cmu)
    described = reader.description
    assert (described.vendor, described.mpp, described.mpp_source) == ("aperio", 0.499, "openslide.mpp-x")
    assert described.levels[0].size == Size(2967, 2220)
    assert described.levels[0].tile == Size(240, 240)
    assert described.associated == ("label", "macro", "thumbnail")
    assert described.scales == ((1,),)
    reader.close()


def test_the_handle_is_opened_anew_after_an_error(texture, tmp_path: Path) -> None:
    """One damaged tile must not cost the rest of the slide."""
    path = tmp_path / "slide.tif"
    picture = texture(1536, 1024)
    tifffile.imwrite(
        path, picture, tile=(512, 512), compression="jpeg", compressionargs={"level": 95}, photometric="ycbcr",
        metadata=None,
    )  # fmt: skip
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages.first.dataoffsets[1], tif.pages.first.databytecounts[1]
    with read(path, mpp=0.5, reader="openslide") as slide:
        expected = slide.read(Box(y0=512, x0=0, y1=1536, x1=1024))
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(data)
    reader = OpenSlideReader(path)
    for _ in range(2):
        with pytest.raises(CorruptTile, match="does not decode at x 512, y 0"):
            reader.read_level(0, Box(y0=0, x0=512, y1=20, x1=600))
        np.testing.assert_array_equal(reader.read_level(0, Box(y0=512, x0=0, y1=1536, x1=1024)), expected)
    reader.close()


def test_an_unknown_format_does_not_match(tmp_path: Path) -> None:
    path = tmp_path / "note.svs"
    path.write_text("not a slide")
    assert not OpenSlideReader.matches(path)
    with pytest.raises(UnreadableSlide, match="does not open with OpenSlide"):
        OpenSlideReader(path)
