"""Pixels at any resolution, exactly the same in any tiling.

Output pixel k covers the source interval [k r, (k + 1) r) along each axis, with r = p / q an exact fraction. Its
level is the average of what it covers: each source pixel weighs the length of its overlap in units of 1 / q, sums are
integers, and the result is rounded once (half up). Nothing depends on where a box begins. A box filter aliases a little
more than a windowed sinc, but it keeps mean optical density and needs no pixel beyond those covered, so chunks need
no halo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size, ratio
from wsigraph.kernels import njit
from wsigraph.records import Level

MPP_SLACK = Fraction(21, 20)
"""A level may be coarser than requested by this factor before a finer one is read instead."""
_SOURCE_PX_MAX = 4096**2
_STEP_NUMERATOR_MAX = 2**26  # 2 x 255 x p^2 stays below 2^63
_LONG_RUN = 1.5  # a step within this factor of 1 makes runs of neighbouring pixels
_EXACT_IN_INT32 = 2048  # 255 x p^2 stays below 2^31
_EXACT_IN_FLOAT = 2**40  # below it, 2 x 255 x area fits float64, and half a unit is larger than its rounding error


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

    @property
    def part_px(self) -> int:
        """Side of a square of output pixels that covers at most 4096 x 4096 source pixels."""
        p, q = self.step.numerator, self.step.denominator
        return max(1, math.isqrt(_SOURCE_PX_MAX * q * q // (p * p)))

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
        Level-0 and requested pixel size, um/px.

    Returns
    -------
    Source
        The coarsest level and scale of at most 1.05 times the requested pixel size, the smaller scale among equals;
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
        Output pixels.
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
    p, q = source.step.numerator, source.step.denominator
    y_first, y_weights = _spans(box.y0, box.y1, p, q, source.size.height)
    x_first, x_weights = _spans(box.x0, box.x1, p, q, source.size.width)
    out = np.empty((box.height, box.width, 3), dtype=np.uint8)
    rows = pixels.reshape(pixels.shape[0], -1)
    kernel: Any = _average_wide
    if _fits_narrow(p):
        is_near_one = p < _LONG_RUN * q and q < _LONG_RUN * p and p <= _EXACT_IN_INT32
        kernel = _average_runs if is_near_one else _average_narrow
    kernel(rows, y_first - window.y0, y_weights, x_first - window.x0, x_weights, out)
    return out


def shrink(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return averages of `scale` x `scale` pixels, rounded half up; fewer at the far sides where these do not divide.

    Parameters
    ----------
    pixels : uint8 (h, w, 3)
        Pixels from a corner of the grid on.
    scale : int
        Whole factor.

    Returns
    -------
    uint8 (ceil(h / scale), ceil(w / scale), 3)
        As `area_average` with a step of `scale`.
    """
    return pixels if scale == 1 else np.asarray(_shrink(pixels, scale))


