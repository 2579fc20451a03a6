"""ICC profiles are named, and applied only where that is asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.inspection import inspect
from wsigraph.slide.reader import read

_ICC_TAG = 34675
BOX = Box(y0=10, x0=20, y1=90, x1=100)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped() -> bytes:
    """Return the profile of a scanner whose red and blue are exchanged."""
    profile = bytearray(srgb())
    tags = {
        bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
    }
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile)


def write(path: Path, picture: np.ndarray, profile: bytes) -> Path:
    tifffile.imwrite(
        path, picture, tile=(64, 64), photometric="rgb", metadata=None, resolution=(20000, 20000), resolutionunit=3,
        extratags=[(_ICC_TAG, 7, len(profile), profile, True)],
    )  # fmt: skip
    return path


def test_a_profile_is_named_and_not_applied(texture, tmp_path: Path) -> None:
    picture = texture(128, 128)
    path = write(tmp_path / "a.tif", picture, swapped())
    assert "sRGB" in inspect(path)["icc"]
    with read(path) as slide:
        assert ("sRGB" in slide.info.icc, slide.info.is_icc_applied) == (True, False)
        np.testing.assert_array_equal(slide.read(BOX), picture[BOX.slices])


@pytest.mark.parametrize("reader", ["tiled_tiff", "openslide"])
def test_an_applied_profile_converts_every_pixel(texture, tmp_path: Path, reader: str) -> None:
    picture = texture(128, 128)
    path = write(tmp_path / "a.tif", picture, swapped())
    with read(path, icc="apply", reader=reader) as slide:
        assert slide.info.is_icc_applied
        converted = slide.read(BOX)
        other = pickle.loads(pickle.dumps(slide))
        np.testing.assert_array_equal(other.read(BOX), converted)
        assert (slide.read(Box(y0=-10, x0=-10, y1=-2, x1=-2)) >= 254).all()
    difference = np.abs(converted.astype(int) - picture[BOX.slices][..., ::-1])
    assert np.percentile(difference, 99) <= 2


def test_a_slide_without_a_profile_and_one_with_a_broken_one(texture, tmp_path: Path) -> None:
    picture = texture(128, 128)
    tifffile.imwrite(tmp_path / "none.tif", picture, tile=(64, 64), photometric="rgb", metadata=None)
    with read(tmp_path / "none.tif", mpp=0.5, icc="apply") as slide:
        assert (slide.info.icc, slide.info.is_icc_applied) == ("", False)
    broken = write(tmp_path / "broken.tif", picture, b"no profile at all")
    assert inspect(broken)["icc"] == "unreadable"
    with pytest.raises(UnreadableSlide, match=r"cannot be applied.*slide\.icc=ignore"):
        read(broken, icc="apply")


def test_a_picture_brings_its_profile(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80, 3), 120, np.uint8)).save(tmp_path / "a.png", icc_profile=srgb())
    assert "sRGB" in inspect(tmp_path / "a.png")["icc"]
