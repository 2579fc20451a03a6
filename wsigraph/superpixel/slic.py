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
def _padded(n: int) -> int:
    """Return the next whole number of vectors of 8 that holds n."""
    return (n + 7) // 8 * 8


@njit(nogil=True, cache=True)
def _home_centres(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    parity_y: int,
    parity_x: int,
    side: int,
    n_rows: int,
    n_columns: int,
) -> NDArray[np.int32]:
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
def _settle(
    sums: NDArray[np.int64], centres: NDArray[np.int32], row0: int, column0: int, row1: int, column1: int
) -> None:
    """Move the centres of a range of cells to the mean of what they hold; an empty one stays where it was."""
    for row in range(row0, row1):
        for column in range(column0, column1):
            n = sums[row, column, 5]
            if n > 0:
                for k in range(5):
                    centres[row, column, k] = (UNIT * sums[row, column, k] + n // 2) // n
                centres[row, column, 5] = 1


@njit(nogil=True, cache=True)
def _candidates(
    centres: NDArray[np.int32],
    row: int,
    column: int,
    x0: int,
    step: int,
    n: int,
    weight: int,
    candidates: NDArray[np.int32],
    across: NDArray[np.int32],
) -> int:
    """Collect the centres homed in the 3 x 3 cells around a cell, in raster order, and return how many there are.

    ``across[k, i]`` becomes the squared, weighted horizontal distance of candidate k from pixel ``x0 + step * i``.
    """
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    found = 0
    for r in range(max(row - 1, 0), min(row + 2, n_rows)):
        for c in range(max(column - 1, 0), min(column + 2, n_columns)):
            if centres[r, c, 5] == 0:
                continue
            for k in range(4):
                candidates[found, k] = centres[r, c, k]
            candidates[found, 4] = r * n_columns + c
            for i in range(n):
                dx = np.int64(UNIT * (x0 + step * i) - centres[r, c, 4])
                across[found, i] = np.int32((weight * dx * dx) >> _WEIGHT_SHIFT)
            found += 1
    return found


@njit(nogil=True, cache=True)
def _load(lab: NDArray[np.uint8], y: int, x0: int, n: int, pixels: NDArray[np.int32]) -> None:
    """Copy n pixels of a row in 1/16 levels; what follows them in `pixels` is computed and never used."""
    for plane in range(3):
        for i in range(n):
            pixels[plane, i] = UNIT * np.int32(lab[plane, y, x0 + i])


@njit(nogil=True, cache=True)
def _nearest(
    pixels: NDArray[np.int32],
    y: int,
    n_candidates: int,
    candidates: NDArray[np.int32],
    across: NDArray[np.int32],
    weight: int,
    best: NDArray[np.int32],
    choice: NDArray[np.int32],
) -> None:
    """Write to `choice` the row of the nearest candidate of each pixel; the first of equals, -1 where there is none.

    All arrays are a whole number of vectors long, so that no pixel is left to a scalar remainder.
    """
    lightness, green_red, blue_yellow = pixels[0], pixels[1], pixels[2]
    best[:] = _FAR
    choice[:] = -1
    for k in range(n_candidates):
        centre_l, centre_a, centre_b = candidates[k, 0], candidates[k, 1], candidates[k, 2]
        dy = np.int64(UNIT * y - candidates[k, 3])
        down = np.int32((weight * dy * dy) >> _WEIGHT_SHIFT)
        horizontal = across[k]
        for i in range(len(best)):
            dl = np.int32(lightness[i] - centre_l)
            da = np.int32(green_red[i] - centre_a)
            db = np.int32(blue_yellow[i] - centre_b)
            distance = np.int32(dl * dl + da * da + db * db + horizontal[i] + down)
            nearer = distance < best[i]
            best[i] = distance if nearer else best[i]
            choice[i] = np.int32(k) if nearer else choice[i]


@njit(nogil=True, cache=True)
def _move(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    parity_y: int,
    parity_x: int,
    side: int,
    row0: int,
    column0: int,
    row1: int,
    column1: int,
    centres: NDArray[np.int32],
    weight: int,
) -> None:
    """Assign the subsampled pixels of a range of cells and move the centres one cell inside it."""
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    sums = np.zeros((n_rows * n_columns, 6), np.int64)
    # every second pixel of a row of the cell
    length = _padded((side + 1) // 2)
    best, choice = np.empty(length, np.int32), np.empty(length, np.int32)
    candidates, across = np.zeros((9, 5), np.int32), np.zeros((9, length), np.int32)
    pixels = np.zeros((3, length), np.int32)
    height, width = tissue.shape
    for row in range(row0, row1):
        i0 = max((row * side - parity_y + 1) >> 1, 0)
        i1 = min(((row + 1) * side - parity_y + 1) >> 1, height)
        for column in range(column0, column1):
            # without a centre of its own the cell has no subsampled tissue
            if centres[row, column, 5] == 0:
                continue
            j0 = max((column * side - parity_x + 1) >> 1, 0)
            n = min(((column + 1) * side - parity_x + 1) >> 1, width) - j0
            found = _candidates(centres, row, column, 2 * j0 + parity_x, 2, n, weight, candidates, across)
            for i in range(i0, i1):
                y = 2 * i + parity_y
                _load(lab, i, j0, n, pixels)
                _nearest(pixels, y, found, candidates, across, weight, best, choice)
                for j in range(n):
                    if tissue[i, j0 + j]:
                        cell = sums[candidates[choice[j], 4]]
                        cell[0] += lab[0, i, j0 + j]
                        cell[1] += lab[1, i, j0 + j]
                        cell[2] += lab[2, i, j0 + j]
                        cell[3] += y
                        cell[4] += 2 * (j0 + j) + parity_x
                        cell[5] += 1
    # a centre at the rim of the range has not seen all its pixels, unless the rim is the slide's own
    _settle(
        sums.reshape((n_rows, n_columns, 6)),
        centres,
        row0 if row0 == 0 else row0 + 1,
        column0 if column0 == 0 else column0 + 1,
        row1 if row1 == n_rows else row1 - 1,
        column1 if column1 == n_columns else column1 - 1,
    )


@njit(nogil=True, cache=True)
def _assign(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    y0: int,
    x0: int,
    side: int,
    row0: int,
    column0: int,
    row1: int,
    column1: int,
    centres: NDArray[np.int32],
    weight: int,
    first_row: int,
    first_column: int,
    lattice_columns: int,
    labels: NDArray[np.int32],
) -> None:
    """Write the label of every core pixel, whose corner lies at (y0, x0) of the window."""
    n_columns = centres.shape[1]
    length = _padded(side)
    best, choice = np.empty(length, np.int32), np.empty(length, np.int32)
    candidates, across = np.zeros((9, 5), np.int32), np.zeros((9, length), np.int32)
    pixels, names = np.zeros((3, length), np.int32), np.empty(9, np.int32)
    height, width = labels.shape
    for row in range(row0, row1):
        for column in range(column0, column1):
            left = max(column * side, x0)
            n = min((column + 1) * side, x0 + width) - left
            home = (row + first_row) * lattice_columns + column + first_column + 1
            found = _candidates(centres, row, column, left, 1, n, weight, candidates, across)
            for k in range(found):
                r, c = candidates[k, 4] // n_columns + first_row, candidates[k, 4] % n_columns + first_column
                names[k] = r * lattice_columns + c + 1
            for y in range(max(row * side, y0), min((row + 1) * side, y0 + height)):
                here = tissue[y, left : left + n]
                if not here.any():
                    continue
                _load(lab, y, left, n, pixels)
                _nearest(pixels, y, found, candidates, across, weight, best, choice)
                for i in range(n):
                    if here[i]:
                        # tissue that misses every even pixel, alone among its cells, keeps its cell's own number
                        labels[y - y0, left - x0 + i] = names[choice[i]] if choice[i] >= 0 else home
