"""Connectivity: decided on the global component graph, the same for every partition into chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label as skimage_label

from wsigraph.geometry import Box, Size, grid
from wsigraph.graph.superpixel.components import chunk_components, label_components
from wsigraph.graph.superpixel.connectivity import resolve


def connect(labels, chunk, min_area):
    """Return final labels, count and dropped pixels of a label image cut into chunks."""
    size = Size(*labels.shape)
    images, chunks = [], []
    for box in grid(size, chunk):
        image, table = chunk_components(np.ascontiguousarray(labels[box.slices]), box, size.width)
        images.append((box, image))
        chunks.append(table)
    tables, n, dropped = resolve(chunks, min_area)
    final = np.zeros(labels.shape, np.int32)
    for (box, image), table in zip(images, tables, strict=True):
        final[box.slices] = table[image]
    return final, n, dropped


@st.composite
def label_images(draw):
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    seed, n_labels = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 6))
    rng = np.random.default_rng(seed)
    cell = draw(st.integers(1, 4))
    image = rng.integers(0, n_labels + 1, (-(-height // cell), -(-width // cell)))
    return image.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width].astype(np.int32)


@given(label_images())
@settings(deadline=None, max_examples=60)
def test_components_are_those_of_skimage(labels):
    ours, n = label_components(labels)
    expected = skimage_label(labels, connectivity=1, background=0)
    assert n == expected.max()
    # both number by first pixel in raster order
    np.testing.assert_array_equal(ours, expected)
    image, table = chunk_components(labels, Box.whole(Size(*labels.shape)), labels.shape[1])
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(table.area, np.bincount(expected.ravel(), minlength=n + 1)[1:])


@given(label_images())
@settings(deadline=None, max_examples=60)
def test_contacts_are_all_pixel_pairs_of_two_components(labels):
    image, table = chunk_components(labels, Box.whole(Size(*labels.shape)), labels.shape[1])
    beside = [(image[:, :-1], image[:, 1:]), (image[:-1], image[1:])]
    ends = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in beside])
    ends = np.sort(ends[(ends > 0).all(axis=1) & (ends[:, 0] != ends[:, 1])], axis=1)
    pair, length = np.unique(ends, axis=0, return_counts=True)
    order = np.lexsort((table.pair[:, 1], table.pair[:, 0]))
    np.testing.assert_array_equal(table.pair[order], pair.reshape(-1, 2))
    np.testing.assert_array_equal(table.length[order], length)


@given(label_images(), st.integers(1, 12), st.integers(1, 12))
@settings(deadline=None, max_examples=120)
def test_every_partition_gives_the_same_regions(labels, chunk, min_area):
    whole = connect(labels, 100, min_area)
    parts = connect(labels, chunk, min_area)
    np.testing.assert_array_equal(whole[0], parts[0])
    assert whole[1:] == parts[1:]


@given(label_images(), st.integers(1, 12))
@settings(deadline=None, max_examples=80)
def test_regions_are_connected_numbered_and_cover_the_tissue(labels, min_area):
    final, n, dropped = connect(labels, 7, min_area)
    assert ((final > 0) | (labels == 0)).sum() == labels.size - dropped
    assert (final[labels == 0] == 0).all()
    numbers, first = np.unique(final[final > 0], return_index=True)
    np.testing.assert_array_equal(numbers, np.arange(1, n + 1))
    assert (np.diff(first) > 0).all()
    assert skimage_label(final, connectivity=1, background=0).max() == n


@given(label_images(), st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_only_whole_small_islands_leave_the_tissue(labels, min_area):
    final, _, dropped = connect(labels, 9, min_area)
    islands = skimage_label(labels > 0, connectivity=1)
    lost = np.unique(islands[(labels > 0) & (final == 0)])
    areas = np.bincount(islands.ravel())
    assert (areas[lost] < min_area).all()
    assert areas[lost].sum() == dropped


def test_a_fragment_joins_the_longest_boundary_and_the_lower_id_on_a_tie():
    labels = np.array(
        [
            [1, 1, 1, 1, 2, 2, 2, 2],
            [1, 1, 1, 3, 2, 2, 2, 2],
            [1, 1, 1, 3, 2, 2, 2, 2],
            [1, 1, 1, 1, 2, 2, 2, 2],
            [3, 3, 3, 3, 3, 3, 3, 3],
        ],
        np.int32,
    )
    final, n, _ = connect(labels, 100, 3)
    assert n == 3
    # the fragment of 3 touches region 1 along four pixels, region 2 along two
    assert final[1, 3] == final[0, 0]
    tie = np.array([[1, 1, 1], [3, 0, 0], [2, 2, 2], [0, 0, 0], [3, 3, 3]], np.int32)
    assert connect(tie, 100, 2)[0][1, 0] == 1


def test_every_piece_of_the_minimum_area_is_a_region_of_its_own():
    labels = np.array([[1, 1, 1, 2, 1, 1], [1, 1, 1, 2, 1, 1], [2, 2, 2, 2, 2, 2]], np.int32)
    assert connect(labels, 100, 4)[1] == 3
    final, n, _ = connect(labels, 100, 5)
    assert n == 2
    assert final[0, 5] == final[0, 3] != final[0, 0]


def test_nothing_but_background_gives_no_region():
    final, n, dropped = connect(np.zeros((9, 9), np.int32), 4, 5)
    assert (n, dropped, final.max()) == (0, 0, 0)


@pytest.mark.parametrize("chunk", [3, 5, 50])
def test_a_spiral_is_one_component_however_it_is_cut(chunk):
    labels = np.zeros((21, 21), np.int32)
    top, bottom, left, right = 0, 20, 0, 20
    while top <= bottom and left <= right:
        labels[top, left : right + 1] = 1
        labels[top : bottom + 1, right] = 1
        labels[bottom, left : right + 1] = 1
        labels[top + 2 : bottom + 1, left] = 1
        if left + 1 <= right:
            labels[top + 2, left + 1] = 1
        top, bottom, left, right = top + 2, bottom - 2, left + 2, right - 2
    final, n, _ = connect(labels, chunk, 1)
    assert n == skimage_label(labels > 0, connectivity=1).max()
    np.testing.assert_array_equal(final > 0, labels > 0)
