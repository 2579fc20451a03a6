"""A user's nucleus detector: the interface, ownership over windows and pixel sizes, and what it may not return."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import wsigraph
from wsigraph.config import load
from wsigraph.errors import PluginError
from wsigraph.graph.feature.detect import NUCLEUS_COLUMNS, detect_nuclei
from wsigraph.graph.feature.moments import COLUMN
from wsigraph.graph.superpixel.components import label_components


class DarkSpots:
    """A stub of a network: whatever is darker than a grey level is a nucleus."""

    name = "dark"

    def __init__(self, mpp: float = 1.0, window_px: int = 96, margin_px: int = 16) -> None:
        self.mpp, self.window_px, self.margin_px = mpp, window_px, margin_px
        self.shapes: set[tuple[int, ...]] = set()

    def detect(self, window: NDArray[np.uint8]) -> NDArray[np.int32]:
        self.shapes.add(window.shape)
        return label_components((window.mean(axis=-1) < 134).astype(np.int32))[0]


@pytest.fixture(scope="module")
def spotted(tmp_path_factory):
    """Return a slide at 0.5 um/px of pink tissue with discs of 4 um radius, and where they are in um."""
    rng = np.random.default_rng(2)
    rgb = np.clip(rng.normal((205, 150, 190), 5, (900, 1100, 3)), 0, 255)
    y, x = np.mgrid[:900, :1100]
    centres = [
        (cy + rng.uniform(-9, 9), cx + rng.uniform(-9, 9)) for cy in range(40, 880, 60) for cx in range(40, 1080, 60)
    ]
    for cy, cx in centres:
        rgb[np.hypot(y - cy, x - cx) <= 8] = (80, 50, 130)
    path = tmp_path_factory.mktemp("spots") / "spots.png"
    Image.fromarray(rgb.astype(np.uint8)).save(path)
    with wsigraph.read(path, mpp=0.5) as slide:
        yield slide, wsigraph.segment(slide), len(centres)


@pytest.mark.parametrize("mpp", [0.5, 1.0, 1.25])
def test_every_nucleus_is_found_once_at_any_pixel_size(spotted, mpp):
    slide, labels, n_spots = spotted
    nuclei = detect_nuclei(slide, labels, DarkSpots(mpp))
    assert nuclei[:, 0].sum() == n_spots
    # a disc of 4 um radius, measured in working pixels of 1 um
    assert nuclei[:, 1].sum() / n_spots == pytest.approx(np.pi * 16, rel=0.12)


def test_windows_do_not_matter(spotted):
    slide, labels, _ = spotted
    first = detect_nuclei(slide, labels, DarkSpots(window_px=96))
    second = detect_nuclei(slide, labels, DarkSpots(window_px=200, margin_px=40))
    np.testing.assert_array_equal(first[:, :3], second[:, :3])


def test_every_window_has_the_stated_size(spotted):
    slide, labels, _ = spotted
    detector = DarkSpots()
    detect_nuclei(slide, labels, detector)
    assert detector.shapes == {(96 + 32, 96 + 32, 3)}


def test_a_plugin_named_in_the_configuration_replaces_the_built_in_count(spotted, monkeypatch):
    slide, labels, n_spots = spotted
    import wsigraph.graph.feature.detect as detect

    monkeypatch.setattr(detect, "load", lambda group, name: {("wsigraph.nuclei", "dark"): DarkSpots}[group, name])
    graph = wsigraph.build_graph(slide, labels, load(overrides=["feature.nuclei=dark"]))
    plain = wsigraph.build_graph(slide, labels)
    assert graph.moment("nuclei").sum() == n_spots
    others = np.ones(graph.moments.shape[1], bool)
    others[NUCLEUS_COLUMNS] = False
    np.testing.assert_array_equal(graph.moments[:, others], plain.moments[:, others])
    assert slice(COLUMN["nuclei"], COLUMN["nuclei"] + 7) == NUCLEUS_COLUMNS


def test_a_detector_that_returns_something_else_is_named(spotted):
    slide, labels, _ = spotted
    detector = DarkSpots()
    detector.detect = lambda window: np.zeros((3, 3), np.int32)
    with pytest.raises(PluginError, match="'dark' returned int32"):
        detect_nuclei(slide, labels, detector)


def test_an_unknown_detector_is_named(spotted):
    slide, labels, _ = spotted
    with pytest.raises(PluginError, match=r"no plugin 'absent' in group 'wsigraph\.nuclei'"):
        wsigraph.build_graph(slide, labels, load(overrides=["feature.nuclei=absent"]))
