"""Grid SLIC that gives the same labels in any tile.

Simple linear iterative clustering (Achanta et al., TPAMI 2012) with three changes that make it exact. Centres and
distances are integers. A pixel chooses among the centres whose *home cell* is one of the 3 x 3 cells around its own,
wherever those centres have moved, so that a result depends on a bounded neighbourhood: ``2 x iterations + 1`` cells.
Sums run over a fixed subset of pixels (even rows and columns of the slide), so that rounding and order cannot matter.
Work shrinks towards the core as the iterations proceed. Not optimal where regions are much larger or smaller than a
cell: a grid cannot put two centres into one cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wsigraph.geometry import Box, Size

UNIT = 16
"""Fixed-point units of one pixel and of one 8-bit Lab level."""
_WEIGHT_SHIFT = 12
_FAR = np.int32(2**31 - 1)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The seed lattice of a slide.

    Attributes
    ----------
    size : Size
        Working pixels of the slide.
    spacing_px : int
        Side of a cell.
    """

    size: Size
    spacing_px: int

    @property
    def cells(self) -> Size:
        """Rows and columns of cells."""
        return Size(-(-self.size.height // self.spacing_px), -(-self.size.width // self.spacing_px))

    def cells_of(self, box: Box) -> Box:
        """Return the cells that a pixel box touches."""
        side = self.spacing_px
        return Box(y0=box.y0 // side, x0=box.x0 // side, y1=-(-box.y1 // side), x1=-(-box.x1 // side))

    def window(self, core: Box, iterations: int) -> Box:
        """Return the pixels that decide the labels of `core`."""
        cells = self.cells_of(core).grow(2 * iterations + 1).clip(self.cells)
        side = self.spacing_px
        return Box(y0=cells.y0 * side, x0=cells.x0 * side, y1=cells.y1 * side, x1=cells.x1 * side).clip(self.size)


def spatial_weight(compactness: float, spacing_px: int) -> int:
    """Return the fixed-point weight of squared distance in pixels against squared distance in Lab levels."""
    return max(1, round((compactness / spacing_px) ** 2 * (1 << _WEIGHT_SHIFT)))


def slic(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    window: Box,
    core: Box,
    lattice: Lattice,
    *,
    weight: int,
    iterations: int,
) -> NDArray[np.int32]:
    """Return the SLIC label of every pixel of a core box.

    Parameters
    ----------
    lab : uint8 (3, h, w)
        Smoothed Lab of the window.
    tissue : bool (h, w)
        Tissue of the window; other pixels are neither labelled nor counted.
    window : Box
        ``lattice.window(core, iterations)``, in working pixels.
    core : Box
        Pixels to label.
    lattice : Lattice
        The slide's seeds.
    weight : int
        See `spatial_weight`.
    iterations : int
        Rounds of moving the centres.

    Returns
    -------
    int32 (core.height, core.width)
        1 + raster index of the home cell in the slide's lattice; 0 outside tissue. Not connected yet.
    """
    side = lattice.spacing_px
    parity_y, parity_x = window.y0 & 1, window.x0 & 1
    coarse = np.ascontiguousarray(lab[:, parity_y::2, parity_x::2])
    coarse_tissue = np.ascontiguousarray(tissue[parity_y::2, parity_x::2])
    cells = lattice.cells_of(window)
    core_cells = lattice.cells_of(core).relative_to(cells)
    centres = _home_centres(coarse, coarse_tissue, parity_y, parity_x, side, cells.height, cells.width)
    for round_ in range(1, iterations + 1):
        reach = 2 * (iterations - round_) + 2
        area = core_cells.grow(reach).clip(cells.size)
        _move(coarse, coarse_tissue, parity_y, parity_x, side, area.y0, area.x0, area.y1, area.x1, centres, weight)
    inner = core.relative_to(window)
    labels = np.zeros((core.height, core.width), np.int32)
    _assign(
        lab, tissue, inner.y0, inner.x0, side, core_cells.y0, core_cells.x0, core_cells.y1, core_cells.x1, centres,
        weight, cells.y0, cells.x0, lattice.cells.width, labels,
    )  # fmt: skip
    return labels


@njit(nogil=True, cache=True)
def _home_centres(lab, tissue, parity_y, parity_x, side, n_rows, n_columns):  # type: ignore[no-untyped-def]
    """Return (rows, columns, 6): L, a, b, y, x in 1/16 from the window's corner, and whether the cell holds tissue."""
    sums = np.zeros((n_rows, n_columns, 6), np.int64)
    for i in range(tissue.shape[0]):
        y = 2 * i + parity_y
        for j in range(tissue.shape[1]):
            if tissue[i, j]:
                x = 2 * j + parity_x
                cell = sums[y // side, x // side]
                cell[0] += lab[0, i, j]
                cell[1] += lab[1, i, j]
                cell[2] += lab[2, i, j]
                cell[3] += y
                cell[4] += x
                cell[5] += 1
    centres = np.zeros((n_rows, n_columns, 6), np.int32)
    _settle(sums, centres, 0, 0, n_rows, n_columns)
    return centres


@njit(nogil=True, cache=True)
def _settle(sums, centres, y0, x0, y1, x1):  # type: ignore[no-untyped-def]
    """Move the centres of a range of cells to the mean of what they hold; an empty one stays where it was."""
    for row in range(y0, y1):
        for column in range(x0, x1):
            n = sums[row, column, 5]
            if n > 0:
                for k in range(5):
                    centres[row, column, k] = (UNIT * sums[row, column, k] + n // 2) // n
                centres[row, column, 5] = 1


@njit(nogil=True, cache=True)
def _nearest(lightness, green_red, blue_yellow, y, xs, n, row, column, centres, weight, best, choice, across):  # type: ignore[no-untyped-def]
    """Write to best and choice, for n pixels of one row of one cell, the nearest of the 3 x 3 centres; ties: first."""
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    for i in range(n):
        best[i] = _FAR
        choice[i] = -1
    for r in range(max(row - 1, 0), min(row + 2, n_rows)):
        for c in range(max(column - 1, 0), min(column + 2, n_columns)):
            if centres[r, c, 5] == 0:
                continue
            cl, ca, cb = centres[r, c, 0], centres[r, c, 1], centres[r, c, 2]
            dy = np.int64(UNIT * y - centres[r, c, 3])
            down = np.int32((weight * dy * dy) >> _WEIGHT_SHIFT)
            for i in range(n):
                dx = np.int64(UNIT * xs[i] - centres[r, c, 4])
                across[i] = np.int32((weight * dx * dx) >> _WEIGHT_SHIFT)
            candidate = np.int32(r * n_columns + c)
            for i in range(n):
                dl = np.int32(np.int32(UNIT) * np.int32(lightness[i]) - cl)
                da = np.int32(np.int32(UNIT) * np.int32(green_red[i]) - ca)
                db = np.int32(np.int32(UNIT) * np.int32(blue_yellow[i]) - cb)
                distance = np.int32(dl * dl + da * da + db * db + across[i] + down)
                nearer = distance < best[i]
                best[i] = distance if nearer else best[i]
                choice[i] = candidate if nearer else choice[i]


@njit(nogil=True, cache=True)
def _move(lab, tissue, parity_y, parity_x, side, row0, column0, row1, column1, centres, weight):  # type: ignore[no-untyped-def]
    """Assign the subsampled pixels of a range of cells and move the centres one cell inside it."""
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    sums = np.zeros((n_rows, n_columns, 6), np.int64)
    best, choice = np.empty(side, np.int32), np.empty(side, np.int32)
    across, xs = np.empty(side, np.int32), np.empty(side, np.int32)
    height, width = tissue.shape
    for row in range(row0, row1):
        i0 = max((row * side - parity_y + 1) >> 1, 0)
        i1 = min(((row + 1) * side - parity_y + 1) >> 1, height)
        for column in range(column0, column1):
            j0 = max((column * side - parity_x + 1) >> 1, 0)
            j1 = min(((column + 1) * side - parity_x + 1) >> 1, width)
            if centres[row, column, 5] == 0:
                continue
            n = j1 - j0
            for j in range(n):
                xs[j] = 2 * (j0 + j) + parity_x
            for i in range(i0, i1):
                y = 2 * i + parity_y
                _nearest(lab[0, i, j0:j1], lab[1, i, j0:j1], lab[2, i, j0:j1], y, xs, n, row, column, centres,
                         weight, best, choice, across)  # fmt: skip
                for j in range(n):
                    if tissue[i, j0 + j]:
                        cell = sums[choice[j] // n_columns, choice[j] % n_columns]
                        cell[0] += lab[0, i, j0 + j]
                        cell[1] += lab[1, i, j0 + j]
                        cell[2] += lab[2, i, j0 + j]
                        cell[3] += y
                        cell[4] += xs[j]
                        cell[5] += 1
    # a centre at the rim of the range has not seen all its pixels, unless the rim is the lattice's own
    _settle(
        sums,
        centres,
        row0 if row0 == 0 else row0 + 1,
        column0 if column0 == 0 else column0 + 1,
        row1 if row1 == n_rows else row1 - 1,
        column1 if column1 == n_columns else column1 - 1,
    )


@njit(nogil=True, cache=True)
def _assign(lab, tissue, y0, x0, side, row0, column0, row1, column1, centres, weight, first_row, first_column,
            lattice_columns, labels):  # type: ignore[no-untyped-def]  # fmt: skip
    """Write the label of every core pixel, whose corner lies at (y0, x0) of the window."""
    n_columns = centres.shape[1]
    best, choice = np.empty(side, np.int32), np.empty(side, np.int32)
    across, xs = np.empty(side, np.int32), np.empty(side, np.int32)
    height, width = labels.shape
    for row in range(row0, row1):
        for column in range(column0, column1):
            left, right = max(column * side, x0), min((column + 1) * side, x0 + width)
            n = right - left
            home = np.int32((row + first_row) * lattice_columns + column + first_column + 1)
            for i in range(n):
                xs[i] = left + i
            for y in range(max(row * side, y0), min((row + 1) * side, y0 + height)):
                any_tissue = False
                for i in range(n):
                    any_tissue |= tissue[y, left + i]
                if not any_tissue:
                    continue
                _nearest(lab[0, y, left:right], lab[1, y, left:right], lab[2, y, left:right], y, xs, n, row, column,
                         centres, weight, best, choice, across)  # fmt: skip
                for i in range(n):
                    if tissue[y, left + i]:
                        chosen = choice[i]
                        # a cell whose tissue misses every even pixel, alone in its neighbourhood, keeps its own number
                        labels[y - y0, left - x0 + i] = (
                            home
                            if chosen < 0
                            else (chosen // n_columns + first_row) * lattice_columns
                            + chosen % n_columns
                            + first_column
                            + 1
                        )
