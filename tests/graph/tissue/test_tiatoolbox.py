"""Stain normalisers: the built-in one, and tiatoolbox's, what holds without the package and with it."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

import wsigraph
from wsigraph import registry
from wsigraph.errors import PluginError, TissueError
from wsigraph.geometry import Box
from wsigraph.graph.tissue.normalise import MacenkoNormaliser, normaliser, picture_stain

from .staining import OTHER_VECTORS, restained

IS_INSTALLED = find_spec("tiatoolbox") is not None
METHODS = ("macenko", "reinhard", "ruifrok", "vahadane")


@pytest.fixture(scope="module")
def tile(small_slide):
    with wsigraph.read(small_slide) as slide:
        return slide.read(Box(y0=700, x0=380, y1=1000, x1=680), 1.0)


def degrees(first, second):
    return np.degrees(np.arccos(np.clip((first * second).sum(axis=-1), -1, 1)))


def test_all_are_registered_and_load_without_their_package():
    assert registry.names(registry.STAIN_NORMALISERS) == ("macenko", *(f"tiatoolbox_{method}" for method in METHODS))
    assert all(callable(registry.load(registry.STAIN_NORMALISERS, f"tiatoolbox_{method}")) for method in METHODS)


def test_the_built_in_one_takes_over_the_targets_stains(tile):
    target = restained(tile, picture_stain(tile), OTHER_VECTORS, (0.8, 1.2))
    own = normaliser()
    own.fit(target)
    normalised = own.transform(tile)
    assert degrees(picture_stain(normalised).vectors, picture_stain(target).vectors).max() < 1.0
    # normalising the same tissue returns the target, except for colour outside the plane of the two stains
    assert np.abs(normalised.astype(int) - target).mean() < 3.0 < np.abs(tile.astype(int) - target).mean()


def test_without_a_target_it_says_what_to_do(tile):
    with pytest.raises(TissueError, match="call fit"):
        MacenkoNormaliser().transform(tile)


@pytest.mark.skipif(IS_INSTALLED, reason="tiatoolbox is installed")
@pytest.mark.parametrize("method", METHODS)
def test_without_its_package_it_says_what_to_install(method):
    with pytest.raises(PluginError, match=rf"tiatoolbox_{method}.*pip install 'wsigraph\[tiatoolbox\]'"):
        normaliser(f"tiatoolbox_{method}")


@pytest.mark.usefixtures("tiatoolbox")
@pytest.mark.parametrize("method", ["macenko", "reinhard", "ruifrok"])
def test_the_plugin_gives_what_tiatoolbox_gives(tile, method):
    from tiatoolbox.tools.stainnorm import get_normalizer

    target = restained(tile, picture_stain(tile), OTHER_VECTORS)
    plugin, direct = normaliser(f"tiatoolbox_{method}"), get_normalizer(method)
    plugin.fit(target.copy())
    direct.fit(target.copy())
    before = tile.copy()
    np.testing.assert_array_equal(plugin.transform(tile), direct.transform(tile.copy()))
    np.testing.assert_array_equal(tile, before)


@pytest.mark.usefixtures("tiatoolbox")
def test_the_stains_are_near_tiatoolboxs(tile):
    from tiatoolbox.tools.stainextract import MacenkoExtractor

    # tiatoolbox takes tissue by luminosity after contrast stretching, we by optical density: a few degrees apart
    tiatoolbox_vectors = MacenkoExtractor().get_stain_matrix(tile.copy())
    assert degrees(picture_stain(tile).vectors, tiatoolbox_vectors).max() < 6.0
