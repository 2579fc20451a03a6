from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.geometry import Box, Size, grid, resampled_size
from wsigraph.records import Level
from wsigraph.slide import resample
from wsigraph.slide.resample import Source, area_average, choose_source

STEPS = [
    Fraction(1),
    Fraction(2),
    Fraction(5, 2),
    Fraction(500, 499),
    Fraction(1000, 499),
    Fraction(9, 10),
    Fraction(7, 3),
]


def _source(size: Size, step: Fraction) -> Source:
    return Source(level=0, scale=1, size=size, step=step)


def _read(pixels: np.ndarray, source: Source, box: Box) -> np.ndarray:
    window = source.window(box)
    return area_average(np.ascontiguousarray(pixels[window.slices]), window, box, source)


def _by_definition(pixels: np.ndarray, step: Fraction, size: Size) -> np.ndarray:
    """Average in exact fractions, one output pixel at a time, straight from the definition."""
    height, width = pixels.shape[:2]
    out = np.zeros((size.height, size.width, 3), np.uint8)
    for k in range(size.height):
        for m in range(size.width):
            rows, columns = _weights(k, step, height), _weights(m, step, width)
            for channel in range(3):
                total = sum(wy * wx * int(pixels[y, x, channel]) for y, wy in rows.items() for x, wx in columns.items())
                area = sum(rows.values()) * sum(columns.values())
                out[k, m, channel] = math.floor(total / area + Fraction(1, 2))
    return out


def _weights(k: int, step: Fraction, length: int) -> dict[int, Fraction]:
    low, high = k * step, (k + 1) * step
    overlaps = {i: min(high, Fraction(i + 1)) - max(low, Fraction(i)) for i in range(math.floor(low), math.ceil(high))}
    inside = {i: overlap for i, overlap in overlaps.items() if overlap > 0 and i < length}
    return inside or {length - 1: Fraction(1)}


@pytest.mark.parametrize("step", STEPS)
def test_equals_its_definition(step: Fraction) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    size = resampled_size(Size(23, 31), step)
    got = _read(pixels, _source(Size(23, 31), step), Box.whole(size))
    np.testing.assert_array_equal(got, _by_definition(pixels, step, size))


def test_half_rounds_up() -> None:
    pixels = np.array([[[1, 2, 254], [2, 2, 255]], [[1, 3, 255], [2, 3, 254]]], np.uint8)
    got = _read(pixels, _source(Size(2, 2), Fraction(2)), Box.whole(Size(1, 1)))
    assert got.tolist() == [[[2, 3, 255]]]