def _covered(first: int, stop: int, step: Fraction, length: int) -> tuple[int, int]:
    begin = min(first * step.numerator // step.denominator, length - 1)
    return begin, max(begin + 1, min(-(-stop * step.numerator // step.denominator), length))


def _bounded(step: Fraction) -> Fraction:
    if step.numerator <= _STEP_NUMERATOR_MAX:
        return step
    return step.limit_denominator(max(1, int(_STEP_NUMERATOR_MAX / step)))


@njit(nogil=True, cache=True)
def _spans(first: int, stop: int, p: int, q: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each output pixel along an axis, its first source pixel and the weights from there on.

    The step is p / q. The weights are int64 (stop - first, n) with n the most source pixels that any output pixel
    covers; what an output pixel does not cover weighs 0.
    """
    starts = np.empty(stop - first, np.int64)
    weights = np.zeros((stop - first, -(-p // q) + 1), np.int64)
    n_most = 1
    for k in range(stop - first):
        low = (first + k) * p
        starts[k] = min(low // q, length - 1)
        for i in range(weights.shape[1]):
            index = starts[k] + i
            overlap = min((index + 1) * q, low + p) - max(index * q, low)
            if index < length and overlap > 0:
                weights[k, i] = overlap
                n_most = max(n_most, i + 1)
        if weights[k].sum() == 0:
            weights[k, 0] = 1
    return starts, weights[:, :n_most].copy()


def _fits_narrow(p: int) -> bool:
    """Return whether the sums of a column of weights fit int32, and those of a pixel a double."""
    return p * p < _EXACT_IN_FLOAT and p * 255 < 2**31


@njit(nogil=True, cache=True)
def _shrink(pixels: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    height, width, _ = pixels.shape
    out = np.empty((-(-height // scale), -(-width // scale), 3), np.uint8)
    sums = np.zeros((width, 3), np.int32)
    for y in range(out.shape[0]):
        top, bottom = y * scale, min((y + 1) * scale, height)
        sums[:] = 0
        for row in range(top, bottom):
            for column in range(width):
                for channel in range(3):
                    sums[column, channel] += pixels[row, column, channel]
        for x in range(out.shape[1]):
            right = min((x + 1) * scale, width)
            area = (bottom - top) * (right - x * scale)
            for channel in range(3):
                total = np.int64(0)
                for column in range(x * scale, right):
                    total += sums[column, channel]
                out[y, x, channel] = np.int64((2 * total + area + 0.5) * (0.5 / area))
    return out


@njit(nogil=True, cache=True)
def _weigh_rows(rows: NDArray[np.uint8], first: int, weights: NDArray[np.int64], sums: NDArray[np.int32]) -> int:
    """Put the weighted sum of rows into `sums` and return the sum of the weights."""
    n = 0
    while n < len(weights) and weights[n] != 0:
        n += 1
    # two rows at once, or half of the time would go into storing sums and loading them again
    for i in range(0, n, 2):
        one, other = np.int32(weights[i]), np.int32(weights[i + 1] if i + 1 < n else 0)
        row, below = rows[first + i], rows[first + min(i + 1, n - 1)]
        if i == 0:
            for j in range(row.size):
                sums[j] = one * np.int32(row[j]) + other * np.int32(below[j])
        else:
            for j in range(row.size):
                sums[j] += one * np.int32(row[j]) + other * np.int32(below[j])
    return int(weights[:n].sum())


@njit(nogil=True, cache=True)
def _average_runs(  # noqa: C901 - one pass over a row; parts would be calls inside its loops
    rows: NDArray[np.uint8],
    y_first: NDArray[np.int64],
    y_weights: NDArray[np.int64],
    x_first: NDArray[np.int64],
    x_weights: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Average like `_average_narrow`, for a step near 1 whose weighted sums fit int32.

    Neighbouring output pixels then begin at neighbouring source pixels for long runs, and a run's weighted sums are
    loops over contiguous memory that the compiler turns into vector instructions.
    """
    n, n_columns = x_weights.shape
    full = x_weights[0].sum()
    weight = np.zeros((n_columns + 1, 3 * n), np.int32)
    clipped = np.zeros(n, np.bool_)
    stops = np.empty(n, np.int64)
    n_runs = 0
    for m in range(n):
        clipped[m] = x_weights[m].sum() != full
        weight[:n_columns, 3 * m : 3 * m + 3] = x_weights[m].reshape(n_columns, 1)
        if m == n - 1 or x_first[m + 1] != x_first[m] + 1:
            stops[n_runs] = m + 1
            n_runs += 1
    sums = np.zeros(rows.shape[1] + 3 * n_columns + 3, np.int32)
    line = np.empty(3 * n, np.int32)
    for k in range(out.shape[0]):
        height = _weigh_rows(rows, y_first[k], y_weights[k], sums)
        start = 0
        for run in range(n_runs):
            stop = stops[run]
            target = line[3 * start : 3 * stop]
            for i in range(0, n_columns, 2):
                at = 3 * (x_first[start] + i)
                source, beside = sums[at : at + len(target)], sums[at + 3 : at + 3 + len(target)]
                factor, other = weight[i, 3 * start : 3 * stop], weight[i + 1, 3 * start : 3 * stop]
                if i == 0:
                    for j in range(len(target)):
                        target[j] = factor[j] * source[j] + other[j] * beside[j]
                else:
                    for j in range(len(target)):
                        target[j] += factor[j] * source[j] + other[j] * beside[j]
            start = stop
        flat = out[k].reshape(3 * n)
        area = float(height * full)
        inverse = 0.5 / area
        for j in range(3 * n):
            flat[j] = np.int32((2.0 * line[j] + (area + 0.5)) * inverse)
        for m in range(n):
            if clipped[m]:
                own = height * x_weights[m].sum()
                for j in range(3 * m, 3 * m + 3):
                    flat[j] = (2 * np.int64(line[j]) + own) // (2 * own)


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
        height = _weigh_rows(rows, y_first[k], y_weights[k], sums)
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
