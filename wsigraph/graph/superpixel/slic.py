"""Grid SLIC that gives the same labels for every tiling.

Simple linear iterative clustering (Achanta et al., TPAMI 2012). One centre starts in each cell of a grid of side S; in
each iteration a pixel p joins the nearest centre c and every centre moves to the mean of its pixels::

    d(p, c)**2 = |Lab_p - Lab_c|**2 + (m / S)**2 |xy_p - xy_c|**2,    m: compactness

Four changes make the result independent of tiling:

- Centres and distances are 16-bit integers (``centre_distance``): exact, and 32 pixels fill a vector register.
- A pixel chooses among the centres whose *home cell* is one of the 3 x 3 cells around its own cell, wherever those
  centres have moved. So a label depends on at most ``2 x iterations + 1`` cells around it: the halo of a chunk.
- Sums run over a fixed subset of pixels (even rows and columns of the slide), so rounding and order cannot matter.
- m is halved in the last assignment: while centres move they stay well spaced, and the final outlines follow the
  tissue.

Work shrinks towards the core of the chunk as the iterations proceed.

``skimage.segmentation.slic`` and OpenCV's ``ximgproc`` compute in floating point and cut each image into its own grid,
so two overlapping tiles get different labels (``python -m tests.benchmarks superpixels`` compares all three). Not
optimal where regions are much larger or smaller than a cell: a grid cannot put two centres into one cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size
from wsigraph.graph.superpixel.centre_distance import (
    PIXEL,
    choose_nearest,
    gather_candidates,
    padded,
    scaled,
    units_of,
)
from wsigraph.kernels import njit

_FIELD = 21
"""Bits of one of the three fields that a 64-bit sum holds."""
_STRIP_PX = 4096
"""Pixels assigned at a time, so that their values (5 x 2 bytes each) stay in cache."""


@dataclass(frozen=True, slots=True)
class SeedGrid:
    """The grid of seeds of a slide: one centre starts in each square cell.

    Attributes
    ----------
    size : Size
        Size of the slide, working pixels.
    spacing_px : int
        Side S of a cell, working pixels.
    """

    size: Size
    spacing_px: int

    @property
    def cells(self) -> Size:
        """Number of rows and columns of cells."""
        return Size(-(-self.size.height // self.spacing_px), -(-self.size.width // self.spacing_px))

    def cells_of(self, box: Box) -> Box:
        """Return the cells that a pixel box touches."""
        side = self.spacing_px
        return Box(y0=box.y0 // side, x0=box.x0 // side, y1=-(-box.y1 // side), x1=-(-box.x1 // side))

    def window(self, core: Box, iterations: int) -> Box:
        """Return the box of pixels on which the labels of `core` depend."""
        cells = self.cells_of(core).grow(2 * iterations + 1).clip(self.cells)
        side = self.spacing_px
        return Box(y0=cells.y0 * side, x0=cells.x0 * side, y1=cells.y1 * side, x1=cells.x1 * side).clip(self.size)


def slic(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    window: Box,
    core: Box,
    seeds: SeedGrid,
    *,
    compactness: float,
    iterations: int,
) -> NDArray[np.int32]:
    """Return the SLIC label of every pixel of a core box.

    Parameters
    ----------
    lab : uint8 (3, h, w)
        Smoothed 8-bit CIELAB of the window.
    tissue : bool (h, w)
        Tissue mask of the window; other pixels are neither labelled nor counted.
    window : Box
        ``seeds.window(core, iterations)``, in working pixels.
    core : Box
        Box of pixels to label, in working pixels.
    seeds : SeedGrid
        Seeds of the slide.
    compactness : float
        m, the weight of position against colour while the centres move: 8-bit Lab levels for one spacing.
    iterations : int
        Number of times the centres move.

    Returns
    -------
    int32 (core.height, core.width)
        1 + raster index of the centre's home cell among the cells of the slide; 0 outside tissue. The pixels of a
        label need not be connected.
    """
    side = seeds.spacing_px
    units, last = units_of(compactness, side), units_of(compactness, side, last=True)
    cells = seeds.cells_of(window)
    core_cells = seeds.cells_of(core).relative_to(cells)
    sample = _sample_pixels(
        lab, tissue, window.y0 & 1, window.x0 & 1, side, cells.height, cells.width, units.level, units.step
    )
    centres = np.zeros((cells.height, cells.width, 6), np.int32)  # L, a, b, y, x, exists; see `_update_centres`
    _move_centres(sample, side, (0, 0, cells.height, cells.width), centres, units.level, units.step, True)
    for round_ in range(1, iterations + 1):
        # each round needs two cells less on each side than the one before: one for the pixels that belong to a centre,
        # one for the centres that a pixel can choose
        area = core_cells.grow(2 * (iterations - round_) + 2).clip(cells.size)
        _move_centres(sample, side, (area.y0, area.x0, area.y1, area.x1), centres, units.level, units.step, False)
    inner = core.relative_to(window)
    labels = np.zeros((core.height, core.width), np.int32)
    _assign(
        lab, tissue, inner.y0, inner.x0, side, (core_cells.y0, core_cells.x0, core_cells.y1, core_cells.x1), centres,
        last.level, last.step, (cells.y0, cells.x0, seeds.cells.width), labels,
    )  # fmt: skip
    return labels


class _Sample(NamedTuple):
    """The tissue pixels on even rows and columns of the slide, grouped by cell; P is the most a cell can hold.

    `values` are the coordinates that distances are computed in. `colour` and `place` are the summands of a centre's
    mean: three numbers packed into one 64-bit word, so that one addition sums all three.
    """

    n: NDArray[np.int32]  # (rows, columns): pixels in each cell
    values: NDArray[
        np.int16
    ]  # (rows, columns, 5, P): L, a, b, y, x in units of distance, y and x from the cell's corner
    colour: NDArray[np.int64]  # (rows, columns, P): L | a << 21 | b << 42
    place: NDArray[np.int64]  # (rows, columns, P): x | y << 21 | 1 << 42, pixels from the cell's corner


@njit(nogil=True, cache=True)
def _sample_pixels(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    parity_y: int,
    parity_x: int,
    side: int,
    n_rows: int,
    n_columns: int,
    level: int,
    step: int,
) -> _Sample:
    """Return the sample of a window: lab uint8 (3, h, w), tissue bool (h, w).

    The parities are those of the window's corner on the slide, so that the same pixels are sampled in every window.
    """
    height, width = tissue.shape
    capacity = padded(((side + 1) // 2) ** 2)
    n = np.zeros((n_rows, n_columns), np.int32)
    values = np.empty((n_rows, n_columns, 5, capacity), np.int16)
    colour = np.empty((n_rows, n_columns, capacity), np.int64)
    place = np.empty((n_rows, n_columns, capacity), np.int64)
    for row in range(n_rows):
        top = row * side
        for column in range(n_columns):
            left = column * side
            cell_values, colours, places = values[row, column], colour[row, column], place[row, column]
            n_sampled = 0
            for y in range(top + ((top ^ parity_y) & 1), min(top + side, height), 2):
                down = scaled(y - top, step)
                for x in range(left + ((left ^ parity_x) & 1), min(left + side, width), 2):
                    if tissue[y, x]:
                        lightness, green_red, blue_yellow = (
                            np.int64(lab[0, y, x]),
                            np.int64(lab[1, y, x]),
                            np.int64(lab[2, y, x]),
                        )
                        cell_values[0, n_sampled] = level * lightness
                        cell_values[1, n_sampled] = level * green_red
                        cell_values[2, n_sampled] = level * blue_yellow
                        cell_values[3, n_sampled] = down
                        cell_values[4, n_sampled] = scaled(x - left, step)
                        colours[n_sampled] = lightness | (green_red << _FIELD) | (blue_yellow << (2 * _FIELD))
                        places[n_sampled] = (x - left) | ((y - top) << _FIELD) | (1 << (2 * _FIELD))
                        n_sampled += 1
            n[row, column] = n_sampled
    return _Sample(n, values, colour, place)


@njit(nogil=True, cache=True)
def _move_centres(
    sample: _Sample,
    side: int,
    area: tuple[int, int, int, int],
    centres: NDArray[np.int32],
    level: int,
    step: int,
    is_first: bool,
) -> None:
    """Assign the sampled pixels of a range of cells, then move the centres that lie one cell inside the range.

    In the first call every pixel belongs to its own cell's centre, which places the centres at the means of their
    cells. `area` is (row0, column0, row1, column1); centres int32 (rows, columns, 6) is updated in place.
    """
    row0, column0, row1, column1 = area
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    sums = np.zeros((n_rows * n_columns, 6), np.int64)  # of each centre: L, a, b, y, x, number of pixels
    capacity = sample.values.shape[3]
    best, choice = np.empty(capacity, np.uint16), np.zeros(capacity, np.int16)  # (P,) least distance, its candidate
    # the 3 x 3 cells: (9, 5) coordinates, (9,) home cells, (9, 2) packed sums
    candidates, homes, packed = np.zeros((9, 5), np.int16), np.zeros(9, np.int64), np.zeros((9, 2), np.int64)
    for row in range(row0, row1):
        for column in range(column0, column1):
            n = sample.n[row, column]
            if n == 0:
                continue
            if is_first:
                homes[0], n_candidates = row * n_columns + column, 1
            else:
                n_candidates = gather_candidates(centres, row, column, side, step, candidates, homes)
                choose_nearest(sample.values[row, column], padded(n), candidates, n_candidates, best, choice)
            colour, place = sample.colour[row, column, :n], sample.place[row, column, :n]
            _accumulate(colour, place, choice, homes, n_candidates, row * side, column * side, side, packed, sums)
    # centres at the border of the range lack the pixels beyond it, unless it is the border of the window
    _update_centres(
        sums.reshape((n_rows, n_columns, 6)),
        centres,
        level,
        row0 if row0 == 0 else row0 + 1,
        column0 if column0 == 0 else column0 + 1,
        row1 if row1 == n_rows else row1 - 1,
        column1 if column1 == n_columns else column1 - 1,
    )


@njit(nogil=True, cache=True)
def _accumulate(
    colour: NDArray[np.int64],
    place: NDArray[np.int64],
    choice: NDArray[np.int16],
    homes: NDArray[np.int64],
    n_candidates: int,
    y0: int,
    x0: int,
    side: int,
    packed: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Add a cell's pixels to the sums of the centres they chose.

    colour, place int64 (n,); choice int16 (n,), the row of the chosen candidate; homes int64 (9,), the centre of each
    candidate; packed int64 (9, 2), scratch; sums int64 (centres, 6): L, a, b, y, x in pixels of the window, pixels.
    """
    mask = (1 << _FIELD) - 1
    # unpack after so many pixels that no field of 21 bits can have overflowed into the next
    most = max(1, min(4096, mask // max(side, 255)))
    for start in range(0, len(colour), most):
        for k in range(n_candidates):
            packed[k, 0] = packed[k, 1] = 0
        for i in range(start, min(start + most, len(colour))):
            packed[choice[i], 0] += colour[i]
            packed[choice[i], 1] += place[i]
        for k in range(n_candidates):
            own, n = homes[k], packed[k, 1] >> (2 * _FIELD)
            sums[own, 0] += packed[k, 0] & mask
            sums[own, 1] += (packed[k, 0] >> _FIELD) & mask
            sums[own, 2] += packed[k, 0] >> (2 * _FIELD)
            sums[own, 3] += ((packed[k, 1] >> _FIELD) & mask) + n * y0
            sums[own, 4] += (packed[k, 1] & mask) + n * x0
            sums[own, 5] += n


@njit(nogil=True, cache=True)
def _update_centres(
    sums: NDArray[np.int64], centres: NDArray[np.int32], level: int, row0: int, column0: int, row1: int, column1: int
) -> None:
    """Move the centres of a range of cells to the mean of their pixels, rounded half up; empty ones stay.

    sums int64 (rows, columns, 6); centres int32 (rows, columns, 6): L, a, b in units of distance, y, x in 1/16 pixel
    from the window's corner, and 1 if the centre exists (its cell has held tissue).
    """
    for row in range(row0, row1):
        for column in range(column0, column1):
            n = sums[row, column, 5]
            if n > 0:
                for k in range(5):
                    unit = level if k < 3 else PIXEL
                    centres[row, column, k] = (unit * sums[row, column, k] + n // 2) // n
                centres[row, column, 5] = 1


@njit(nogil=True, cache=True)
def _load_colours(
    lab: NDArray[np.uint8], y0: int, x0: int, rows: int, columns: int, level: int, values: NDArray[np.int16]
) -> None:
    """Write L, a, b of a box of pixels into ``values[:3]``, row after row, in units of distance.

    lab uint8 (3, h, w); values int16 (5, capacity). Rows are copied in whole vectors of 16 pixels where the image is
    wide enough; the next row overwrites the excess.
    """
    most = (columns + 15) // 16 * 16
    if x0 + most > lab.shape[2]:
        most = columns
    box = lab[:, y0 : y0 + rows, x0:]
    for plane in range(3):
        start = 0
        for y in range(rows):
            source, target = box[plane, y], values[plane, start:]
            for x in range(most):
                target[x] = source[x] * level
            start += columns


@njit(nogil=True, cache=True)
def _write_positions(y0: int, x0: int, rows: int, columns: int, step: int, values: NDArray[np.int16]) -> None:
    """Write y, x of a box of pixels into ``values[3:]``, row after row, in units of distance."""
    for y in range(rows):
        for x in range(columns):
            values[3, y * columns + x] = scaled(y0 + y, step)
            values[4, y * columns + x] = scaled(x0 + x, step)


@njit(nogil=True, cache=True)
def _assign(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    y0: int,
    x0: int,
    side: int,
    area: tuple[int, int, int, int],
    centres: NDArray[np.int32],
    level: int,
    step: int,
    grid_place: tuple[int, int, int],
    labels: NDArray[np.int32],
) -> None:
    """Write the label of every pixel of the core, whose corner is pixel (y0, x0) of the window.

    labels int32 (core height, core width) is written. `grid_place` is (first row, first column) of the window's cells
    on the slide and the number of columns of cells on the slide, from which labels are computed.
    """
    row0, column0, row1, column1 = area
    first_row, first_column, grid_columns = grid_place
    n_columns = centres.shape[1]
    height, width = labels.shape
    strip = max(1, min(side, _STRIP_PX // side))
    capacity = padded(strip * side) + 16
    values = np.zeros((5, capacity), np.int16)  # L, a, b, y, x of a strip of pixels
    best, choice = np.empty(capacity, np.uint16), np.empty(capacity, np.int16)  # (pixels of a strip,)
    # (9, 5) coordinates, (9,) home cells, (9,) labels
    candidates, homes, names = np.zeros((9, 5), np.int16), np.zeros(9, np.int64), np.empty(9, np.int32)
    written = (-1, -1, -1, -1)
    for row in range(row0, row1):
        for column in range(column0, column1):
            left, right = max(column * side, x0), min((column + 1) * side, x0 + width)
            n = right - left
            # if no centre exists around the cell (its tissue misses every sampled pixel), its own number is used
            names[0] = (row + first_row) * grid_columns + column + first_column + 1
            n_candidates = gather_candidates(centres, row, column, side, step, candidates, homes)
            for k in range(n_candidates):
                r, c = homes[k] // n_columns + first_row, homes[k] % n_columns + first_column
                names[k] = r * grid_columns + c + 1
            bottom = min((row + 1) * side, y0 + height)
            for top in range(max(row * side, y0), bottom, strip):
                rows = min(strip, bottom - top)
                if not tissue[top : top + rows, left:right].any():
                    continue
                # positions only depend on the strip's place in its cell, which mostly repeats
                if written != (top - row * side, left - column * side, rows, n):
                    written = (top - row * side, left - column * side, rows, n)
                    _write_positions(written[0], written[1], rows, n, step, values)
                _load_colours(lab, top, left, rows, n, level, values)
                choose_nearest(values, padded(rows * n), candidates, n_candidates, best, choice)
                for y in range(rows):
                    for x in range(n):
                        if tissue[top + y, left + x]:
                            labels[top + y - y0, left + x - x0] = names[choice[y * n + x]]