@given(
    numerator=st.integers(1, 300),
    denominator=st.integers(1, 120),
    cut=st.integers(5, 40),
    height=st.integers(1, 60),
    width=st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_any_tiling_gives_the_same_bytes(numerator: int, denominator: int, cut: int, height: int, width: int) -> None:
    step = max(Fraction(numerator, denominator), Fraction(1, 3))
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    source = _source(Size(height, width), step)
    size = resampled_size(Size(height, width), step)
    whole = _read(pixels, source, Box.whole(size))
    for box in grid(size, cut):
        np.testing.assert_array_equal(_read(pixels, source, box), whole[box.slices])


@given(step=st.fractions(min_value=Fraction(1, 2), max_value=9, max_denominator=4096), level=st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_an_even_field_stays_even(step: Fraction, level: int) -> None:
    pixels = np.full((37, 41, 3), level, np.uint8)
    size = resampled_size(Size(37, 41), step)
    assert (_read(pixels, _source(Size(37, 41), step), Box.whole(size)) == level).all()


@pytest.mark.parametrize(
    "step", [Fraction(2), Fraction(5, 2), Fraction(2048, 2047), Fraction(500, 499), Fraction(4, 3), Fraction(9, 10)]
)
@pytest.mark.parametrize("left", [0, 7])
def test_all_kernels_agree(step: Fraction, left: int) -> None:
    """Two kernels divide through a double, and one works in runs of pixels; neither must show."""
    pixels = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    size = resampled_size(Size(64, 64), step)
    assert resample._fits_narrow(step.numerator)
    y_first, y_weights = resample._spans(0, size.height, step.numerator, step.denominator, 64)
    x_first, x_weights = resample._spans(left, size.width, step.numerator, step.denominator, 64)
    rows = pixels.reshape(64, -1)
    narrow, wide, runs = (np.empty((size.height, size.width - left, 3), np.uint8) for _ in range(3))
    resample._average_narrow(rows, y_first, y_weights, x_first, x_weights, narrow)
    resample._average_wide(rows, y_first, y_weights, x_first, x_weights, wide)
    resample._average_runs(rows, y_first, y_weights, x_first, x_weights, runs)
    np.testing.assert_array_equal(narrow, wide)
    np.testing.assert_array_equal(runs, wide)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_shrinking_is_averaging_by_a_whole_step(scale: int) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (29, 43, 3), dtype=np.uint8)
    source = _source(Size(29, 43), Fraction(scale))
    small = Size(-(-29 // scale), -(-43 // scale))
    np.testing.assert_array_equal(resample.shrink(pixels, scale), _read(pixels, source, Box.whole(small)))


def test_large_terms_take_the_wide_kernel_and_stay_exact() -> None:
    step = Fraction(2**25 + 1, 2**24)
    source = _source(Size(9, 9), step)
    assert not resample._fits_narrow(step.numerator)
    pixels = np.random.default_rng(4).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    size = resampled_size(Size(9, 9), step)
    np.testing.assert_array_equal(_read(pixels, source, Box.whole(size)), _by_definition(pixels, step, size))


def test_pixels_beyond_a_short_level_repeat_the_last() -> None:
    """A level of 312 pixels may stand for 312.5; the output's 313th pixel then begins where the level ends."""
    pixels = np.arange(3 * 3 * 3, dtype=np.uint8).reshape(3, 3, 3)
    got = _read(pixels, _source(Size(3, 3), Fraction(1)), Box(y0=2, x0=2, y1=4, x1=4))
    assert (got == pixels[2, 2]).all()


def _level(height: int, width: int, downsample: int) -> Level:
    return Level(size=Size(height, width), downsample=Fraction(downsample), tile=Size(64, 64))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (0.25, (0, 1, Fraction(1))),
        (0.2, (0, 1, Fraction(4, 5))),
        (0.24, (0, 1, Fraction(24, 25))),  # 4 % finer than level 0: level 0 is fine enough
        (0.5, (0, 2, Fraction(1))),
        (0.96, (1, 1, Fraction(24, 25))),  # 1.0 is within 5 % of 0.96
        (0.9, (0, 2, Fraction(9, 5))),
        (1.0, (1, 1, Fraction(1))),  # level 1 as it is, rather than level 0 shrunk by 4
        (3.0, (1, 2, Fraction(3, 2))),
        (64.0, (2, 8, Fraction(2))),
    ],
)
def test_the_coarsest_sufficient_grid_is_chosen(target: float, expected: tuple[int, int, Fraction]) -> None:
    levels = [_level(4096, 4096, 1), _level(1024, 1024, 4), _level(256, 256, 16)]
    source = choose_source(levels, [(1, 2, 4, 8)] * 3, 0.25, target)
    assert (source.level, source.scale, source.step) == expected


def test_the_step_counts_from_level_0_whatever_level_is_read() -> None:
    levels = [_level(40000, 40000, 1), _level(10000, 10000, 4)]
    near = choose_source(levels[:1], [(1,)], 0.2527, 1.1)
    far = choose_source(levels, [(1,), (1,)], 0.2527, 1.1)
    assert (near.level, far.level) == (0, 1)
    assert far.step * 4 == near.step


def test_a_step_of_huge_terms_is_bounded() -> None:
    size = Size(33331, 33331)
    levels = [
        _level(100000, 100000, 1),
        Level(size=size, downsample=Fraction(100000, 33331), tile=Size(64, 64)),
    ]
    source = choose_source(levels, [(1,), (1,)], 0.25, 0.9371)
    assert source.level == 1
    assert source.step.numerator <= 2**26
    assert float(source.step) == pytest.approx(0.9371 / 0.25 * 0.33331, rel=1e-7)
