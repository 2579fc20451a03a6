"""Features of a neural network, added up over superpixels.

An encoder turns a fixed window of pixels into a coarse map of feature vectors. The windows lie on one lattice that
starts at the slide's corner, and each is decoded whole whatever its surroundings, so that a cell's features never
depend on how the slide was cut. The map is rounded to 1/256; each superpixel receives the features of every cell
times the number of its pixels whose centre lies in that cell. The sums are integers: they add up exactly under
merging, and the mean over a region is its sum over its area.

Where the working pixel size is not the encoder's, cells are laid over working pixels by exact fractions. A cell at
the border of a window sees less context than one in its middle; overlapping windows would repair that at several
times the cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import PluginError, RecordError
from wsigraph.geometry import Box, Size, grid, ratio
from wsigraph.kernels import njit
from wsigraph.records import LazyArray, SuperpixelLabels, TissueGraph
from wsigraph.slide.map_boxes import Progress, map_chunks

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide

ENCODING_UNIT = 256
"""Integer units of one feature; a power of two, so that scaling is exact."""
FEATURE_MAX = 2.0**20
"""Largest feature accepted: with 2**34 pixels a slide the sums still fit int64."""
BLOCK_WINDOWS = 4
"""Windows along the side of one task: one read for up to 16 windows, most of whose native tiles they share."""


class Encoder(Protocol):
    """What a plugin of group ``wsigraph.encoders`` returns.

    `encode` must be safe in several threads at once, must give a window the same features whatever the number of
    threads, and the encoder must pickle where processes share the work.
    """

    @property
    def name(self) -> str:
        """Name in records and messages."""
        ...

    @property
    def mpp(self) -> float:
        """Pixel size the windows are read at, um/px."""
        ...

    @property
    def window_px(self) -> int:
        """Side of a window; a multiple of `stride_px`."""
        ...

    @property
    def stride_px(self) -> int:
        """Side of the cell that one feature vector describes."""
        ...

    @property
    def dimension(self) -> int:
        """Features a cell, D."""
        ...

    @property
    def batch(self) -> int:
        """Windows a call; every call has exactly this many."""
        ...

    def encode(self, windows: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return float32 (batch, window / stride, window / stride, D) for uint8 (batch, window, window, 3)."""
        ...


