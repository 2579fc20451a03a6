"""The grid of region labels that outlines are traced on.

The label image of a slide is larger than memory, and a region's outline does not need it. A grid whose cells span a
whole number of working pixels is filled by reading the label image once, block by block, and taking the label at the
centre of each cell. With s working pixels in a cell, r level-0 pixels in a working pixel and u units in a level-0
pixel::

    label(i, j) = assignment[superpixel at (i s + s // 2, j s + s // 2)] + 1
    x_j = floor(j s r u)        line between cells j - 1 and j, in 1/u level-0 px; the last line is the slide's end

The grid carries the lines as exact integer tables, so nothing after it multiplies by a resolution. numpy and zarr do
the sampling; GIS libraries would describe the grid by a float affine transform, whose rounding differs between users.

A region without a cell centre is absent from the grid; tracing gives it a square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.geometry import Box, Size, grid, px_to_um, ratio, resampled_size, um_to_px
from wsigraph.records import CoarseGraph, SlideInfo, SuperpixelLabels

_SUBPIXELS = 10
"""Units of a level-0 pixel where cells are small."""
_WHOLE_PIXEL_CELL_PX = 4
"""Coordinates are whole level-0 pixels where a cell spans at least this many."""

_BLOCK_PX = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelGrid:
    """Coarse regions at the cell centres of a grid over the whole slide.

    Attributes
    ----------
    regions : int32 (h + 2, w + 2)
        Coarse node plus one; 0 outside tissue. The outermost rows and columns are outside the slide and 0.
    n_regions : int
        Number of coarse nodes, including those absent from the grid.
    x, y : int64 (w + 1,), (h + 1,)
        Level-0 coordinate of each line between cells, in units of 1/`subpixels` px, strictly increasing from 0 to the
        slide's end.
    subpixels : int
        Units of one level-0 pixel: 1 if cells span at least four pixels, so that coordinates are short to write;
        otherwise 10.
    step_px : int
        Side of a cell, working pixels.
    mpp : float
        Side of a cell, um.
    level0_mpp : float
        Level-0 pixel size, um/px.
    """

    regions: NDArray[np.int32]
    n_regions: int
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    subpixels: int
    step_px: int
    mpp: float
    level0_mpp: float

    def __post_init__(self) -> None:
        """Check the fields against one another."""
        expected = (len(self.y) + 1, len(self.x) + 1)
        if self.regions.shape != expected or self.regions.dtype != np.int32:
            raise RecordError(
                f"LabelGrid: regions is {self.regions.dtype} {self.regions.shape}, expected int32 {expected}"
            )
        border = (self.regions[0], self.regions[-1], self.regions[:, 0], self.regions[:, -1])
        if any(bool(side.any()) for side in border):
            raise RecordError("LabelGrid: a region reaches into the border outside the slide, expected 0 there")
        if not (bool((np.diff(self.x) > 0).all()) and bool((np.diff(self.y) > 0).all())):
            raise RecordError("LabelGrid: x and y must increase strictly; expected every line beyond the one before it")

    @property
    def unit_um(self) -> float:
        """Length of one unit of `x` and `y`, um."""
        return px_to_um(1.0 / self.subpixels, self.level0_mpp)

    @property
    def cells(self) -> NDArray[np.int32]:
        """The cells inside the slide, int32 (h, w), as a view."""
        return self.regions[1:-1, 1:-1]


def sample_regions(
    labels: SuperpixelLabels, coarse: CoarseGraph, info: SlideInfo, *, outline_mpp: float, max_px: int
) -> LabelGrid:
    """Return the coarse region at every cell centre of the outline grid.

    Parameters
    ----------
    labels : SuperpixelLabels
        Superpixels 1..N on the working grid; read once, block by block.
    coarse : CoarseGraph
        Assignment of the N superpixels to C coarse nodes.
    info : SlideInfo
        Level-0 size and pixel size of the slide.
    outline_mpp : float
        Requested side of a cell, um; rounded to whole working pixels, at least one.
    max_px : int
        Maximum number of cells along a side; larger slides get larger cells.

    Returns
    -------
    LabelGrid
        Regions and level-0 coordinates.

    Raises
    ------
    RecordError
        If labels, coarse graph and slide do not belong together.

    Notes
    -----
    Memory: 4 bytes for each cell, and one block of labels. Time: that of reading the labels once.
    """
    if len(coarse.assignment) != labels.n_superpixels:
        raise RecordError(
            f"coarse graph assigns {len(coarse.assignment)} superpixels, labels hold {labels.n_superpixels}; "
            "give the labels that the graph was built from"
        )
    per_px = ratio(labels.mpp, info.mpp)
    level0 = info.levels[0].size
    if labels.size != resampled_size(level0, per_px):
        raise RecordError(
            f"labels are {labels.size.width} x {labels.size.height} px at {labels.mpp} um/px, which is not the size of "
            f"slide {info.slide_id!r}; give the labels of this slide"
        )
    longest_px = max(labels.size.height, labels.size.width)
    step = max(um_to_px(outline_mpp, labels.mpp), math.ceil(1 / (_SUBPIXELS * per_px)), math.ceil(longest_px / max_px))
    subpixels = 1 if step * per_px >= _WHOLE_PIXEL_CELL_PX else _SUBPIXELS
    size = Size(math.ceil(labels.size.height / step), math.ceil(labels.size.width / step))
    table = np.zeros(labels.n_superpixels + 1, np.int32)  # (N + 1,) region of each superpixel
    table[1:] = coarse.assignment + 1
    regions = np.zeros((size.height + 2, size.width + 2), np.int32)  # (h + 2, w + 2)
    inside = regions[1:-1, 1:-1]
    for box in grid(labels.size, _block_px(labels)):
        rows, y_index = _centres(box.y0, box.y1, step, size.height, labels.size.height)
        columns, x_index = _centres(box.x0, box.x1, step, size.width, labels.size.width)
        if rows.size and columns.size:
            block = np.asarray(labels.labels[box.slices])
            inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = table[block[np.ix_(y_index, x_index)]]
    return LabelGrid(
        regions=regions,
        n_regions=coarse.graph.n_nodes,
        x=_lines(size.width, step * per_px * subpixels, level0.width * subpixels),
        y=_lines(size.height, step * per_px * subpixels, level0.height * subpixels),
        subpixels=subpixels,
        step_px=step,
        mpp=px_to_um(step, labels.mpp),
        level0_mpp=info.mpp,
    )


def resample(label_grid: LabelGrid, view: Box, size: Size) -> NDArray[np.int32]:
    """Return the region under each pixel centre of an image of a part of the slide.

    Parameters
    ----------
    label_grid : LabelGrid
        Regions of the slide.
    view : Box
        Part of the slide that the image shows, level-0 pixels.
    size : Size
        Size of the image, pixels.

    Returns
    -------
    int32 (height, width)
        Coarse node plus one; 0 outside tissue.
    """
    rows = _nearest(label_grid.y, view.y0 * label_grid.subpixels, view.y1 * label_grid.subpixels, size.height)
    columns = _nearest(label_grid.x, view.x0 * label_grid.subpixels, view.x1 * label_grid.subpixels, size.width)
    return np.asarray(label_grid.cells[np.ix_(rows, columns)])


def _block_px(labels: SuperpixelLabels) -> int:
    """Return the side of a block to read: at least one stored chunk, so that no chunk is decoded twice."""
    chunks = getattr(labels.labels, "chunks", None)
    return max(_BLOCK_PX, int(chunks[0])) if chunks and isinstance(chunks[0], int) else _BLOCK_PX


def _centres(start: int, stop: int, step: int, n_cells: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the cells whose centre is in ``start..stop``, and their centres relative to `start`, int64 each."""
    first = max(0, start // step - 1)
    cells = np.arange(first, min(n_cells, stop // step + 1), dtype=np.int64)
    centres = np.minimum(cells * step + step // 2, end - 1)
    inside = (centres >= start) & (centres < stop)
    return cells[inside], centres[inside] - start


def _lines(n_cells: int, spacing: Fraction, end: int) -> NDArray[np.int64]:
    """Return the coordinates of the lines between cells, int64 (n_cells + 1,)."""
    # rounding down keeps lines distinct and inside the slide; the last line is the slide's edge
    numerator, denominator = spacing.as_integer_ratio()
    lines = np.arange(n_cells + 1, dtype=np.int64) * numerator // denominator
    lines[-1] = end
    return lines


def _nearest(lines: NDArray[np.int64], start: int, stop: int, n_px: int) -> NDArray[np.int64]:
    """Return the cell under each of `n_px` pixel centres that divide ``start..stop``, int64 (n_px,)."""
    centres = start + (np.arange(n_px, dtype=np.float64) + 0.5) * ((stop - start) / n_px)
    return np.clip(np.searchsorted(lines, centres, side="right") - 1, 0, len(lines) - 2)
