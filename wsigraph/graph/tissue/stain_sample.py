"""The windows from which the stains of a slide are estimated.

If not all of the tissue can be read, the sample must hold rare colours in their true proportion, because the extreme
angles decide the stains and rare colours occur in clusters. So this is stratified sampling: windows are sorted by their
mean colour on the low-power grid (red over green density) and split into the reddest, the bluest and the rest. Every
k-th window of each stratum is taken, more often in the extreme strata, and its pixels are weighted by the inverse of
the sampling rate. All numbers are integers of the global grid, and ties go to the first window in raster order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import TissueConfig
from wsigraph.geometry import Box, Size, ratio, um_to_px
from wsigraph.graph.tissue.stain import count_colours, empty_histogram
from wsigraph.graph.tissue.window import tissue_window
from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import Progress, map_chunks, map_rows
from wsigraph.slide.reader import Slide

_RATIO_UNIT = 1 << 12
_WEIGHT_UNIT = 64
_EXTREME = 10
"""One window in this many belongs to each extreme stratum; each extreme stratum gets a quarter of the sample."""


def sample_colours(
    slide: Slide,
    density: NDArray[np.int16],
    tissue: NDArray[np.bool_],
    config: TissueConfig,
    working_mpp: float,
    progress: Progress | None = None,
) -> NDArray[np.int64]:
    """Return how often each colour occurs in a sample of the tissue.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    density : int16 (3, h, w)
        Optical density planes (R, G, B) of the low-power grid, units of 1/1024.
    tissue : bool (h, w)
        Tissue mask on the low-power grid of ``config.mpp``.
    config : TissueConfig
        Side and number of the windows.
    working_mpp : float
        Pixel size at which colours are counted, um/px.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    int64 (2**21,)
        Histogram, indexed as in `wsigraph.graph.tissue.stain.empty_histogram`.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    """
    windows, weights = stain_windows(density, tissue, slide.size(working_mpp), config, working_mpp)
    counts = map_chunks(_count, windows, slide, tissue, config.mpp, working_mpp, stage="stain", progress=progress)
    histogram = empty_histogram()
    for (bins, pixels), weight in zip(counts, weights, strict=True):
        histogram[bins] += weight * pixels
    return histogram


def stain_windows(
    density: NDArray[np.int16], tissue: NDArray[np.bool_], size: Size, config: TissueConfig, working_mpp: float
) -> tuple[list[Box], list[int]]:
    """Return the windows to read, in raster order, and the weight of their pixels.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) of the low-power grid, units of 1/1024.
    tissue : bool (h, w)
        Tissue mask on the low-power grid.
    size : Size
        Size of the slide in working pixels.
    config : TissueConfig
        Side and number of the windows.
    working_mpp : float
        Working pixel size, um/px.

    Returns
    -------
    windows : list of Box
        In working pixels; all windows with tissue if there are no more than ``config.stain_windows``.
    weights : list of int
        1 if every window is read, otherwise in units of 1/64.
    """
    side = um_to_px(config.stain_window_um, working_mpp)
    n_rows, n_columns = -(-size.height // side), -(-size.width // side)
    step = ratio(config.mpp, working_mpp) / side
    rows, columns = ((2 * np.arange(n) + 1) * step.numerator // (2 * step.denominator) for n in tissue.shape)
    cell_rows, cell_columns = np.minimum(rows, n_rows - 1), np.minimum(columns, n_columns - 1)
    bands = map_rows(_sum_windows, len(rows), tissue, density, cell_rows, cell_columns, n_rows, n_columns)
    pixels, all_red, all_green = np.sum(bands, axis=0).reshape(3, -1)
    occupied = np.flatnonzero(pixels)
    if len(occupied) <= config.stain_windows:
        return [_window(index, n_columns, side, size) for index in occupied.tolist()], [1] * len(occupied)
    red, green = all_red[occupied], all_green[occupied]
    order = occupied[np.argsort(_RATIO_UNIT * red // np.maximum(green, 1), kind="stable")]
    tail = len(order) // _EXTREME
    n_tail = min(tail, config.stain_windows // 4)
    parts = ((order[:tail], n_tail), (order[tail : len(order) - tail], config.stain_windows - 2 * n_tail))
    chosen: dict[int, int] = {}
    for part, n in (*parts, (order[len(order) - tail :], n_tail)):
        picked = part[(2 * np.arange(n) + 1) * len(part) // (2 * n)] if n else part[:0]
        chosen |= dict.fromkeys(picked.tolist(), _WEIGHT_UNIT * len(part) // max(n, 1))
    indices = sorted(chosen)
    return [_window(index, n_columns, side, size) for index in indices], [chosen[index] for index in indices]


@njit(nogil=True, cache=True)
def _sum_windows(
    start: int,
    stop: int,
    tissue: NDArray[np.bool_],
    density: NDArray[np.int16],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    n_rows: int,
    n_columns: int,
) -> NDArray[np.int64]:
    """Return sums over the tissue pixels of grid rows start..stop, int64 (3, n_rows, n_columns).

    For each window: number of tissue pixels, sum of red density, sum of green density. rows int64 (h,) and columns
    int64 (w,) give the window of each grid row and column.
    """
    sums = np.zeros((3, n_rows, n_columns), np.int64)  # [pixels, red, green] of each window
    for y in range(start, stop):
        for x in range(tissue.shape[1]):
            if tissue[y, x]:
                sums[0, rows[y], columns[x]] += 1
                sums[1, rows[y], columns[x]] += density[0, y, x]
                sums[2, rows[y], columns[x]] += density[1, y, x]
    return sums


def _window(index: int, n_columns: int, side: int, size: Size) -> Box:
    y0, x0 = (place * side for place in divmod(index, n_columns))
    return Box(y0=y0, x0=x0, y1=min(y0 + side, size.height), x1=min(x0 + side, size.width))


def _count(
    box: Box, slide: Slide, tissue: NDArray[np.bool_], grid_mpp: float, mpp: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the colour bins of a window's tissue pixels and their counts."""
    return count_colours(slide.read(box, mpp), tissue_window(tissue, grid_mpp, box, mpp))
