"""Pixels at any resolution, exactly the same in any tiling.

Output pixel k covers the source interval [k r, (k + 1) r) along each axis, with r = p / q an exact fraction. Its
level is the average of what it covers: each source pixel weighs the length of its overlap in units of 1 / q, sums are
integers, and one rounding (half up) ends it. Nothing depends on where a box begins. A box filter is not the sharpest
there is and lets through a little more aliasing than a windowed sinc, but it keeps mean optical density and needs no
pixel beyond those covered, so seams cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size, ratio
from wsigraph.records import Level

MPP_SLACK = Fraction(21, 20)
"""A level may be coarser than asked for by this factor before a finer one is read instead."""
_STEP_NUMERATOR_MAX = 2**26  # 2 x 255 x p^2 stays below 2^63
_EXACT_IN_FLOAT = 2**40  # below it, 2 x 255 x area fits a double and half a unit outweighs its rounding


@dataclass(frozen=True, slots=True)
class Source:
    """Where the pixels of a resolution come from.

    Attributes
    ----------
    level : int
        Level that is read.
    scale : int
        Whole factor by which the reader shrinks it.
    size : Size
        Pixels of the level so shrunk.
    step : Fraction
        Pixels of that grid spanned by one output pixel.
    """

    level: int
    scale: int
    size: Size
    step: Fraction

    def window(self, box: Box) -> Box:
        """Return the source pixels that the output pixels of `box` cover, at least one along each axis."""
        y0, y1 = _covered(box.y0, box.y1, self.step, self.size.height)
        x0, x1 = _covered(box.x0, box.x1, self.step, self.size.width)
        return Box(y0=y0, x0=x0, y1=y1, x1=x1)


def choose_source(
    levels: Sequence[Level], scales: Sequence[Sequence[int]], slide_mpp: float, target_mpp: float
) -> Source:
    """Return the cheapest grid that is fine enough for a pixel size; it depends on nothing else.

    Parameters
    ----------
    levels : sequence of Level
        Levels of the slide.
    scales : sequence of sequence of int
        Factors by which the reader can shrink each level.
    slide_mpp, target_mpp : float
        Level-0 pixel size and the one asked for, um/px.

    Returns
    -------
    Source
        The coarsest level and scale of at most 1.05 times the asked pixel size, the smaller scale among equals;
        level 0 unshrunk where none is.
    """
    step = ratio(target_mpp, slide_mpp)
    limit = MPP_SLACK * Fraction(repr(float(target_mpp))) / Fraction(repr(float(slide_mpp)))
    choices = [
        (level.downsample * scale, -scale, index)
        for index, level in enumerate(levels)
        for scale in scales[index]
        if level.downsample * scale <= limit
    ]
    downsample, negative_scale, index = max(choices, default=(Fraction(1), -1, 0))
    scale, size = -negative_scale, levels[index].size
    return Source(
        level=index,
        scale=scale,
        size=Size(-(-size.height // scale), -(-size.width // scale)),
        step=_bounded(step / downsample),
    )


def area_average(pixels: NDArray[np.uint8], window: Box, box: Box, source: Source) -> NDArray[np.uint8]:
    """Return the output pixels of a box.

    Parameters
    ----------
    pixels : uint8 (h, w, 3)
        Source pixels of `window`, contiguous.
    window : Box
        ``source.window(box)`` or more.
    box : Box
        Output pixels wanted.
    source : Source
        The grid that `pixels` are of.

    Returns
    -------
    uint8 (box.height, box.width, 3)
        Averages over what exists of the covered source; an output pixel wholly beyond the source, which a level one
        pixel short leaves at the border, repeats the last source pixel.
    """
    if source.step == 1 and window == box:
        return pixels
    y_first, y_weights = _spans(box.y0, box.y1, source.step, source.size.height)
    x_first, x_weights = _spans(box.x0, box.x1, source.step, source.size.width)
    kernel: Any = _average_narrow if _fits_narrow(y_weights, x_weights) else _average_wide
    out = np.empty((box.height, box.width, 3), dtype=np.uint8)
    rows = pixels.reshape(pixels.shape[0], -1)
    kernel(rows, y_first - window.y0, y_weights, x_first - window.x0, x_weights, out)
    return out


def _covered(first: int, stop: int, step: Fraction, length: int) -> tuple[int, int]:
    start = min(first * step.numerator // step.denominator, length - 1)
    return start, max(start + 1, min(-(-stop * step.numerator // step.denominator), length))


def _bounded(step: Fraction) -> Fraction:
    if step.numerator <= _STEP_NUMERATOR_MAX:
        return step
    return step.limit_denominator(max(1, int(_STEP_NUMERATOR_MAX / step)))


def _spans(first: int, stop: int, step: Fraction, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each output pixel along an axis, its first source pixel and the weights from there on.

    The weights are int64 (stop - first, n) with n the most source pixels that any output pixel covers; what an output
    pixel does not cover weighs 0.
    """
    p, q = step.numerator, step.denominator
    low = np.arange(first, stop, dtype=np.int64) * p
    start = np.minimum(low // q, length - 1)
    n_covered = -(-p // q) + 1
    index = start[:, np.newaxis] + np.arange(n_covered, dtype=np.int64)
    overlap = np.minimum((index + 1) * q, (low + p)[:, np.newaxis]) - np.maximum(index * q, low[:, np.newaxis])
    weights = np.where(index < length, np.maximum(overlap, 0), 0)
    weights[weights.sum(axis=1) == 0, 0] = 1
    return start, np.ascontiguousarray(weights[:, : max(1, int((weights > 0).any(axis=0).sum()))])


def _fits_narrow(y_weights: NDArray[np.int64], x_weights: NDArray[np.int64]) -> bool:
    largest = int(y_weights.sum(axis=1).max()) * int(x_weights.sum(axis=1).max())
    return largest < _EXACT_IN_FLOAT and int(y_weights.sum(axis=1).max()) * 255 < 2**31


@njit(nogil=True, cache=True)
def _average_narrow(
    rows: NDArray[np.uint8],
    y_first: NDArray[np.int64],
    y_weights: NDArray[np.int64],
    x_first: NDArray[np.int64],
    x_weights: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Average where a column sum fits int32 and a pixel's sum a double; `rows` is (h, 3 w), `out` (h', w', 3)."""
    n_columns = x_weights.shape[1]
    sums = np.zeros(rows.shape[1] + 3 * n_columns, np.int32)
    for k in range(out.shape[0]):
        for i in range(y_weights.shape[1]):
            weight = np.int32(y_weights[k, i])
            if weight == 0:
                break
            row = rows[y_first[k] + i]
            if i == 0:
                for j in range(row.size):
                    sums[j] = weight * np.int32(row[j])
            else:
                for j in range(row.size):
                    sums[j] += weight * np.int32(row[j])
        height = y_weights[k].sum()
        for m in range(out.shape[1]):
            red, green, blue, width = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            at = 3 * x_first[m]
            for j in range(n_columns):
                weight_x = x_weights[m, j]
                width += weight_x
                red += weight_x * sums[at]
                green += weight_x * sums[at + 1]
                blue += weight_x * sums[at + 2]
                at += 3
            area = height * width
            inverse = 0.5 / area
            out[k, m, 0] = np.int64((2 * red + area + 0.5) * inverse)
            out[k, m, 1] = np.int64((2 * green + area + 0.5) * inverse)
            out[k, m, 2] = np.int64((2 * blue + area + 0.5) * inverse)


@njit(nogil=True, cache=True)
def _average_wide(
    rows: NDArray[np.uint8],
    y_first: NDArray[np.int64],
    y_weights: NDArray[np.int64],
    x_first: NDArray[np.int64],
    x_weights: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Average in int64 throughout, for steps whose fraction has large terms; the same result, slower."""
    n_columns = x_weights.shape[1]
    sums = np.zeros(rows.shape[1] + 3 * n_columns, np.int64)
    for k in range(out.shape[0]):
        sums[:] = 0
        for i in range(y_weights.shape[1]):
            weight = y_weights[k, i]
            if weight == 0:
                break
            row = rows[y_first[k] + i]
            for j in range(row.size):
                sums[j] += weight * np.int64(row[j])
        height = y_weights[k].sum()
        for m in range(out.shape[1]):
            width = x_weights[m].sum()
            area = height * width
            for channel in range(3):
                total = np.int64(0)
                for j in range(n_columns):
                    total += x_weights[m, j] * sums[3 * (x_first[m] + j) + channel]
                out[k, m, channel] = (2 * total + area) // (2 * area)
