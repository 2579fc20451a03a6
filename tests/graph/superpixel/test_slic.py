"""SLIC: the same in every window, on the grid where there is nothing to follow, better than scikit-image's at speed."""

import numpy as np
import pytest
from skimage.segmentation import find_boundaries
from skimage.segmentation import slic as skimage_slic

from wsigraph.geometry import Box, Size, grid
from wsigraph.graph.superpixel.components import chunk_components
from wsigraph.graph.superpixel.connectivity import resolve
from wsigraph.graph.superpixel.lab import rgb_to_lab, smooth
from wsigraph.graph.superpixel.slic import SeedGrid, slic


def labels_of(lab, tissue, core, seeds, iterations=3, compactness=20.0):
    window = seeds.window(core, iterations)
    cut = window.slices
    return slic(
        np.ascontiguousarray(lab[(slice(None), *cut)]),
        np.ascontiguousarray(tissue[cut]),
        window,
        core,
        seeds,
        compactness=compactness,
        iterations=iterations,
    )


@pytest.fixture(scope="module")
def noisy_lab():
    rng = np.random.default_rng(3)
    coarse = rng.integers(60, 200, (3, 12, 15)).repeat(17, axis=1).repeat(17, axis=2)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("spacing", [9, 10])
@pytest.mark.parametrize("chunk", [31, 64, 97])
def test_any_chunk_equals_the_whole(noisy_lab, spacing, chunk):
    size = Size(*noisy_lab.shape[1:])
    rng = np.random.default_rng(4)
    tissue = rng.random(noisy_lab.shape[1:]) > 0.2
    tissue[40:90, 60:120] = False
    seeds = SeedGrid(size, spacing)
    whole = labels_of(noisy_lab, tissue, Box.whole(size), seeds)
    for box in grid(size, chunk):
        np.testing.assert_array_equal(labels_of(noisy_lab, tissue, box, seeds), whole[box.slices])
    np.testing.assert_array_equal(whole > 0, tissue)


def test_flat_colour_gives_the_seed_grid():
    size = Size(60, 80)
    seeds = SeedGrid(size, 20)
    flat = np.full((3, 60, 80), 128, np.uint8)
    labels = labels_of(flat, np.ones((60, 80), bool), Box.whole(size), seeds)
    rows, columns = np.mgrid[0:60, 0:80] // 20
    # the centre of an even cell is half a pixel off its middle, so single border pixels may go to either side
    assert (labels == rows * 4 + columns + 1).mean() > 0.9


def test_a_straight_edge_is_followed_exactly():
    size = Size(80, 80)
    lab = np.full((3, 80, 80), 60, np.uint8)
    lab[:, :, 47:] = 200
    labels = labels_of(lab, np.ones((80, 80), bool), Box.whole(size), SeedGrid(size, 20))
    assert not set(labels[:, :47].ravel()) & set(labels[:, 47:].ravel())


def test_lone_odd_tissue_pixels_are_labelled():
    size = Size(30, 30)
    tissue = np.zeros((30, 30), bool)
    tissue[15, 15] = True
    labels = labels_of(np.full((3, 30, 30), 9, np.uint8), tissue, Box.whole(size), SeedGrid(size, 10))
    assert labels[15, 15] > 0
    assert (labels > 0).sum() == 1


def boundary_recall(labels, truth, tolerance=2):
    from scipy import ndimage

    boundaries, wanted = find_boundaries(labels), find_boundaries(truth)
    near = ndimage.binary_dilation(boundaries, iterations=tolerance)
    return (near & wanted).sum() / wanted.sum()


def undersegmentation(labels, truth):
    table = np.zeros((labels.max() + 1, truth.max() + 1))
    np.add.at(table, (labels.ravel(), truth.ravel()), 1)
    return np.minimum(table, table.sum(axis=1, keepdims=True) - table).sum() / labels.size


def test_boundaries_are_found_as_well_as_by_skimage_at_equal_count():
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0:400, 0:400]
    truth = ((np.hypot(y - 200, x - 190) < 120) + 2 * (np.hypot(y - 160, x - 260) < 60)).astype(int)
    colours = np.array([[214, 160, 190], [150, 90, 160], [235, 225, 230], [110, 70, 140]])
    rgb = np.clip(colours[truth] + rng.normal(0, 18, (400, 400, 3)), 0, 255).astype(np.uint8)
    size = Size(400, 400)
    seeds = SeedGrid(size, 25)
    raw = labels_of(smooth(rgb_to_lab(rgb)), np.ones((400, 400), bool), Box.whole(size), seeds, iterations=5)
    components, chunk = chunk_components(raw, Box.whole(size), 400)
    (table,), n, _ = resolve([chunk], 100)
    ours = table[components]
    skimage_labels = skimage_slic(rgb, n_segments=n, compactness=20, sigma=1, start_label=1)
    assert abs(len(np.unique(skimage_labels)) - n) < 0.1 * n
    assert boundary_recall(ours, truth) >= boundary_recall(skimage_labels, truth) - 0.01
    assert undersegmentation(ours, truth) <= undersegmentation(skimage_labels, truth) + 0.005
