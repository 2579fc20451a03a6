"""The reader behind the extra ``tiatoolbox``: what holds without the package, and with it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from wsigraph import registry
from wsigraph.errors import PluginError, UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.reader import read
from wsigraph.slide.tiatoolbox import TiatoolboxReader

IS_INSTALLED = find_spec("tiatoolbox") is not None


def test_it_is_registered_and_loads_without_its_package() -> None:
    assert registry.load(registry.READERS, "tiatoolbox") is TiatoolboxReader


def test_it_claims_no_file_that_another_reader_opens(cmu: Path) -> None:
    assert not TiatoolboxReader.matches(cmu)


@pytest.mark.skipif(IS_INSTALLED, reason="tiatoolbox is installed")
def test_without_its_package_it_says_what_to_install(cmu: Path) -> None:
    with pytest.raises(PluginError, match=r"pip install 'wsigraph\[tiatoolbox\]'"):
        read(cmu, reader="tiatoolbox")


@pytest.mark.usefixtures("tiatoolbox")
def test_its_pixels_are_those_of_the_own_reader(cmu: Path) -> None:
    box = Box(y0=700, x0=400, y1=1500, x1=1300)
    with read(cmu) as own, read(cmu, reader="tiatoolbox") as other:
        assert other.info.levels[0].size == own.info.levels[0].size
        assert other.info.mpp == pytest.approx(own.info.mpp)
        np.testing.assert_array_equal(other.read(box), own.read(box))


@pytest.mark.usefixtures("tiatoolbox")
def test_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.svs"
    path.write_text("not a slide")
    with pytest.raises(UnreadableSlide, match="does not open with tiatoolbox"):
        TiatoolboxReader(path)
