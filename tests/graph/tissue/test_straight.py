"""A straight segment is detected through its gaps, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.graph.tissue.straight import straight_segments

SIZE = 200


def line(angle, distance, *, width=2.0):
    """Pixels within `width` of the line at `distance` from the picture's centre, its normal at `angle`."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return np.abs(y * np.sin(angle) + x * np.cos(angle) - distance) < width / 2


def broken(segment, *, every, gap):
    """The course without `gap` of every `every` diagonal strips."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return segment & ((y + x) % every >= gap)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, np.pi), st.floats(-40, 40))
def test_a_line_in_pieces_is_joined(angle, distance):
    # strips along the line itself would hide it whole
    if abs(np.cos(angle - np.pi / 4)) > 0.9:
        return
    segment = line(angle, distance)
    pieces = broken(segment, every=30, gap=8)
    joined = straight_segments(pieces, 90)
    assert joined[segment & pieces].mean() > 0.85
    assert joined[segment].mean() > 0.85
    assert not joined[~line(angle, distance, width=8.0)].any()


def test_scattered_candidates_make_no_line():
    rng = np.random.default_rng(3)
    assert not straight_segments(rng.random((SIZE, SIZE)) < 0.02, 90).any()


def test_a_circle_is_not_a_line():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    assert not straight_segments(np.abs(np.hypot(y, x) - 60) < 1.5, 90).any()


@pytest.mark.parametrize(("length", "is_accepted"), [(80, False), (100, True)])
def test_the_least_length_counts(length, is_accepted):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[50, 20 : 20 + length] = True
    assert straight_segments(mask, 90).any() == is_accepted


def test_two_lines_are_both_detected_and_an_empty_image_has_none():
    both = line(0.3, -30) | line(1.9, 20)
    assert straight_segments(broken(both, every=30, gap=6), 90)[both].mean() > 0.85
    assert not straight_segments(np.zeros((SIZE, SIZE), bool), 90).any()
