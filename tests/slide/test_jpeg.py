from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile

from wsigraph.geometry import Size
from wsigraph.slide import jpeg

TILE = Size(48, 64)


def _parts(stream: bytes) -> tuple[bytes, bytes]:
    """Return a stream's tables as a table-only stream, and the stream without them."""
    tables, rest, at = b"", b"", 2
    while stream[at + 1] != 0xDA:
        stop = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in (0xDB, 0xC4):
            tables += stream[at:stop]
        else:
            rest += stream[at:stop]
        at = stop
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + stream[at:]


def _picture() -> np.ndarray:
    y, x = np.mgrid[:48, :64]
    return np.stack([y * 5 % 256, x * 4 % 256, (x + y) * 2 % 256], axis=2).astype(np.uint8)


@pytest.mark.parametrize("is_ycbcr", [True, False])
def test_an_abbreviated_stream_decodes_like_the_whole_one(is_ycbcr: bool) -> None:
    space = "YCBCR" if is_ycbcr else "RGB"
    whole = imagecodecs.jpeg8_encode(_picture(), level=95, colorspace="RGB", outcolorspace=space)
    expected = imagecodecs.jpeg8_decode(whole, colorspace=space, outcolorspace="RGB")
    tables, abbreviated = _parts(whole)
    for stream, given in ((whole, None), (abbreviated, tables)):
        got = jpeg.decode(jpeg.complete(stream, given, is_ycbcr), TILE)
        np.testing.assert_array_equal(got, expected)


def test_the_tag_counts_not_the_marker() -> None:
    """A stream that calls itself YCbCr holds RGB where the TIFF's tag says so."""
    whole = imagecodecs.jpeg8_encode(_picture(), level=95, colorspace="RGB", outcolorspace="YCBCR")
    assert b"JFIF" in whole
    as_rgb = jpeg.decode(jpeg.complete(whole, None, is_ycbcr=False), TILE)
    np.testing.assert_array_equal(as_rgb, imagecodecs.jpeg8_decode(whole, colorspace="RGB", outcolorspace="RGB"))


@pytest.mark.parametrize("scale", jpeg.SCALES)
def test_scales_give_rounded_up_sides(scale: int) -> None:
    stream = jpeg.complete(imagecodecs.jpeg8_encode(_picture()[:45, :61]), None, is_ycbcr=True)
    assert jpeg.decode(stream, TILE, scale).shape == (-(-45 // scale), -(-61 // scale), 3)


def test_grey_becomes_rgb() -> None:
    grey = np.ascontiguousarray(_picture()[..., 0])
    got = jpeg.decode(jpeg.complete(imagecodecs.jpeg8_encode(grey, level=100), None, is_ycbcr=False), TILE)
    assert got.shape == (48, 64, 3)
    assert np.abs(got[..., 2].astype(int) - grey).max() <= 3


def test_fill_bytes_and_comments_are_skipped() -> None:
    stream = imagecodecs.jpeg8_encode(_picture())
    padded = stream[:2] + b"\xff\xff\xff\xfe\x00\x06note" + stream[2:]
    np.testing.assert_array_equal(
        jpeg.decode(jpeg.complete(padded, None, is_ycbcr=True), TILE),
        jpeg.decode(jpeg.complete(stream, None, is_ycbcr=True), TILE),
    )


def test_damage_is_an_error() -> None:
    stream = imagecodecs.jpeg8_encode(_picture())
    for broken in (b"", b"\xff\xd8", b"no jpeg", stream[:40]):
        with pytest.raises(ValueError, match="the stream"):
            jpeg.complete(broken, None, is_ycbcr=True)
    cut = jpeg.complete(stream[:-100], None, is_ycbcr=True)
    with pytest.raises(ValueError, match=r"(?i)premature"):
        jpeg.decode(cut, TILE)
    with pytest.raises(ValueError, match="64 x 48 pixels, the tile 63 x 48"):
        jpeg.decode(jpeg.complete(stream, None, is_ycbcr=True), Size(48, 63))


def test_shrinking_real_tissue_differs_from_averaging_by_rounding(cmu: Path) -> None:
    """Measured 0.13 to 0.15 grey levels in the mean over the slide; the bound leaves room for one tile's content."""
    with tifffile.TiffFile(cmu) as tif:
        page = tif.pages.first
        tif.filehandle.seek(page.dataoffsets[40])
        stream = jpeg.complete(tif.filehandle.read(page.databytecounts[40]), page.jpegtables, is_ycbcr=False)
    full = jpeg.decode(stream, Size(240, 240)).astype(float)
    for scale in (2, 4, 8):
        side = 240 // scale
        average = full.reshape(side, scale, side, scale, 3).mean(axis=(1, 3))
        assert np.abs(jpeg.decode(stream, Size(240, 240), scale) - average).mean() < 0.35
