"""Neighbouring regions differ in colour, and the colours differ for every eye."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tests.outline.drawn_regions import graph_of
from tests.outline.test_outline import blobs
from wsigraph.records import TissueGraph
from wsigraph.report.palette import PALETTE, colour_regions


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_differ(seed: int) -> None:
    graph = graph_of(blobs(seed, n_regions=150))
    colour = colour_regions(graph)
    assert (colour[graph.edge_index[0]] != colour[graph.edge_index[1]]).all()
    assert set(colour.tolist()) <= set(range(len(PALETTE)))
    assert np.array_equal(colour, colour_regions(graph))


def test_more_neighbours_than_colours_share_the_least_used() -> None:
    drawn = graph_of(np.arange(1, 10)[None, :])
    pairs = np.array([(a, b) for a in range(9) for b in range(9) if a != b]).T
    graph = TissueGraph(
        slide_id="drawn",
        mpp=1.0,
        size=drawn.size,
        moments=drawn.moments,
        moment_names=drawn.moment_names,
        edge_index=pairs.astype(np.int64),
        boundary=np.ones((pairs.shape[1], 2), np.int64),
        stain=drawn.stain,
    )
    assert sorted(np.bincount(colour_regions(graph)).tolist()) == [1] * 5 + [2] * 2


def test_one_region_without_neighbours_has_a_colour() -> None:
    assert colour_regions(graph_of(np.array([[1]]))).tolist() == [0]


# Viénot, Brettel and Mollon 1999: linear RGB seen without the long- or the middle-wave cones
DICHROMACY = {
    "protan": np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]]),
    "deutan": np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]),
}


@pytest.mark.parametrize("kind", DICHROMACY)
def test_colours_differ_without_a_kind_of_cone(kind: str) -> None:
    from skimage.color import rgb2lab

    linear = (np.array(PALETTE) / 255) ** 2.2
    seen = np.clip(linear @ DICHROMACY[kind].T, 0, 1) ** (1 / 2.2)
    lab = rgb2lab(seen[None])[0]
    nearest = min(float(np.linalg.norm(lab[a] - lab[b])) for a, b in combinations(range(len(PALETTE)), 2))
    # 10 in CIELAB is several times what an eye tells apart side by side
    assert nearest > 10
