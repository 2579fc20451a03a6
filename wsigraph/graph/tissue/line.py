"""Narrow structures on the lattice: edges of the coverslip, rims of bubbles and folds of the tissue.

An edge or rim darkens all three channels alike, on glass and on tissue, over a narrow and long course. A fold is tissue
lying double, so both stains are about twice as strong as beside it, over a narrow course again. Nuclei would hide both
in single pixels; so density is averaged along short lines in eight directions on the lattice reduced twofold, and each
line is compared with the two lines beside it. What stands out is judged as whole pieces, by length and by mean width;
curved and straight courses are alike, and pieces of one straight course are joined (``straight``). Only tissue and what
is near it is looked at. Not optimal for bubbles under a third of a millimetre and for edges fainter than the tissue's
own texture; dense bands of epithelium pass for folds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.geometry import um_to_px, um_to_px_exact
from wsigraph.graph.tissue.density import OD_UNIT
from wsigraph.graph.tissue.mask_distance import within
from wsigraph.graph.tissue.straight import straight_courses
from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import map_rows, map_threads

_REDUCTION = 2
_NEAR = 4
"""Edges are looked for this many widths around tissue."""
_LINE_UM = 120.0
"""Length of the averaged lines."""
_FOLD_LEAST_DENSITY = 0.35
"""No tissue paler than this in green optical density is called a fold."""
_STRAIGHT = 2
"""Edges in pieces must be straight over this many least lengths."""
_RATIO_UNIT = 256
_EIGHT = np.ones((3, 3), bool)
_DIRECTIONS = np.array([(0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2)])


def find_lines(
    density: NDArray[np.int16], tissue: NDArray[np.bool_], config: TissueConfig
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the coverslip ends or a bubble has its rim, and where tissue lies double.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    tissue : bool (h, w)
        Tissue.
    config : TissueConfig
        Spacing of the lattice, and least length, greatest width and least darkness of edges and of folds.

    Returns
    -------
    edges, folds : bool (h, w)
        Edges, on tissue and on the glass near it; folds, within tissue.
    """
    mpp = config.mpp * _REDUCTION
    planes = _reduced(density)
    inside = tissue[::_REDUCTION, ::_REDUCTION]
    edge_px, fold_px = um_to_px(config.edge_max_width_um, mpp), um_to_px(config.fold_max_width_um, mpp)
    typical = int(np.median(planes[1][inside])) if inside.any() else OD_UNIT
    limits = np.array(
        [
            round(config.edge_min_optical_density * OD_UNIT),
            max(typical, round(_FOLD_LEAST_DENSITY * OD_UNIT)),
            typical // 2,
            round(config.fold_min_ratio * _RATIO_UNIT),
        ]
    )
    edge, fold = _stand_out(planes, inside, um_to_px(_LINE_UM, mpp), edge_px, fold_px, limits)
    min_length = um_to_px_exact(config.edge_min_length_um, mpp)
    edge = long_narrow_pieces(edge, min_length, edge_px) | straight_courses(edge, _STRAIGHT * min_length)
    fold = long_narrow_pieces(fold, um_to_px_exact(config.fold_min_length_um, mpp), fold_px)
    return _enlarged(edge, tissue.shape), _enlarged(fold, tissue.shape) & tissue


def long_narrow_pieces(mask: NDArray[np.bool_], min_length: float, max_width: float) -> NDArray[np.bool_]:
    """Return the 8-connected pieces that are long and narrow.

    Parameters
    ----------
    mask : bool (h, w)
        Candidates.
    min_length : float
        Least diagonal of the bounding box, pixels.
    max_width : float
        Greatest mean width (area over half the border's length), pixels.

    Returns
    -------
    bool (h, w)
        The pieces that pass.
    """
    labels, n_pieces = ndimage.label(mask, structure=_EIGHT)
    keep = np.zeros(n_pieces + 1, bool)
    area, border = _area_and_border(labels, n_pieces)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        length = np.hypot(*(side.stop - side.start for side in box))
        # a narrow piece is its border's half long; pi/4 makes a length of pixel steps, whatever the course
        keep[label] = length >= min_length and area[label] <= max_width * np.pi / 8 * border[label]
    return np.asarray(keep[labels])


