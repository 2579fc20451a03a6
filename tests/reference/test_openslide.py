"""Pixels against OpenSlide's own: the same at native resolution, near at others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray

from wsigraph.geometry import Box
from wsigraph.slide.reader import Slide, read

SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "slides"
CMU = Path(__file__).parents[1] / "data" / "CMU-1-Small-Region.svs"


@pytest.fixture(params=[CMU.name, "kidney_glomeruli.svs", "pyramid_wrong_mpp.tiff", "oral_scc_whole.tiff"])
def path(request: pytest.FixtureRequest) -> Path:
    """Return each sample that is at hand."""
    found = CMU if request.param == CMU.name else SAMPLES / request.param
    if not found.is_file():
        pytest.skip(f"the sample {request.param} is not at hand")
    return found


@pytest.fixture
def slide(path: Path) -> Iterator[Slide]:
    """Return the sample, open at 0.5 um/px."""
    with read(path, mpp=0.5) as opened:
        assert opened.info.reader == "tiled_tiff"
        yield opened


def _region(handle: openslide.OpenSlide, level: int, box: Box) -> NDArray[np.uint8]:
    factor = round(handle.level_downsamples[level])
    image = handle.read_region((box.x0 * factor, box.y0 * factor), level, (box.width, box.height))
    rgba = np.asarray(image)
    rgb = rgba[..., :3].copy()
    rgb[rgba[..., 3] == 0] = 255
    return rgb


def test_native_pixels_are_the_same(path: Path, slide: Slide) -> None:
    size = slide.size()
    y, x = size.height // 2, size.width // 2
    middle = Box(y0=y - 500, x0=x - 500, y1=y + 500, x1=x + 500)
    corner = Box(y0=size.height - 700, x0=size.width - 700, y1=size.height, x1=size.width)
    with openslide.OpenSlide(path) as handle:
        for box in (middle, corner, Box(y0=0, x0=0, y1=600, x1=600)):
            np.testing.assert_array_equal(slide.read(box), _region(handle, 0, box))


def test_every_level_is_the_same(path: Path, slide: Slide) -> None:
    with openslide.OpenSlide(path) as handle:
        levels = slide.info.levels
        assert handle.level_dimensions == tuple((level.size.width, level.size.height) for level in levels)
        for number, level in enumerate(levels[1:], start=1):
            box = Box.whole(level.size).clip(level.size)
            box = Box(y0=0, x0=0, y1=min(1500, box.y1), x1=min(1500, box.x1))
            got = slide._open().read_level(number, box, 1)
            np.testing.assert_array_equal(got, _region(handle, number, box))


def test_the_whole_real_slide_is_the_same() -> None:
    with read(CMU) as slide, openslide.OpenSlide(CMU) as handle:
        box = Box.whole(slide.size())
        np.testing.assert_array_equal(slide.read(box), _region(handle, 0, box))


def _area_average(pixels: NDArray[np.uint8], step: float, n: int) -> NDArray[np.float64]:
    """Average over [k step, (k + 1) step) along both axes, by differences of an interpolated running sum."""
    averaged = pixels.astype(np.float64)
    edges = np.arange(n + 1) * step
    for axis in (0, 1):
        running = np.insert(np.cumsum(averaged, axis=axis), 0, 0.0, axis=axis)
        below = np.floor(edges).astype(int)
        part = (edges - below).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = np.take(running, below, axis=axis)
        high = np.take(running, below + 1, axis=axis)
        averaged = np.diff(low + part * (high - low), axis=axis) / step
    return averaged


@pytest.mark.parametrize(
    ("mpp", "bound"),
    [
        (0.7485, 0.26),  # 3/2 from level 0: rounding alone, a quarter of a level in the mean
        (0.998, 0.4),  # half scale alone
        (1.0, 1.8),  # half scale, then 500/499: the second average softens what the first left
        (1.2475, 1.7),  # half scale, then 5/4
        (2.0, 4.2),  # a quarter, then 500/499
        (3.992, 0.4),  # an eighth alone
    ],
)
def test_resampled_pixels_are_near_the_area_average_of_openslides(mpp: float, bound: float) -> None:
    """The bounds are mean absolute grey levels over a real window, a fifth above the measured."""
    with read(CMU) as slide, openslide.OpenSlide(CMU) as handle:
        step = mpp / 0.499
        n = int(1900 / step)
        expected = _area_average(_region(handle, 0, Box(y0=0, x0=0, y1=2000, x1=2000)), step, n)
        got = slide.read(Box(y0=0, x0=0, y1=n, x1=n), mpp)
        difference = np.abs(got - expected).mean()
        assert difference < bound, difference
        assert abs((got - expected).mean()) < 0.2  # no shift in level


def test_both_readers_agree_at_every_resolution_within_the_decoders_difference() -> None:
    with read(CMU) as own, read(CMU, reader="openslide") as other:
        for mpp, bound in ((0.499, 0.0), (0.7, 0.0), (1.0, 1.8), (2.0, 5.2)):
            box = Box(y0=100, x0=100, y1=600, x1=600).clip(own.size(mpp))
            difference = np.abs(own.read(box, mpp).astype(int) - other.read(box, mpp)).mean()
            assert difference <= bound, (mpp, difference)


def test_the_dicom_copy_shows_the_same_tissue() -> None:
    """The sample's DICOM was encoded anew, so it is near and not equal."""
    folder = SAMPLES / "cmu_dicom"
    if not folder.is_dir():
        pytest.skip("the sample cmu_dicom is not at hand")
    with read(folder) as dicom, read(CMU) as svs:
        assert (dicom.info.reader, dicom.info.slide_id, dicom.info.mpp) == ("openslide", "cmu_dicom", 0.499)
        assert len(dicom.info.sha256) == 64
        box = Box(y0=200, x0=200, y1=700, x1=700)
        assert np.abs(dicom.read(box, 1.0).astype(int) - svs.read(box, 1.0)).mean() < 6
