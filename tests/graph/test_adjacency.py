"""Boundaries: closed forms, symmetry, and the same for every partition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.geometry import Box, Size, crofton_um, grid
from wsigraph.graph.adjacency import both_directions, count_boundaries, sum_boundaries


def boundaries(labels, chunk=10_000):
    size = Size(*labels.shape)
    parts = []
    for core in grid(size, chunk):
        window = core.grow(1).clip(size)
        parts.append(count_boundaries(np.ascontiguousarray(labels[window.slices]), window, core))
    return sum_boundaries(np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts]))


def brute_force(labels):
    """Return {(low, high): [straight, diagonal]} by looking at every pair of neighbours."""
    crossings = {}
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    pair = sorted((int(labels[y, x]), int(labels[y + dy, x + dx])))
                    if pair[0] not in (0, pair[1]):
                        crossings.setdefault(tuple(pair), [0, 0])[1 if dy and dx else 0] += 1
    return crossings


def test_two_squares_share_one_edge_of_known_length():
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 5:20], labels[10:30, 20:35] = 1, 2
    key, boundary = boundaries(labels)
    assert key.tolist() == [(1 << 32) | 2]
    np.testing.assert_array_equal(boundary, [[20, 38]])
    # Crofton with four directions reads a long axis-parallel edge 5 % short
    assert crofton_um(20, 38, 0.5) == pytest.approx(10, rel=0.09)


@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.integers(1, 15), st.integers(2, 12))
@settings(deadline=None, max_examples=60)
def test_counts_equal_brute_force_for_every_partition(seed, height, width, chunk):
    labels = np.random.default_rng(seed).integers(0, 5, (height, width)).astype(np.int32)
    for size in (chunk, 100):
        key, boundary = boundaries(labels, size)
        ours = {(int(k >> 32), int(k & 0xFFFFFFFF)): row.tolist() for k, row in zip(key, boundary, strict=True)}
        assert ours == brute_force(labels)


def test_edges_go_both_ways_sorted_with_equal_boundaries():
    low, high = np.array([0, 0, 1]), np.array([2, 1, 2])
    edges, boundary = both_directions(low, high, np.array([[5, 1], [3, 2], [4, 0]]))
    assert edges.tolist() == [[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]]
    forward = {(s, t): tuple(b) for s, t, b in zip(*edges.tolist(), boundary.tolist(), strict=True)}
    assert all(forward[s, t] == forward[t, s] for s, t in forward)


def test_no_tissue_has_no_boundary():
    box = Box.whole(Size(4, 4))
    key, boundary = count_boundaries(np.zeros((4, 4), np.int32), box, box)
    assert key.shape == (0,)
    assert boundary.shape == (0, 2)