@njit(nogil=True, cache=True)
def _area_and_border(labels: NDArray[np.int32], n_pieces: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixels of each label, and its pixel sides that face another label or the picture's end."""
    height, width = labels.shape
    area, border = np.zeros(n_pieces + 1, np.int64), np.zeros(n_pieces + 1, np.int64)
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label == 0:
                continue
            area[label] += 1
            border[label] += y == 0 or labels[y - 1, x] != label
            border[label] += y == height - 1 or labels[y + 1, x] != label
            border[label] += x == 0 or labels[y, x - 1] != label
            border[label] += x == width - 1 or labels[y, x + 1] != label
    return area, border


def _reduced(density: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return planes averaged over 2 x 2 pixels, the last row and column repeated where odd."""
    _, height, width = density.shape
    reduced = np.empty((3, -(-height // 2), -(-width // 2)), np.int16)
    map_rows(_reduce, reduced.shape[1], density, reduced)
    return reduced


@njit(nogil=True, cache=True)
def _reduce(start: int, stop: int, density: NDArray[np.int16], reduced: NDArray[np.int16]) -> None:
    _, height, width = density.shape
    for channel in range(3):
        for y in range(start, stop):
            upper, lower = density[channel, 2 * y], density[channel, min(2 * y + 1, height - 1)]
            for x in range(width // 2):
                reduced[channel, y, x] = (upper[2 * x] + lower[2 * x] + upper[2 * x + 1] + lower[2 * x + 1] + 2) >> 2
            if width % 2:
                reduced[channel, y, width // 2] = (2 * upper[width - 1] + 2 * lower[width - 1] + 2) >> 2


def _enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.asarray(mask.repeat(_REDUCTION, axis=0).repeat(_REDUCTION, axis=1)[: shape[0], : shape[1]])


def _stand_out(
    planes: NDArray[np.int16],
    tissue: NDArray[np.bool_],
    length_px: int,
    edge_px: int,
    fold_px: int,
    limits: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the pixels whose line is darker than the lines beside it: alike in all channels, and by a ratio."""
    near = within(tissue, _NEAR * edge_px)
    found = map_threads(_stand_out_along, _DIRECTIONS, planes, near, tissue, length_px, edge_px, fold_px, limits)
    edges, folds = zip(*found, strict=True)
    return np.logical_or.reduce(edges), np.logical_or.reduce(folds)


def _stand_out_along(
    direction: NDArray[np.int64],
    planes: NDArray[np.int16],
    near: NDArray[np.bool_],
    tissue: NDArray[np.bool_],
    length_px: int,
    edge_px: int,
    fold_px: int,
    limits: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what stands out along lines of one direction."""
    edge, fold = np.zeros_like(tissue), np.zeros_like(tissue)
    down, right = direction.tolist()
    stride = float(np.hypot(down, right))
    half = max(round(length_px / stride / 2), 1)
    means = _line_means(planes, near, down, right, half)
    # the step across the line is its normal, as long as the structure is wide
    for reach, target, is_fold in ((edge_px, edge, False), (fold_px, fold, True)):
        across = (round(right * reach / stride), round(-down * reach / stride))
        if is_fold:
            _mark_folds(means, tissue, across, limits, target)
        else:
            _mark_edges(means, near, across, limits, target)
    return edge, fold


@njit(nogil=True, cache=True)
def _line_means(
    planes: NDArray[np.int16], near: NDArray[np.bool_], down: int, right: int, half: int
) -> NDArray[np.int16]:
    """Return the mean of 2 half + 1 pixels of the line through each pixel near tissue; shorter at the border."""
    _, height, width = planes.shape
    means = np.zeros_like(planes)
    total = np.empty(3, np.int64)
    for y in range(height):
        for x in range(width):
            if not near[y, x]:
                continue
            total[:] = 0
            n = 0
            for step in range(-half, half + 1):
                line_y, line_x = y + step * down, x + step * right
                if 0 <= line_y < height and 0 <= line_x < width:
                    for channel in range(3):
                        total[channel] += planes[channel, line_y, line_x]
                    n += 1
            for channel in range(3):
                means[channel, y, x] = total[channel] // n
    return means


@njit(nogil=True, cache=True)
def _mark_edges(
    means: NDArray[np.int16],
    near: NDArray[np.bool_],
    across: tuple[int, int],
    limits: NDArray[np.int64],
    edge: NDArray[np.bool_],
) -> None:
    """Mark lines darker than both sides in all channels alike, in place."""
    _, height, width = means.shape
    down, right = abs(across[0]), across[1] if across[0] >= 0 else -across[1]
    for y in range(down, height - down):
        for x in range(abs(right), width - abs(right)):
            if not (near[y, x] and near[y - down, x - right] and near[y + down, x + right]):
                continue
            least, most = np.int64(1 << 20), np.int64(-(1 << 20))
            for channel in range(3):
                side = max(means[channel, y - down, x - right], means[channel, y + down, x + right])
                rise = np.int64(means[channel, y, x]) - side
                least, most = min(least, rise), max(most, rise)
                if least < limits[0]:
                    break
            if least >= limits[0] and 3 * (most - least) <= least:
                edge[y, x] = True


@njit(nogil=True, cache=True)
def _mark_folds(
    means: NDArray[np.int16],
    tissue: NDArray[np.bool_],
    across: tuple[int, int],
    limits: NDArray[np.int64],
    fold: NDArray[np.bool_],
) -> None:
    """Mark lines of tissue denser than the tissue on both sides by a ratio in green and in blue, in place."""
    _, height, width = means.shape
    down, right = abs(across[0]), across[1] if across[0] >= 0 else -across[1]
    for y in range(down, height - down):
        for x in range(abs(right), width - abs(right)):
            if not tissue[y, x] or means[1, y, x] < limits[1]:
                continue
            first, last = (y - down, x - right), (y + down, x + right)
            if not (tissue[first] and tissue[last]):
                continue
            # dense tissue beside a lumen is no fold
            if min(means[1, first[0], first[1]], means[1, last[0], last[1]]) < limits[2]:
                continue
            is_double = True
            for channel in (1, 2):
                side = np.int64(max(means[channel, first[0], first[1]], means[channel, last[0], last[1]]))
                is_double = is_double and _RATIO_UNIT * np.int64(means[channel, y, x]) >= limits[3] * side
            # a nest of nuclei turns the colour towards hematoxylin; tissue on tissue keeps it
            red = np.int64(means[0, first[0], first[1]]) + means[0, last[0], last[1]]
            green = np.int64(means[1, first[0], first[1]]) + means[1, last[0], last[1]]
            keeps_colour = 4 * np.int64(means[0, y, x]) * green <= 5 * red * np.int64(means[1, y, x])
            if is_double and keeps_colour:
                fold[y, x] = True
