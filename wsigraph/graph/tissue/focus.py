"""Out-of-focus areas: fine detail is lost while coarse detail remains.

The energy of the Laplacian falls with pale stain and with flat tissue as much as with defocus, so alone it says little.
The ratio of the energies at two scales does not have this fault: defocus removes the energy at the fine scale and
leaves the energy at the coarse one. With I = R + G + B and I_s the image binned by 2**s, a cell has at scale s::

    L_s(y, x) = 4 I_s(y, x) - I_s(y-1, x) - I_s(y+1, x) - I_s(y, x-1) - I_s(y, x+1)
    E_s       = mean of L_s ** 2 over the cell
    detail_s  = E_s / E_(s+1)

A cell is out of focus where detail_1, at 4 um over 8 um, is below a fixed bound. A Gaussian of sigma 4 um leaves a
ratio of 0.16 to 0.18 in the median on six scanners, where sharp tissue has 0.6 to 1.5. The bound does not depend on
the slide: what is legible but softer than the rest of its slide is kept, and a slide that is blurred as a whole is
found. A blur of less than 3 um is not found. Detail at 2 um is not used: there a scanner's own noise and sharpening
weigh as much as its focus. Slides coarser than 2 um are not judged.

Energies are summed in integers over cells of a fixed global grid and each cell is read whole, so the result does not
depend on tiling. OpenCV and scipy have the Laplacian, but they filter across the borders of cells and of chunks, and
need a float image for each scale; the kernel here keeps one cell in cache.

References
----------
Pertuz, Puig and Garcia (2013), Analysis of focus measure operators for shape-from-focus (energy of the Laplacian).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.geometry import Box, Size, grid, ratio, um2_to_px, um_to_px
from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide

FOCUS_MPP = 2.0
"""Finest pixel size at which detail is measured, um/px; each further scale is twice as coarse."""
N_SCALES = 3
_CELLS_PER_CHUNK = 16
_LEAST_TISSUE = 4
"""A cell is judged if at least 1 / 4 (one over this number) of its low-power pixels are tissue."""
_LEAST_DETAIL = 40.0
"""A cell with less mean squared Laplacian of R + G + B than this at the coarsest scale is too flat to judge."""
_SOFT = 2.0
"""A cell beside a blurred cell counts as blurred up to this multiple of the bound."""
_EIGHT = np.ones((3, 3), bool)


def find_blur(
    slide: Slide,
    tissue: NDArray[np.bool_],
    config: TissueConfig,
    progress: Progress | None = None,
) -> NDArray[np.bool_]:
    """Return where tissue is out of focus.

    Parameters
    ----------
    slide : Slide
        Source of the pixels; only cells with tissue are read.
    tissue : bool (h, w)
        Tissue mask on the low-power grid of ``config.mpp``.
    config : TissueConfig
        Side of a cell, least area and the bound of the ratio.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    bool (h, w)
        True where tissue is out of focus; nowhere on a slide coarser than `FOCUS_MPP`.

    Raises
    ------
    SlideError
        If the slide cannot be read.

    Notes
    -----
    Reads tissue once at `FOCUS_MPP`.
    """
    if slide.info.mpp > FOCUS_MPP:
        return np.zeros_like(tissue)
    side = 4 * max(um_to_px(config.blur_cell_um, 4 * FOCUS_MPP), 4)
    size = slide.size(FOCUS_MPP)
    shape = (-(-size.height // side), -(-size.width // side))
    rows = _cell_of(tissue.shape[0], side, shape[0], config.mpp)
    columns = _cell_of(tissue.shape[1], side, shape[1], config.mpp)
    flat = rows[:, None] * shape[1] + columns
    n_cells = shape[0] * shape[1]
    n_tissue = np.bincount(flat[tissue], minlength=n_cells).reshape(shape)
    n_pixels = np.bincount(flat.ravel(), minlength=n_cells).reshape(shape)
    judged = (_LEAST_TISSUE * n_tissue >= n_pixels) & (n_tissue > 0)
    blurred = _blurred_cells(_energies(slide, judged, side, progress), judged, config)
    if not blurred.any():
        return np.zeros_like(tissue)
    # cells at the rim of tissue hold too little of it to be judged: they take the result of a judged neighbour
    blurred |= ndimage.binary_dilation(blurred, structure=_EIGHT) & ~judged & (n_tissue > 0)
    return np.asarray(blurred[np.ix_(rows, columns)] & tissue)


def cell_energies(rgb: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """Return the energy of the Laplacian of each square cell of a window at each scale.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels; the window starts at a cell's corner.
    side : int
        Side of a cell, pixels; a multiple of 4.

    Returns
    -------
    int64 (ceil(h / side), ceil(w / side), N_SCALES, 2)
        At each scale, the sum of the squared Laplacian of R + G + B over the pixels whose four neighbours lie in the
        cell, and the number of those pixels. A coarser scale sums 2 x 2 pixels instead of averaging them, so its
        energy is 16 times larger for each step.
    """
    return np.asarray(_energy_kernel(rgb, side))


def _energies(slide: Slide, judged: NDArray[np.bool_], side: int, progress: Progress | None) -> NDArray[np.float64]:
    """Return the mean squared Laplacian of all cells at each scale, float64 (rows, columns, N_SCALES)."""
    size = slide.size(FOCUS_MPP)
    boxes, places = [], []
    for block in grid(Size(*judged.shape), _CELLS_PER_CHUNK):
        if judged[block.slices].any():
            places.append(block.slices)
            boxes.append(
                Box(
                    y0=block.y0 * side,
                    x0=block.x0 * side,
                    y1=min(block.y1 * side, size.height),
                    x1=min(block.x1 * side, size.width),
                )
            )
    energy = np.zeros((*judged.shape, N_SCALES, 2), np.int64)  # (rows, columns, scale, [sum, pixels])
    for place, part in zip(
        places, map_chunks(_read, boxes, slide, side, stage="focus", progress=progress), strict=True
    ):
        energy[place] = part
    # each binning multiplies values by 4 and energies by 16
    return np.asarray(energy[..., 0] / np.maximum(energy[..., 1], 1) / 16.0 ** np.arange(N_SCALES))


def _read(box: Box, slide: Slide, side: int) -> NDArray[np.int64]:
    return cell_energies(slide.read(box, FOCUS_MPP), side)


def _cell_of(n_pixels: int, side: int, n_cells: int, grid_mpp: float) -> NDArray[np.int64]:
    """Return the cell under the centre of each row or column of the low-power grid, int64 (n_pixels,)."""
    step = ratio(side * FOCUS_MPP, grid_mpp)
    index = np.arange(n_pixels, dtype=np.int64)
    return np.minimum((2 * index + 1) * step.denominator // (2 * step.numerator), n_cells - 1)


def _blurred_cells(energy: NDArray[np.float64], judged: NDArray[np.bool_], config: TissueConfig) -> NDArray[np.bool_]:
    """Return the cells out of focus, bool (rows, columns), from the energies (rows, columns, N_SCALES)."""
    textured = judged & (energy[..., -1] >= _LEAST_DETAIL)
    fine, coarse = np.where(textured[..., None], energy[..., -2:], 0.0).transpose(2, 0, 1)
    bound = config.blur_max_ratio
    if config.blur_max_fraction is not None and textured.any():
        detail = fine[textured] / np.maximum(coarse[textured], 1.0)
        bound = min(bound, config.blur_max_fraction * float(np.median(detail)))
    # one cell has few pixels at the coarse scale: the ratio is of the energies of the cell and its eight neighbours
    around = [ndimage.correlate(plane, np.ones((3, 3)), mode="constant") for plane in (fine, coarse)]
    soft = textured & (fine < _SOFT * bound * coarse)
    blurred = soft & (around[0] < bound * around[1])
    labels, _ = ndimage.label(blurred, structure=_EIGHT)
    keep = np.bincount(labels.ravel()) >= um2_to_px(config.blur_min_area_um2, config.blur_cell_um)
    keep[0] = False
    blurred = keep[labels]
    # a cell on the border of a blurred area is half sharp, so its bound is wider
    return np.asarray(blurred | (soft & ndimage.binary_dilation(blurred, structure=_EIGHT)))


@njit(nogil=True, cache=True)
def _energy_kernel(rgb: NDArray[np.uint8], side: int) -> NDArray[np.int64]:
    """Return the sums of `cell_energies`; a cell is binned in place after each scale."""
    height, width = rgb.shape[:2]
    # (rows, columns, scale, [sum, pixels])
    energy = np.zeros((-(-height // side), -(-width // side), N_SCALES, 2), np.int64)
    cell = np.empty((side, side), np.int64)  # I_s of one cell; its first (tall, wide) entries are in use
    for row in range(energy.shape[0]):
        for column in range(energy.shape[1]):
            top, left = row * side, column * side
            tall, wide = min(side, height - top), min(side, width - left)
            for y in range(tall):
                for x in range(wide):
                    pixel = rgb[top + y, left + x]
                    cell[y, x] = np.int64(pixel[0]) + np.int64(pixel[1]) + np.int64(pixel[2])
            for scale in range(N_SCALES):
                energy[row, column, scale] = _laplacian_energy(cell, tall, wide)
                _halve(cell, tall, wide)
                tall, wide = tall // 2, wide // 2
    return energy


@njit(nogil=True, cache=True)
def _laplacian_energy(cell: NDArray[np.int64], height: int, width: int) -> tuple[int, int]:
    """Return the sum of the squared Laplacian over the inner pixels of ``cell[:height, :width]``, and their number."""
    total = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            value = 4 * cell[y, x] - cell[y - 1, x] - cell[y + 1, x] - cell[y, x - 1] - cell[y, x + 1]
            total += value * value
    return total, max(height - 2, 0) * max(width - 2, 0)


@njit(nogil=True, cache=True)
def _halve(cell: NDArray[np.int64], height: int, width: int) -> None:
    """Replace ``cell[:height // 2, :width // 2]`` by the sums of 2 x 2 pixels, in place.

    Reading runs ahead of writing in raster order, so no entry is overwritten before it is read.
    """
    for y in range(height // 2):
        for x in range(width // 2):
            upper = cell[2 * y, 2 * x] + cell[2 * y, 2 * x + 1]
            cell[y, x] = upper + cell[2 * y + 1, 2 * x] + cell[2 * y + 1, 2 * x + 1]
