"""The tissue mask of the low-power grid, sampled on the working grid: which pixels of a box are tissue, or near it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.geometry import Box, ratio
from wsigraph.kernels import njit

TissueMask = NDArray[np.uint8] | NDArray[np.bool_]


def tissue_window(tissue: TissueMask, grid_mpp: float, box: Box, mpp: float) -> NDArray[np.bool_]:
    """Return which working pixels of a box are tissue, by the grid cell that holds each pixel's centre.

    Parameters
    ----------
    tissue : uint8 or bool (h, w)
        Tissue mask on the low-power grid.
    grid_mpp : float
        Spacing of the low-power grid, um.
    box : Box
        In working pixels, inside the slide.
    mpp : float
        Spacing of the working grid, um.

    Returns
    -------
    bool (box.height, box.width)
        True on tissue.
    """
    step = ratio(grid_mpp, mpp)
    rows = _cells(box.y0, box.y1, step, tissue.shape[0])
    columns = _cells(box.x0, box.x1, step, tissue.shape[1])
    return _sample_mask(tissue, rows, columns)


def tissue_box(tissue: TissueMask, grid_mpp: float, box: Box, mpp: float) -> Box:
    """Return the bounding box of the tissue in a box of working pixels; empty if there is none."""
    step = ratio(grid_mpp, mpp)
    rows = _cells(box.y0, box.y1, step, tissue.shape[0])
    columns = _cells(box.x0, box.x1, step, tissue.shape[1])
    inside = tissue[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] != 0
    y = np.flatnonzero(inside.any(axis=1)[rows - rows[0]])
    x = np.flatnonzero(inside.any(axis=0)[columns - columns[0]])
    if len(y) == 0:
        return Box(y0=box.y0, x0=box.x0, y1=box.y0, x1=box.x0)
    return Box(y0=box.y0 + int(y[0]), x0=box.x0 + int(x[0]), y1=box.y0 + int(y[-1]) + 1, x1=box.x0 + int(x[-1]) + 1)


def near_tissue(tissue: TissueMask, grid_mpp: float, reach_px: int, mpp: float) -> NDArray[np.bool_]:
    """Return the low-power grid cells that may hold a working pixel within `reach_px` of tissue, bool (h, w)."""
    cells = 1 + int(reach_px / ratio(grid_mpp, mpp))
    return np.asarray(ndimage.binary_dilation(tissue != 0, structure=np.ones((3, 3), bool), iterations=cells))


def _cells(start: int, stop: int, step: Fraction, n_cells: int) -> NDArray[np.int64]:
    """Return the grid cell under each working pixel start..stop: floor((pixel + 1/2) / step), in exact integers."""
    pixel = np.arange(start, stop, dtype=np.int64)
    return np.minimum((2 * pixel + 1) * step.denominator // (2 * step.numerator), n_cells - 1)


@njit(nogil=True, cache=True)
def _sample_mask(tissue: TissueMask, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return ``tissue[np.ix_(rows, columns)] != 0``, bool (rows, columns), copying rows that repeat."""
    window = np.empty((len(rows), len(columns)), np.bool_)
    for y in range(len(rows)):
        if y > 0 and rows[y] == rows[y - 1]:
            window[y] = window[y - 1]
            continue
        line = tissue[rows[y]]
        for x in range(len(columns)):
            window[y, x] = line[columns[x]] != 0
    return window
