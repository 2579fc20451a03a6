"""Features of an image encoder, summed over superpixels.

An encoder turns a fixed window of pixels into a coarse feature map. The windows lie on one grid that starts at the
slide's corner, and each is read whole, so the features of a cell never depend on how the slide was tiled. With f_c the
feature vector of cell c, rounded to 1/256, and n_ic the number of pixels of superpixel i whose centre lies in c::

    encoding_sum_i = sum over c of n_ic f_c        int64 (N, D)

The sums are integers, so they add exactly under merging, and the mean over a region is its sum divided by its area.

If the working pixel size is not the encoder's, cells are mapped to working pixels by exact fractions. A cell at the
border of a window has less context than one in its middle; overlapping windows would cure that at several times the
cost.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import PluginError, RecordError
from wsigraph.geometry import Box, Size, grid, ratio
from wsigraph.graph.device import find_device
from wsigraph.kernels import njit
from wsigraph.records import LazyArray, SuperpixelLabels, TissueGraph
from wsigraph.registry import ENCODERS, load
from wsigraph.slide.map_boxes import Progress, map_chunks

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide

ENCODING_UNIT = 256
"""Integer units of one feature; a power of two, so that scaling is exact."""
FEATURE_MAX = 2.0**20
"""Largest accepted feature: the sums over a slide of 2**34 pixels then fit int64."""
BLOCK_WINDOWS = 4
"""Windows along the side of one task: up to 16 are read at once, because they have most native tiles in common."""


class Encoder(Protocol):
    """What a plugin of group ``wsigraph.encoders`` returns.

    `encode` must be thread-safe and must return the same features for any number of threads. The encoder must be
    picklable if the work runs in processes.
    """

    @property
    def name(self) -> str:
        """Name used in records and messages."""
        ...

    @property
    def mpp(self) -> float:
        """Pixel size at which windows are read, um/px."""
        ...

    @property
    def window_px(self) -> int:
        """Side of a window, pixels; a multiple of `stride_px`."""
        ...

    @property
    def stride_px(self) -> int:
        """Side of the cell that one feature vector describes, pixels."""
        ...

    @property
    def dimension(self) -> int:
        """Length D of a feature vector."""
        ...

    @property
    def batch(self) -> int:
        """Batch size: the number of windows in every call."""
        ...

    def encode(self, windows: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """Return float32 (batch, window / stride, window / stride, D) for uint8 (batch, window, window, 3)."""
        ...


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """Return the encoder of a name.

    Parameters
    ----------
    name : str
        A plugin of group ``wsigraph.encoders``.
    device : str
        Where it runs, if its factory takes a device; the processor otherwise.

    Returns
    -------
    Encoder
        Ready to encode.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    PluginError
        If no such plugin loads.
    """
    factory = load(ENCODERS, name)
    return cast(Encoder, factory(**takes_device(factory, device)))


def takes_device(factory: Callable[..., Any], device: str) -> dict[str, str]:
    """Return the device as keyword of a plugin's factory, and nothing for a factory that takes none.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    """
    chosen = find_device(device)
    return {"device": chosen} if "device" in inspect.signature(factory).parameters else {}


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
        Slide to read; pixels outside it are white.
    labels : SuperpixelLabels
        Superpixels 1..N of the same slide.
    encoder : Encoder
        Image encoder; it is only called for windows that hold a label.
    progress : callable, optional
        Called with (stage, done, total) from the calling thread.

    Returns
    -------
    int64 (N, D)
        Row i - 1 belongs to label i: the sum of the features of its pixels' cells, in units of 1/256.

    Raises
    ------
    PluginError
        If the encoder's window is not a multiple of its stride, or it returns an unexpected shape, a value that is not
        finite, or one beyond 2**20.
    UnreadableSlide
        If pixels do not decode.

    Notes
    -----
    Bit-identical on one machine type for any dask scheduler and number of workers. Peak memory: about twice the result,
    plus one block of 4 x 4 windows for each worker.
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
    for ids, part in parts:
        sums[ids - 1] += part
    return sums


