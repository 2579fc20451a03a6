from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsigraph.errors import MissingMpp, TruncatedSlide, UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide import image
from wsigraph.slide.inspection import inspect
from wsigraph.slide.reader import read


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.dat"])
def test_plain_pictures_need_a_pixel_size(name: str, texture, tmp_path: Path) -> None:
    path = tmp_path / name
    picture = texture(90, 120)
    if name.endswith("tif"):
        tifffile.imwrite(path, picture, photometric="rgb", metadata=None)
    else:
        Image.fromarray(picture).save(path, format="PNG" if name.endswith(("png", "dat")) else "JPEG")
    with pytest.raises(MissingMpp, match=r"holds no pixel size; state it in the manifest.* --mpp UM"):
        read(path)
    with read(path, mpp=0.5) as slide:
        assert slide.info.reader == "image"
        got = slide.read(Box.whole(slide.size()))
        expected = np.asarray(Image.open(path)) if name.endswith("jpg") else picture
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(slide.read(Box(y0=10, x0=20, y1=50, x1=60)), got[10:50, 20:60])


def test_a_tiff_in_strips_may_state_a_pixel_size(texture, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, texture(64, 64), photometric="rgb", resolution=(20000, 20000), resolutionunit="CENTIMETER")
    with read(path) as slide:
        assert (slide.info.mpp, slide.info.mpp_source) == (0.5, "tiff.XResolution")
        assert slide.info.warnings == ()


@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_whose_pixels_are_not_square_is_refused(tile: tuple[int, int] | None, texture, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, texture(64, 64), photometric="rgb", tile=tile, resolution=(20000, 10000), resolutionunit="CENTIMETER"
    )
    assert "0.5 um along x and 1 along y" in inspect(path)["mpp_problem"]
    with pytest.raises(MissingMpp, match=r"not square, 0.5 um along x and 1 along y \(tiff.XResolution\)"):
        read(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_modes_become_rgb_on_white(mode: str, texture, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    source = Image.fromarray(texture(40, 50)).convert(mode)
    if mode in ("LA", "RGBA"):
        source.putalpha(Image.fromarray(np.tile(np.arange(50, dtype=np.uint8) * 5, (40, 1))))
    source.save(path)
    ground = Image.new("RGBA", source.size, "white")
    ground.alpha_composite(source.convert("RGBA"))
    with read(path, mpp=0.5) as slide:
        got = slide.read(Box.whole(slide.size())).astype(int)
    assert np.abs(got - np.asarray(ground.convert("RGB"))).max() <= 1  # the two round differently


def test_a_tiff_of_planes_and_inverted_grey(texture, tmp_path: Path) -> None:
    picture = texture(40, 50)
    planar, inverted = tmp_path / "planar.tif", tmp_path / "inverted.tif"
    tifffile.imwrite(planar, np.moveaxis(picture, 2, 0), photometric="rgb", planarconfig="separate", metadata=None)
    tifffile.imwrite(inverted, picture[..., 0], photometric="miniswhite", metadata=None)
    with read(planar, mpp=0.5) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size())), picture)
    with read(inverted, mpp=0.5) as slide:
        np.testing.assert_array_equal(slide.read(Box.whole(slide.size()))[..., 1], 255 - picture[..., 0])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_picture_is_refused_when_it_is_opened(kind: str, texture, tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    Image.fromarray(texture(200, 200)).save(path, format=kind)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TruncatedSlide, match="copy it again"):
        read(path, mpp=0.5)


def test_a_cut_tiff_in_strips_is_refused(texture, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, texture(200, 200), photometric="rgb", metadata=None)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(TruncatedSlide, match="is cut short"):
        read(path, mpp=0.5)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_picture_too_large_for_memory_is_refused_undecoded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    blank = np.zeros((300, 400), np.uint8)
    if name == "a.png":
        Image.fromarray(blank).save(path)
    else:
        tifffile.imwrite(path, blank, metadata=None)
    monkeypatch.setattr(image, "MAX_IMAGE_PX", 119_999)
    with pytest.raises(UnreadableSlide, match=r"400 x 300 pixels, more than the 119999 .*convert the slide to"):
        read(path, mpp=0.5)
    monkeypatch.setattr(image, "MAX_IMAGE_PX", 120_000)
    read(path, mpp=0.5).close()


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (16000, 12000)).save(path)  # 24 kB of file, 576 MB of RGB
    with pytest.raises(UnreadableSlide, match="convert the slide to a pyramidal OME-TIFF"):
        read(path, mpp=0.5)


@pytest.mark.parametrize("mode", ["I;16", "CMYK"])
def test_other_modes_are_refused(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    Image.new(mode, (30, 30)).save(path, format="JPEG" if mode == "CMYK" else "PNG")
    with pytest.raises(UnreadableSlide, match="expected 8-bit grey or RGB"):
        read(path, mpp=0.5)


def test_a_tiff_of_16_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((30, 30), np.uint16), metadata=None)
    with pytest.raises(UnreadableSlide, match="uint16"):
        read(path, mpp=0.5)


def test_a_damaged_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(UnreadableSlide, match=r"damaged PNG|does not decode"):
        read(path, mpp=0.5)
