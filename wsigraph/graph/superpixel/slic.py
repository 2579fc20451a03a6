"""Grid SLIC that gives the same labels in any tile.

Simple linear iterative clustering (Achanta et al., TPAMI 2012) with four changes. Centres and distances are 16-bit
integers, which is exact and fills vectors. A pixel chooses among the centres whose *home cell* is one of the 3 x 3
cells around its own, wherever those centres have moved, so that a result depends on a bounded neighbourhood:
``2 x iterations + 1`` cells. Sums run over a fixed subset of pixels (even rows and columns of the slide), so that
rounding and order cannot matter. Position weighs half as much in the last assignment as while centres move: centres
stay spread, outlines follow the tissue. Work shrinks towards the core as the iterations proceed. Not optimal where
regions are much larger or smaller than a cell: a grid cannot put two centres into one cell.
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
_STRIP_PX = 4096


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


def slic(
    lab: NDArray[np.uint8],
    tissue: NDArray[np.bool_],
    window: Box,
    core: Box,
    lattice: Lattice,
    *,
    compactness: float,
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
    compactness : float
        Weight of position against colour while the centres move, in 8-bit Lab levels a spacing.
    iterations : int
        Rounds of moving the centres.

    Returns
    -------
    int32 (core.height, core.width)
        1 + raster index of the home cell in the slide's lattice; 0 outside tissue. Not connected yet.
    """
    side = lattice.spacing_px
    units, last = units_of(compactness, side), units_of(compactness, side, last=True)
    cells = lattice.cells_of(window)
    core_cells = lattice.cells_of(core).relative_to(cells)
    sample = _sample(
        lab, tissue, window.y0 & 1, window.x0 & 1, side, cells.height, cells.width, units.level, units.step
    )
    centres = np.zeros((cells.height, cells.width, 6), np.int32)
    _move(sample, side, (0, 0, cells.height, cells.width), centres, units.level, units.step, True)
    for round_ in range(1, iterations + 1):
        area = core_cells.grow(2 * (iterations - round_) + 2).clip(cells.size)
        _move(sample, side, (area.y0, area.x0, area.y1, area.x1), centres, units.level, units.step, False)
    inner = core.relative_to(window)
    labels = np.zeros((core.height, core.width), np.int32)
    _assign(
        lab, tissue, inner.y0, inner.x0, side, (core_cells.y0, core_cells.x0, core_cells.y1, core_cells.x1), centres,
        last.level, last.step, (cells.y0, cells.x0, lattice.cells.width), labels,
    )  # fmt: skip
    return labels


class _Sample(NamedTuple):
    """The tissue pixels on even rows and columns of the slide, cell by cell.

    Values are L, a, b, y and x in units of distance, places counted from the cell's corner. Sums are taken over words
    of three fields of 21 bits: L, a, b; and x, y in pixels from the cell's corner, 1.
    """

    n: NDArray[np.int32]  # (rows, columns)
    values: NDArray[np.int16]  # (rows, columns, 5, most in a cell)
    colour: NDArray[np.int64]  # (rows, columns, most in a cell)
    place: NDArray[np.int64]  # (rows, columns, most in a cell)


