"""Moments: closed forms, reference libraries, and the same sum for every partition."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import graycomatrix
from skimage.measure import regionprops

from wsigraph.config import FeatureConfig
from wsigraph.geometry import Box, Size, grid
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.count import CountScales, count_moments
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES, N_GREY
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain

STAIN = estimate_stain(empty_histogram(), method="reference")
STAIN = dataclasses.replace(STAIN, nucleus_threshold=0.4)
SCALES = CountScales.of(FeatureConfig(), 1.0)


def total(rgb, labels, chunk=10_000, scales=SCALES):
    """Return the moments of every label, summed over chunks."""
    size = Size(*labels.shape)
    moments = np.zeros((labels.max(), len(MOMENT_NAMES)), np.int64)
    for core in grid(size, chunk):
        window = core.grow(scales.halo_px).clip(size)
        ids, rows = count_moments(
            np.ascontiguousarray(rgb[window.slices]),
            np.ascontiguousarray(labels[window.slices]),
            window=window,
            core=core,
            size=size,
            stain=STAIN,
            scales=scales,
        )
        moments[ids - 1] += rows
    return moments


def stained(seed, height=90, width=110):
    """Return a pink image with round dark nuclei and a label image of blocks and holes."""
    rng = np.random.default_rng(seed)
    rgb = np.clip(rng.normal((222, 165, 196), 6, (height, width, 3)), 0, 255)
    y, x = np.mgrid[:height, :width]
    for cy, cx in rng.uniform(0, (height, width), (25, 2)):
        rgb[np.hypot(y - cy, x - cx) < rng.uniform(2.5, 5)] = (92, 60, 140)
    labels = (1 + y // 18 * 5 + x // 22).astype(np.int32)
    labels[rng.random((height, width)) < 0.02] = 0
    return rgb.astype(np.uint8), labels


@given(st.integers(0, 2**32 - 1), st.integers(8, 60))
@settings(deadline=None, max_examples=25)
def test_moments_do_not_depend_on_the_partition(seed, chunk):
    rgb, labels = stained(seed)
    np.testing.assert_array_equal(total(rgb, labels, chunk), total(rgb, labels))


def test_merging_labels_adds_moments():
    rgb, labels = stained(1)
    merged = np.where(labels > 0, (labels + 1) // 2, 0).astype(np.int32)
    fine, coarse = total(rgb, labels), total(rgb, merged)
    group = (np.arange(1, len(fine) + 1) + 1) // 2 - 1
    summed = np.zeros_like(coarse)
    np.add.at(summed, group, fine)
    np.testing.assert_array_equal(summed, coarse)


def test_geometry_is_that_of_regionprops():
    rgb, labels = stained(2)
    moments = total(rgb, labels)
    for region in regionprops(labels):
        row = moments[region.label - 1]
        n = row[COLUMN["n"]]
        assert n == region.area
        centroid = (row[COLUMN["sum_y"]] / n, row[COLUMN["sum_x"]] / n)
        np.testing.assert_allclose(centroid, region.centroid, rtol=1e-12)
        assert row[COLUMN["sum_xx"]] == (region.coords[:, 1].astype(np.int64) ** 2).sum()
        assert row[COLUMN["sum_xy"]] == (region.coords[:, 0].astype(np.int64) * region.coords[:, 1]).sum()


def test_histograms_and_pairs_are_complete():
    rgb, labels = stained(3)
    moments = total(rgb, labels)
    n = moments[:, COLUMN["n"]]
    for name in ("hematoxylin_bin_0", "eosin_bin_0", "lightness_bin_0"):
        np.testing.assert_array_equal(moments[:, COLUMN[name] : COLUMN[name] + 16].sum(axis=1), n)
    start = COLUMN["cooccurrence_0_0"]
    pairs = moments[:, start : start + 36].sum()
    height, width = labels.shape
    inside = labels > 0
    assert pairs == inside[:, : width - 2].sum() + inside[: height - 2].sum()


def test_cooccurrence_is_graycomatrix_on_one_region():
    import wsigraph.graph.feature.count as count

    rgb, _ = stained(4)
    labels = np.ones(rgb.shape[:2], np.int32)
    hematoxylin, _ = concentrations(rgb, STAIN)
    level = count._bin_table(STAIN.max_concentration[0], N_GREY, N_GREY)[hematoxylin]
    expected = graycomatrix(level, [2], [0, np.pi / 2], levels=N_GREY).sum(axis=(2, 3))
    row = total(rgb, labels)[0]
    for low in range(N_GREY):
        for high in range(low, N_GREY):
            both = expected[low, high] + (expected[high, low] if high > low else 0)
            assert row[COLUMN[f"cooccurrence_{low}_{high}"]] == both


def test_outer_boundaries_of_a_square():
    labels = np.zeros((20, 20), np.int32)
    labels[5:9, 6:10] = 1
    row = total(np.full((20, 20, 3), 200, np.uint8), labels)[0]
    assert row[COLUMN["outside_straight"]] == 16
    # four pixels a side see two diagonal neighbours outside, and each corner one more
    assert row[COLUMN["outside_diagonal"]] == 4 * 8 - 4
    assert row[COLUMN["edge_straight"]] == row[COLUMN["edge_diagonal"]] == 0
    whole = total(np.full((6, 7, 3), 200, np.uint8), np.ones((6, 7), np.int32))[0]
    assert whole[COLUMN["edge_straight"]] == 2 * (6 + 7)
    assert whole[COLUMN["outside_straight"]] == 0


def test_nuclei_are_counted_measured_and_owned_once():
    height, width = 120, 120
    rgb = np.full((height, width, 3), (222, 165, 196), np.uint8)
    y, x = np.mgrid[:height, :width]
    centres = [(20, 20), (60, 59), (60, 100), (100, 30)]
    for cy, cx in centres:
        rgb[np.hypot(y - cy, x - cx) <= 4] = (92, 60, 140)
    rgb[100:104, 60:110] = (92, 60, 140)  # longer than any nucleus
    labels = np.where(x < 60, 1, 2).astype(np.int32)
    moments = total(rgb, labels, chunk=37)
    np.testing.assert_array_equal(moments[:, COLUMN["nuclei"]], [3, 1])
    disc = int((np.hypot(y - 20, x - 20) <= 4).sum())
    assert moments[0, COLUMN["nucleus_area"]] == pytest.approx(3 * disc, rel=0.25)
    assert moments[1, COLUMN["nucleus_eccentricity"]] < 0.4 * 1024


def test_window_without_tissue_counts_nothing():
    rgb = np.full((30, 30, 3), 255, np.uint8)
    box = Box.whole(Size(30, 30))
    ids, rows = count_moments(
        rgb, np.zeros((30, 30), np.int32), window=box, core=box, size=Size(30, 30), stain=STAIN, scales=SCALES
    )
    assert len(ids) == 0
    assert rows.shape == (0, len(MOMENT_NAMES))
