"""Boxes, sizes and exact ratios."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsigraph.geometry import (
    RATIO_DENOMINATOR_MAX,
    Box,
    Size,
    grid,
    px_to_mm2,
    px_to_um,
    px_to_um2,
    ratio,
    resampled_size,
    um2_to_px,
    um_to_px,
)

SIDES = st.integers(1, 60)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    y0, x0 = draw(st.integers(-20, 20)), draw(st.integers(-20, 20))
    return Box(y0=y0, x0=x0, y1=y0 + draw(SIDES), x1=x0 + draw(SIDES))


@given(SIDES, SIDES, st.integers(1, 70))
def test_a_grid_partitions_its_array(height: int, width: int, chunk_px: int) -> None:
    hits = np.zeros((height, width), int)
    corners = []
    for box in grid(Size(height, width), chunk_px):
        hits[box.slices] += 1
        assert 0 < box.height <= chunk_px
        assert 0 < box.width <= chunk_px
        corners.append((box.y0, box.x0))
    assert (hits == 1).all()
    assert corners == sorted(corners)


@given(boxes(), boxes())
def test_an_intersection_is_the_pixels_of_both(one: Box, other: Box) -> None:
    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(y, x) for y in range(box.y0, box.y1) for x in range(box.x0, box.x1)}

    common = one.intersect(other)
    assert pixels(common) == pixels(one) & pixels(other)
    assert common.is_empty == (not pixels(one) & pixels(other))


@given(boxes(), st.integers(0, 9))
def test_growing_and_relative_coordinates(box: Box, halo_px: int) -> None:
    grown = box.grow(halo_px)
    assert grown.size == Size(box.height + 2 * halo_px, box.width + 2 * halo_px)
    inner = box.relative_to(grown)
    assert (inner.y0, inner.x0, inner.size) == (halo_px, halo_px, box.size)


def test_clipping_and_the_whole() -> None:
    size = Size(4, 7)
    assert size.area == 28
    assert Box.whole(size) == Box(y0=0, x0=0, y1=4, x1=7)
    assert Box(y0=-3, x0=5, y1=2, x1=99).clip(size) == Box(y0=0, x0=5, y1=2, x1=7)
    with pytest.raises(TypeError):
        Box(0, 0, 4, 7)  # type: ignore[misc]


def test_ratios_are_exact_in_decimal() -> None:
    assert ratio(1.0, 0.25) == 4
    assert ratio(1.0, 0.1) == 10, "0.1 is not a binary fraction, its decimal text is what counts"
    assert ratio(1.0, 0.499) == Fraction(1000, 499)
    assert ratio(1.0, 0.25, Fraction(4)) == 1
    assert ratio(0.25, 0.5) == Fraction(1, 2)


@given(st.floats(0.05, 20.0), st.floats(0.05, 20.0))
def test_ratios_stay_close_and_bounded(target: float, source: float) -> None:
    step = ratio(target, source)
    assert step.denominator <= RATIO_DENOMINATOR_MAX
    assert abs(float(step) - target / source) <= 1 / RATIO_DENOMINATOR_MAX


@given(SIDES, SIDES, st.fractions(Fraction(1, 8), 8, max_denominator=64))
def test_a_resampled_array_covers_the_source_and_no_pixel_more(height: int, width: int, step: Fraction) -> None:
    size = resampled_size(Size(height, width), step)
    for target, source in ((size.height, height), (size.width, width)):
        assert target * step >= source
        assert (target - 1) * step < source


def test_units() -> None:
    assert um_to_px(30, 0.5) == 60
    assert um_to_px(0.01, 0.5) == 1, "a length is at least one pixel"
    assert um2_to_px(100, 0.5) == 400
    assert px_to_um(60, 0.5) == 30.0
    assert px_to_um2(400, 0.5) == 100.0
    assert px_to_mm2(4_000_000, 0.5) == 1.0
