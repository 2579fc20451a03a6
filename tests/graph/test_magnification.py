"""The same tissue at 20x and 40x gives nearly the same graph.

The 40x slide is the real one enlarged twofold; the 20x slide is the 40x one reduced twofold. Both are encoded again as
JPEG, so that the two differ as two scans do: in resolution, in compression, and in everything estimated from pixels.
"""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from skimage.segmentation import find_boundaries

import wsigraph
from wsigraph.geometry import Box
from wsigraph.graph.feature.interpret import FeatureTable, interpret
from wsigraph.records import TissueGraph


def write(path, rgb, mpp):
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            rgb, tile=(256, 256), photometric="rgb", compression="jpeg",
            compressionargs={"level": 85}, resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
            metadata=None,
        )  # fmt: skip
    return path


def graph_of(path):
    with wsigraph.read(path) as slide:
        labels = wsigraph.segment(slide)
        return np.asarray(labels.labels[:]), wsigraph.build_graph(slide, labels)


@pytest.fixture(scope="module")
def pair(small_slide, tmp_path_factory) -> tuple[tuple[np.ndarray, TissueGraph], tuple[np.ndarray, TissueGraph]]:
    folder = tmp_path_factory.mktemp("scans")
    with wsigraph.read(small_slide) as slide:
        part = slide.read(Box(y0=0, x0=0, y1=2960, x1=2220), 0.499)
    fine = np.asarray(Image.fromarray(part).resize((2 * part.shape[1], 2 * part.shape[0]), Image.Resampling.BICUBIC))
    sums = fine.reshape(part.shape[0], 2, part.shape[1], 2, 3).astype(int).sum(axis=(1, 3))
    return (
        graph_of(write(folder / "40x.tiff", fine, 0.2495)),
        graph_of(write(folder / "20x.tiff", ((sums + 2) // 4).astype(np.uint8), 0.499)),
    )


def test_number_of_nodes_is_within_two_percent(pair):
    (_, fine), (_, coarse) = pair
    assert fine.n_nodes == pytest.approx(coarse.n_nodes, rel=0.02)


def test_boundaries_are_found_again_within_2_um(pair):
    (fine, _), (coarse, _) = pair
    assert fine.shape == coarse.shape
    near = np.hypot(*np.mgrid[-2:3, -2:3]) <= 2
    edges = [find_boundaries(labels, mode="inner") for labels in (fine, coarse)]
    for edge, wanted in (edges, edges[::-1]):
        recall = (ndimage.binary_dilation(edge, structure=near) & wanted).sum() / wanted.sum()
        assert recall >= 0.9


def relative_difference(first: FeatureTable, second: FeatureTable, partner: np.ndarray) -> dict[str, float]:
    """Return each feature's median relative difference between a region and its partner."""
    deviations = {}
    for column, name in enumerate(first.names):
        ours, other = first.values[:, column], second.values[partner, column]
        scale = np.maximum(np.abs(ours), 1e-6)
        deviations[name] = float(np.median(np.abs(ours - other) / scale))
    return deviations


def test_median_feature_difference_is_within_5_percent(pair):
    (fine, fine_graph), (coarse, coarse_graph) = pair
    overlap = np.zeros((fine_graph.n_nodes + 1, coarse_graph.n_nodes + 1), np.int64)
    np.add.at(overlap, (fine.ravel(), coarse.ravel()), 1)
    partner = overlap[1:, 1:].argmax(axis=1)
    difference = relative_difference(interpret(fine_graph), interpret(coarse_graph), partner)
    assert np.median(list(difference.values())) <= 0.05
    # what the network reads first is closer still
    for name in ("hematoxylin_mean", "eosin_mean", "log_area", "perimeter_um", "lightness_mean"):
        assert difference[name] <= 0.05, name