def encode(
    slide: Slide,
    labels: SuperpixelLabels,
    encoder: Encoder,
    *,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Return the encoder's features summed over every superpixel.

    Parameters
    ----------
    slide : Slide
        Pixels at any pixel size; outside the slide they are white.
    labels : SuperpixelLabels
        Superpixels 1..N of the same slide.
    encoder : Encoder
        The network; only windows that hold a label are shown to it.
    progress : callable, optional
        Called with (stage, done, total) from the calling thread.

    Returns
    -------
    int64 (N, D)
        Row i - 1 belongs to label i: the sum over its pixels of the features of their cells, in 1/256.

    Raises
    ------
    PluginError
        If the encoder's window is no multiple of its stride, or it returns another shape than it states, a number
        that is not finite or one beyond 2**20.
    UnreadableSlide
        If pixels do not decode.

    Notes
    -----
    Bit-identical on one machine type for any dask scheduler and number of workers. Memory peaks at about twice the
    result, plus one block of 4 x 4 windows a worker.
    """
    if encoder.window_px % encoder.stride_px:
        raise PluginError(
            f"encoder {encoder.name!r} has windows of {encoder.window_px} px, "
            f"expected a multiple of its stride of {encoder.stride_px} px"
        )
    step = ratio(encoder.mpp, labels.mpp)
    window_px = encoder.window_px
    size = Size(
        ceil(Fraction(labels.size.height) / step / window_px) * window_px,
        ceil(Fraction(labels.size.width) / step / window_px) * window_px,
    )
    blocks = list(grid(size, BLOCK_WINDOWS * window_px))
    parts = map_chunks(encode_block, blocks, slide, labels.labels, step, encoder, stage="encode", progress=progress)
    sums = np.zeros((labels.n_superpixels, encoder.dimension), np.int64)
    for found, part in parts:
        sums[found - 1] += part
    return sums


def encoding(graph: TissueGraph) -> NDArray[np.float64]:
    """Return the mean features of every region.

    Parameters
    ----------
    graph : TissueGraph
        A graph built with an encoder; merged regions serve as well.

    Returns
    -------
    float64 (N, D)
        Mean over the region's pixels.

    Raises
    ------
    RecordError
        If the graph holds no encoding.
    """
    if graph.encoding_sum is None:
        raise RecordError(
            f"graph of slide {graph.slide_id!r} holds no encoding; build it with an encoder, "
            "e.g. --encoder efficientnet_lite0"
        )
    return np.asarray(graph.encoding_sum / (float(ENCODING_UNIT) * graph.moment("n")[:, None]), np.float64)


def encode_block(
    block: Box, slide: Slide, labels: LazyArray, step: Fraction, encoder: Encoder
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sums that the windows of one block contribute.

    Parameters
    ----------
    block : Box
        Whole windows of the lattice, in pixels of the encoder's size.
    slide : Slide
        Pixels.
    labels : int32 (H, W), lazy
        Superpixels; 0 is not tissue.
    step : Fraction
        Working pixels along a pixel of the encoder's size.
    encoder : Encoder
        The network.

    Returns
    -------
    found : int64 (n,)
        Labels in the block, ascending.
    sums : int64 (n, D)
        Their sums over the block.

    Raises
    ------
    PluginError
        If the encoder returns something else than it states.
    UnreadableSlide
        If pixels do not decode.
    """
    rows = _edges(block.y0, block.y1, encoder.stride_px, step, labels.shape[0])
    columns = _edges(block.x0, block.x1, encoder.stride_px, step, labels.shape[1])
    cut = np.ascontiguousarray(labels[rows[0] : rows[-1], columns[0] : columns[-1]], dtype=np.int32)
    rows, columns = rows - rows[0], columns - columns[0]
    found = _present(cut)
    sums = np.zeros((len(found), encoder.dimension), np.int64)
    if len(found) == 0:
        return found, sums
    place = np.zeros(int(found[-1] - found[0]) + 1, np.int64)
    place[found - found[0]] = np.arange(len(found))
    cells = encoder.window_px // encoder.stride_px
    occupied = []
    for window in grid(block.size, encoder.window_px):
        y, x = window.y0 // encoder.stride_px, window.x0 // encoder.stride_px
        if cut[rows[y] : rows[y + cells], columns[x] : columns[x + cells]].any():
            occupied.append((window, rows[y : y + cells + 1], columns[x : x + cells + 1]))
    features = _features(slide, block, [window for window, _, _ in occupied], encoder)
    for (_, window_rows, window_columns), cell_features in zip(occupied, features, strict=True):
        _add(cut, window_rows, window_columns, cell_features, place, int(found[0]), sums)
    return found, sums


def _edges(start_px: int, end_px: int, stride_px: int, step: Fraction, length: int) -> NDArray[np.int64]:
    """Return where each cell of ``[start_px, end_px)`` begins, in working pixels: the first whose centre it holds."""
    edges = [ceil(position * step - Fraction(1, 2)) for position in range(start_px, end_px + 1, stride_px)]
    return np.minimum(np.array(edges, np.int64), length)


def _features(slide: Slide, block: Box, windows: list[Box], encoder: Encoder) -> Iterator[NDArray[np.int64]]:
    """Yield the rounded map of each window, (cells, cells, D); `windows` are relative to `block`."""
    bound = Box(
        y0=min(window.y0 for window in windows) + block.y0,
        x0=min(window.x0 for window in windows) + block.x0,
        y1=max(window.y1 for window in windows) + block.y0,
        x1=max(window.x1 for window in windows) + block.x0,
    )
    pixels = slide.read(bound, encoder.mpp)
    offset_y, offset_x = bound.y0 - block.y0, bound.x0 - block.x0
    batch = np.empty((encoder.batch, encoder.window_px, encoder.window_px, 3), np.uint8)
    for start in range(0, len(windows), encoder.batch):
        chosen = windows[start : start + encoder.batch]
        batch[len(chosen) :] = 255
        for slot, window in enumerate(chosen):
            batch[slot] = pixels[
                window.y0 - offset_y : window.y1 - offset_y, window.x0 - offset_x : window.x1 - offset_x
            ]
        yield from _rounded(encoder.encode(batch), encoder)[: len(chosen)]


def _rounded(features: NDArray[np.float32], encoder: Encoder) -> NDArray[np.int64]:
    """Return features in 1/256, after checking that they are what the encoder states."""
    cells = encoder.window_px // encoder.stride_px
    expected = (encoder.batch, cells, cells, encoder.dimension)
    if features.shape != expected:
        raise PluginError(f"encoder {encoder.name!r} returned shape {features.shape}, expected {expected}")
    # Written so that a NaN fails it too.
    if not bool((np.abs(features) <= FEATURE_MAX).all()):
        raise PluginError(
            f"encoder {encoder.name!r} returned a feature that is not finite or beyond {FEATURE_MAX:.0f}; "
            "scale its output or repair its weights"
        )
    rounded: NDArray[np.int64] = np.rint(features * np.float32(ENCODING_UNIT)).astype(np.int64)
    return rounded


@njit(nogil=True, cache=True)
def _present(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the labels above 0 that occur, ascending."""
    low, high = np.int64(2**31), np.int64(0)
    pixels = labels.ravel()
    for label in pixels:
        if label > 0:
            low, high = min(low, np.int64(label)), max(high, np.int64(label))
    if high == 0:
        return np.zeros(0, np.int64)
    occurs = np.zeros(high - low + 1, np.bool_)
    for label in pixels:
        if label > 0:
            occurs[label - low] = True
    found: NDArray[np.int64] = np.flatnonzero(occurs) + low
    return found


@njit(nogil=True, cache=True)
def _add(
    labels: NDArray[np.int32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    features: NDArray[np.int64],
    place: NDArray[np.int64],
    first: int,
    sums: NDArray[np.int64],
) -> None:
    """Add each cell's features to the regions in it, times the pixels they hold of it."""
    counts = np.zeros(len(place), np.int64)
    touched = np.empty(len(place), np.int64)
    for i in range(len(rows) - 1):
        for j in range(len(columns) - 1):
            n_touched = 0
            for y in range(rows[i], rows[i + 1]):
                for x in range(columns[j], columns[j + 1]):
                    label = labels[y, x] - first
                    if label >= 0:
                        if counts[label] == 0:
                            touched[n_touched] = label
                            n_touched += 1
                        counts[label] += 1
            for k in range(n_touched):
                label = touched[k]
                row = place[label]
                for d in range(features.shape[2]):
                    sums[row, d] += counts[label] * features[i, j, d]
                counts[label] = 0