def encoding(graph: TissueGraph) -> NDArray[np.float64]:
    """Return the mean features of every region.

    Parameters
    ----------
    graph : TissueGraph
        Graph built with an encoder, fine or coarse.

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
    """Return the contribution of the windows of one block to the sums.

    Parameters
    ----------
    block : Box
        Whole windows of the grid, in pixels of the encoder's pixel size.
    slide : Slide
        Slide to read.
    labels : int32 (H, W), lazy
        Superpixels; 0 is not tissue.
    step : Fraction
        Working pixels along one pixel of the encoder.
    encoder : Encoder
        Image encoder.

    Returns
    -------
    ids : int64 (n,)
        Labels in the block, ascending.
    sums : int64 (n, D)
        Sums of each label over the block.

    Raises
    ------
    PluginError
        If the encoder returns an unexpected shape or value.
    UnreadableSlide
        If pixels do not decode.
    """
    rows = _edges(block.y0, block.y1, encoder.stride_px, step, labels.shape[0])
    columns = _edges(block.x0, block.x1, encoder.stride_px, step, labels.shape[1])
    cut = np.ascontiguousarray(labels[rows[0] : rows[-1], columns[0] : columns[-1]], dtype=np.int32)
    rows, columns = rows - rows[0], columns - columns[0]
    ids = _present(cut)
    sums = np.zeros((len(ids), encoder.dimension), np.int64)
    if len(ids) == 0:
        return ids, sums
    place = np.zeros(int(ids[-1] - ids[0]) + 1, np.int64)
    place[ids - ids[0]] = np.arange(len(ids))
    cells = encoder.window_px // encoder.stride_px
    occupied = []
    for window in grid(block.size, encoder.window_px):
        y, x = window.y0 // encoder.stride_px, window.x0 // encoder.stride_px
        if cut[rows[y] : rows[y + cells], columns[x] : columns[x + cells]].any():
            occupied.append((window, rows[y : y + cells + 1], columns[x : x + cells + 1]))
    features = _features(slide, block, [window for window, _, _ in occupied], encoder)
    for (_, window_rows, window_columns), cell_features in zip(occupied, features, strict=True):
        _add_cells(cut, window_rows, window_columns, cell_features, place, int(ids[0]), sums)
    return ids, sums


def _edges(start_px: int, end_px: int, stride_px: int, step: Fraction, length: int) -> NDArray[np.int64]:
    """Return the first working pixel of each cell of ``[start_px, end_px)``, int64 (cells + 1,).

    A working pixel belongs to the cell that holds its centre.
    """
    edges = [ceil(position * step - Fraction(1, 2)) for position in range(start_px, end_px + 1, stride_px)]
    return np.minimum(np.array(edges, np.int64), length)


def _features(slide: Slide, block: Box, windows: list[Box], encoder: Encoder) -> Iterator[NDArray[np.int64]]:
    """Yield the rounded feature map of each window, int64 (cells, cells, D); `windows` are relative to `block`."""
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
    """Return features in units of 1/256, int64, after checking shape and range."""
    cells = encoder.window_px // encoder.stride_px
    expected = (encoder.batch, cells, cells, encoder.dimension)
    if features.shape != expected:
        raise PluginError(f"encoder {encoder.name!r} returned shape {features.shape}, expected {expected}")
    # `not (x <= max)` is also true for NaN
    if not bool((np.abs(features) <= FEATURE_MAX).all()):
        raise PluginError(
            f"encoder {encoder.name!r} returned a feature that is not finite or beyond {FEATURE_MAX:.0f}; "
            "scale its output or repair its weights"
        )
    rounded: NDArray[np.int64] = np.rint(features * np.float32(ENCODING_UNIT)).astype(np.int64)
    return rounded


@njit(nogil=True, cache=True)
def _present(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the labels above 0 that occur in an image int32 (h, w), ascending."""
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
    ids: NDArray[np.int64] = np.flatnonzero(occurs) + low
    return ids


@njit(nogil=True, cache=True)
def _add_cells(
    labels: NDArray[np.int32],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    features: NDArray[np.int64],
    place: NDArray[np.int64],
    first: int,
    sums: NDArray[np.int64],
) -> None:
    """Add n_ic f_c to the sums of every region i in every cell c of a window, in place.

    labels int32 (h, w); rows, columns int64 (cells + 1,), first pixel of each cell; features int64 (cells, cells, D);
    place int64, row of `sums` for each label from `first` on; sums int64 (n, D).
    """
    counts = np.zeros(len(place), np.int64)  # pixels of each label in the current cell
    touched = np.empty(len(place), np.int64)  # labels that occur in the current cell
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
