"""A straight course is found through its gaps, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.graph.tissue.straight import straight_courses

SIZE = 200


def line(angle, distance, *, width=2.0):
    """Pixels within `width` of the line at `distance` from the picture's centre, its normal at `angle`."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    return np.abs(y * np.sin(angle) + x * np.cos(angle) - distance) < width / 2


def broken(course, *, every, gap):
    """The course without `gap` of every `every` diagonal strips."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return course & ((y + x) % every >= gap)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, np.pi), st.floats(-40, 40))
def test_a_line_in_pieces_is_joined(angle, distance):
    # strips along the line itself would hide it whole
    if abs(np.cos(angle - np.pi / 4)) > 0.9:
        return
    course = line(angle, distance)
    pieces = broken(course, every=30, gap=8)
    found = straight_courses(pieces, 90)
    assert found[course & pieces].mean() > 0.85
    assert found[course].mean() > 0.85
    assert not found[~line(angle, distance, width=8.0)].any()


def test_scattered_candidates_make_no_line():
    rng = np.random.default_rng(3)
    assert not straight_courses(rng.random((SIZE, SIZE)) < 0.02, 90).any()


def test_a_ring_is_no_line():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    assert not straight_courses(np.abs(np.hypot(y, x) - 60) < 1.5, 90).any()


@pytest.mark.parametrize(("length", "is_found"), [(80, False), (100, True)])
def test_the_least_length_counts(length, is_found):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[50, 20 : 20 + length] = True
    assert straight_courses(mask, 90).any() == is_found


def test_two_lines_are_both_found_and_an_empty_picture_has_none():
    both = line(0.3, -30) | line(1.9, 20)
    assert straight_courses(broken(both, every=30, gap=6), 90)[both].mean() > 0.85
    assert not straight_courses(np.zeros((SIZE, SIZE), bool), 90).any()