@njit(nogil=True, cache=True)
def _sample(
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
    height, width = tissue.shape
    room = padded(((side + 1) // 2) ** 2)
    n = np.zeros((n_rows, n_columns), np.int32)
    values = np.empty((n_rows, n_columns, 5, room), np.int16)
    colour = np.empty((n_rows, n_columns, room), np.int64)
    place = np.empty((n_rows, n_columns, room), np.int64)
    for row in range(n_rows):
        top = row * side
        for column in range(n_columns):
            left = column * side
            held, colours, places = values[row, column], colour[row, column], place[row, column]
            found = 0
            for y in range(top + ((top ^ parity_y) & 1), min(top + side, height), 2):
                down = scaled(y - top, step)
                for x in range(left + ((left ^ parity_x) & 1), min(left + side, width), 2):
                    if tissue[y, x]:
                        lightness, green_red, blue_yellow = (
                            np.int64(lab[0, y, x]),
                            np.int64(lab[1, y, x]),
                            np.int64(lab[2, y, x]),
                        )
                        held[0, found] = level * lightness
                        held[1, found] = level * green_red
                        held[2, found] = level * blue_yellow
                        held[3, found] = down
                        held[4, found] = scaled(x - left, step)
                        colours[found] = lightness | (green_red << _FIELD) | (blue_yellow << (2 * _FIELD))
                        places[found] = (x - left) | ((y - top) << _FIELD) | (1 << (2 * _FIELD))
                        found += 1
            n[row, column] = found
    return _Sample(n, values, colour, place)


@njit(nogil=True, cache=True)
def _move(
    sample: _Sample,
    side: int,
    area: tuple[int, int, int, int],
    centres: NDArray[np.int32],
    level: int,
    step: int,
    home: bool,
) -> None:
    """Assign the sampled pixels of a range of cells and move the centres one cell inside it; to their own at `home`."""
    row0, column0, row1, column1 = area
    n_rows, n_columns = centres.shape[0], centres.shape[1]
    sums = np.zeros((n_rows * n_columns, 6), np.int64)
    room = sample.values.shape[3]
    best, choice = np.empty(room, np.uint16), np.zeros(room, np.int16)
    candidates, homes, held = np.zeros((9, 5), np.int16), np.zeros(9, np.int64), np.zeros((9, 2), np.int64)
    for row in range(row0, row1):
        for column in range(column0, column1):
            n = sample.n[row, column]
            if n == 0:
                continue
            if home:
                homes[0], found = row * n_columns + column, 1
            else:
                found = gather_candidates(centres, row, column, side, step, candidates, homes)
                choose_nearest(sample.values[row, column], padded(n), candidates, found, best, choice)
            colour, place = sample.colour[row, column, :n], sample.place[row, column, :n]
            _add(colour, place, choice, homes, found, row * side, column * side, side, held, sums)
    # a centre at the rim of the range has not seen all its pixels, unless the rim is the slide's own
    _settle(
        sums.reshape((n_rows, n_columns, 6)),
        centres,
        level,
        row0 if row0 == 0 else row0 + 1,
        column0 if column0 == 0 else column0 + 1,
        row1 if row1 == n_rows else row1 - 1,
        column1 if column1 == n_columns else column1 - 1,
    )


@njit(nogil=True, cache=True)
def _add(
    colour: NDArray[np.int64],
    place: NDArray[np.int64],
    choice: NDArray[np.int16],
    homes: NDArray[np.int64],
    n_candidates: int,
    y0: int,
    x0: int,
    side: int,
    held: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Add a cell's pixels to the sums of the centres they chose: L, a, b, y, x, 1."""
    mask = (1 << _FIELD) - 1
    # so many at once that no field overflows into the next
    most = max(1, min(4096, mask // max(side, 255)))
    for start in range(0, len(colour), most):
        for k in range(n_candidates):
            held[k, 0] = held[k, 1] = 0
        for i in range(start, min(start + most, len(colour))):
            held[choice[i], 0] += colour[i]
            held[choice[i], 1] += place[i]
        for k in range(n_candidates):
            own, n = homes[k], held[k, 1] >> (2 * _FIELD)
            sums[own, 0] += held[k, 0] & mask
            sums[own, 1] += (held[k, 0] >> _FIELD) & mask
            sums[own, 2] += held[k, 0] >> (2 * _FIELD)
            sums[own, 3] += ((held[k, 1] >> _FIELD) & mask) + n * y0
            sums[own, 4] += (held[k, 1] & mask) + n * x0
            sums[own, 5] += n


@njit(nogil=True, cache=True)
def _settle(
    sums: NDArray[np.int64], centres: NDArray[np.int32], level: int, row0: int, column0: int, row1: int, column1: int
) -> None:
    """Move the centres of a range of cells to the mean of what they hold; an empty one stays where it was.

    A centre is L, a, b in units of distance, y, x in 1/16 pixel from the window's corner, and whether there is one.
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
def _load(
    lab: NDArray[np.uint8], y0: int, x0: int, rows: int, columns: int, level: int, values: NDArray[np.int16]
) -> None:
    """Copy a box of pixels, row by row, in units of distance.

    Rows are copied in whole vectors of 16 while the image goes on that far; the next row writes over what is too much.
    """
    most = (columns + 15) // 16 * 16
    if x0 + most > lab.shape[2]:
        most = columns
    box = lab[:, y0 : y0 + rows, x0:]
    for plane in range(3):
        start = 0
        for y in range(rows):
            source, held = box[plane, y], values[plane, start:]
            for x in range(most):
                held[x] = source[x] * level
            start += columns


@njit(nogil=True, cache=True)
def _lay(y0: int, x0: int, rows: int, columns: int, step: int, values: NDArray[np.int16]) -> None:
    """Write the places of a box of pixels, row by row, in units of distance."""
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
    lattice: tuple[int, int, int],
    labels: NDArray[np.int32],
) -> None:
    """Write the label of every core pixel, whose corner lies at (y0, x0) of the window."""
    row0, column0, row1, column1 = area
    first_row, first_column, lattice_columns = lattice
    n_columns = centres.shape[1]
    height, width = labels.shape
    strip = max(1, min(side, _STRIP_PX // side))
    room = padded(strip * side) + 16
    values = np.zeros((5, room), np.int16)
    best, choice = np.empty(room, np.uint16), np.empty(room, np.int16)
    candidates, homes, names = np.zeros((9, 5), np.int16), np.zeros(9, np.int64), np.empty(9, np.int32)
    laid = (-1, -1, -1, -1)
    for row in range(row0, row1):
        for column in range(column0, column1):
            left, right = max(column * side, x0), min((column + 1) * side, x0 + width)
            n = right - left
            # tissue that misses every even pixel, alone among its cells, keeps its cell's own number
            names[0] = (row + first_row) * lattice_columns + column + first_column + 1
            found = gather_candidates(centres, row, column, side, step, candidates, homes)
            for k in range(found):
                r, c = homes[k] // n_columns + first_row, homes[k] % n_columns + first_column
                names[k] = r * lattice_columns + c + 1
            bottom = min((row + 1) * side, y0 + height)
            for top in range(max(row * side, y0), bottom, strip):
                rows = min(strip, bottom - top)
                if not tissue[top : top + rows, left:right].any():
                    continue
                if laid != (top - row * side, left - column * side, rows, n):
                    laid = (top - row * side, left - column * side, rows, n)
                    _lay(laid[0], laid[1], rows, n, step, values)
                _load(lab, top, left, rows, n, level, values)
                choose_nearest(values, padded(rows * n), candidates, found, best, choice)
                for y in range(rows):
                    for x in range(n):
                        if tissue[top + y, left + x]:
                            labels[top + y - y0, left + x - x0] = names[choice[y * n + x]]
