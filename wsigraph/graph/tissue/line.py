"""Narrow structures on the low-power grid: coverslip edges, rims of bubbles and folds of the tissue.

A coverslip edge or a bubble's rim darkens all three channels alike, on glass and on tissue, along a long and narrow
line. In a fold the tissue is doubled, so both stains are about twice as strong as beside it. Single nuclei would hide
both, so the method is a ridge detector on averaged lines. With D the optical density of a channel on the grid reduced
twofold, u one of eight directions and w its normal scaled to the width of the structure::

    M(p) = mean of D(p + k u),  k = -half .. half
    edge:  M(p) - max(M(p - w), M(p + w)) >= limit in R, G and B, and alike in all three
    fold:  M(p) >= ratio * max(M(p - w), M(p + w)) in G and in B, without a change of colour

The pixels that pass are grouped into connected pieces and kept by length and mean width, so curved and straight
structures are treated alike; pieces of one straight line are joined by a Hough transform (``straight``). Only tissue
and its surroundings are searched.

Limits: bubbles under a third of a millimetre and edges fainter than the tissue's own texture are missed; dense bands of
epithelium pass for folds. scikit-image's ridge filters (Frangi, Sato) compute in floating point on the whole grid and
know neither the two-sided comparison nor the three channels; the kernels here are exact in integers, skip glass far
from tissue, and run the eight directions in parallel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.geometry import um2_to_px, um_to_px, um_to_px_exact
from wsigraph.graph.tissue.density import OD_UNIT, REDUCTION, enlarge_mask
from wsigraph.graph.tissue.mask_distance import isotropic_dilation
from wsigraph.graph.tissue.section import fill_holes
from wsigraph.graph.tissue.straight import straight_segments
from wsigraph.kernels import njit
from wsigraph.slide.map_boxes import map_threads

_NEAR = 4
"""Edges are searched up to this many edge widths away from tissue."""
_LINE_UM = 120.0
"""Length of the averaged lines."""
_FOLD_LEAST_DENSITY = 0.35
"""Tissue paler than this in green optical density is never called a fold."""
_FOLD_OF_DENSE = 1.4
_DENSE_PX, _DENSE_PERCENTILE = 7, 90
"""A fold is denser than the dense tissue of the slide, such as crypts, by this factor of means over windows."""
_FOLD_WIDTHS = (0.25, 0.5, 1.0)
"""Distances at which the tissue beside a fold is looked at, as parts of the greatest width."""
_FOLD_HOLE_UM2 = 20_000.0
"""Paler tissue enclosed by a fold is part of it up to this area."""
_STRAIGHT = 2
"""A broken edge must be straight over this many times the least length of an unbroken one."""
_RATIO_UNIT = 256
_EIGHT = np.ones((3, 3), bool)
_DIRECTIONS = np.array([(0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2)])


def find_lines(
    planes: NDArray[np.int16], tissue: NDArray[np.bool_], config: TissueConfig
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return coverslip edges and rims of bubbles, and folds of the tissue.

    Parameters
    ----------
    planes : int16 (3, ceil(h / 2), ceil(w / 2))
        Optical density planes (R, G, B) in units of 1/1024, glass at zero, halved (`halve_planes`).
    tissue : bool (h, w)
        Tissue mask on the low-power grid.
    config : TissueConfig
        Spacing of the low-power grid; least length, greatest width and least density of edges and of folds.

    Returns
    -------
    edges, folds : bool (h, w)
        Edges on tissue and on the glass near it; folds inside tissue.
    """
    mpp = config.mpp * REDUCTION
    inside = tissue[::REDUCTION, ::REDUCTION]
    edge_px, fold_px = um_to_px(config.edge_max_width_um, mpp), um_to_px(config.fold_max_width_um, mpp)
    typical, dense = _typical_densities(planes[1], inside)
    limits = np.array(
        [
            round(config.edge_min_optical_density * OD_UNIT),
            max(round(_FOLD_OF_DENSE * dense), round(_FOLD_LEAST_DENSITY * OD_UNIT)),
            typical // 2,
            round(config.fold_min_ratio * _RATIO_UNIT),
        ]
    )
    edge, fold = _find_ridges(planes, inside, um_to_px(_LINE_UM, mpp), edge_px, fold_px, limits)
    min_length = um_to_px_exact(config.edge_min_length_um, mpp)
    edge = long_narrow_pieces(edge, min_length, edge_px) | straight_segments(edge, _STRAIGHT * min_length)
    fold = long_narrow_pieces(fold, um_to_px_exact(config.fold_min_length_um, mpp), fold_px)
    if fold.any():
        fold = fill_holes(fold, um2_to_px(_FOLD_HOLE_UM2, mpp))
    return enlarge_mask(edge, tissue.shape), enlarge_mask(fold, tissue.shape) & tissue


def _typical_densities(green: NDArray[np.int16], inside: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the median green density of the tissue and that of its dense part, averaged over the length of a line."""
    if not inside.any():
        return OD_UNIT, OD_UNIT
    smooth = ndimage.uniform_filter(green.astype(np.int32), _DENSE_PX)
    return int(np.median(green[inside])), int(np.percentile(smooth[inside], _DENSE_PERCENTILE, method="lower"))


def long_narrow_pieces(mask: NDArray[np.bool_], min_length: float, max_width: float) -> NDArray[np.bool_]:
    """Return the 8-connected components that are long and narrow.

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
        The components that pass.
    """
    labels, n_pieces = ndimage.label(mask, structure=_EIGHT)
    keep = np.zeros(n_pieces + 1, bool)
    area, border = _area_and_border(labels, n_pieces)
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        length = np.hypot(*(side.stop - side.start for side in box))
        # length of a narrow piece = half its border; pi / 4 turns counted pixel sides into a length in any direction
        keep[label] = length >= min_length and area[label] <= max_width * np.pi / 8 * border[label]
    return np.asarray(keep[labels])


@njit(nogil=True, cache=True)
def _area_and_border(labels: NDArray[np.int32], n_pieces: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the area and the border of each label, int64 (n_pieces + 1,) each.

    The border counts pixel sides that face another label or the end of the grid; labels is int32 (h, w), 0 background.
    """
    height, width = labels.shape
    area, border = np.zeros(n_pieces + 1, np.int64), np.zeros(n_pieces + 1, np.int64)  # (n_pieces + 1,)
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


def _find_ridges(
    planes: NDArray[np.int16],
    tissue: NDArray[np.bool_],
    length_px: int,
    edge_px: int,
    fold_px: int,
    limits: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return edge and fold pixels, bool (h, w) each: the union over the eight directions."""
    near = isotropic_dilation(tissue, _NEAR * edge_px)
    masks = map_threads(_find_ridges_along, _DIRECTIONS, planes, near, tissue, length_px, edge_px, fold_px, limits)
    edges, folds = zip(*masks, strict=True)
    return np.logical_or.reduce(edges), np.logical_or.reduce(folds)


def _find_ridges_along(
    direction: NDArray[np.int64],
    planes: NDArray[np.int16],
    near: NDArray[np.bool_],
    tissue: NDArray[np.bool_],
    length_px: int,
    edge_px: int,
    fold_px: int,
    limits: NDArray[np.int64],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the edge and fold pixels along lines of one direction (dy, dx)."""
    edge, fold = np.zeros_like(tissue), np.zeros_like(tissue)
    down, right = direction.tolist()
    stride = float(np.hypot(down, right))
    half = max(round(length_px / stride / 2), 1)
    means = _line_means(planes, near, down, right, half)
    # `across` is w: the line's normal, scaled to the width of the structure and rounded to pixels
    _mark_edges(means, near, _across(direction, edge_px), limits, edge)
    for part in _FOLD_WIDTHS:
        _mark_folds(means, tissue, _across(direction, max(round(part * fold_px), 1)), limits, fold)
    return edge, fold


def _across(direction: NDArray[np.int64], reach_px: int) -> tuple[int, int]:
    """Return the normal of a direction (dy, dx), scaled to a length and rounded to pixels."""
    down, right = direction.tolist()
    stride = float(np.hypot(down, right))
    return round(right * reach_px / stride), round(-down * reach_px / stride)


@njit(nogil=True, cache=True)
def _line_means(
    planes: NDArray[np.int16], near: NDArray[np.bool_], down: int, right: int, half: int
) -> NDArray[np.int16]:
    """Return M, int16 (3, h, w): the mean of 2 half + 1 pixels along (down, right) through each pixel near tissue.

    planes is int16 (3, h, w). The line is cut at the border of the grid; pixels where `near` is False stay 0.
    """
    _, height, width = planes.shape
    means = np.zeros_like(planes)  # (3, h, w)
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
    """Mark edge pixels, in place: denser than both sides, by about the same amount in all three channels.

    means is int16 (3, h, w), limits[0] the least rise in units of 1/1024. The rises of the three channels may differ
    by a third of the smallest: a stain would raise one channel more than another.
    """
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
    """Mark fold pixels, in place: tissue denser than the tissue on both sides by a ratio, in green and in blue.

    means is int16 (3, h, w); limits[1] and limits[2] are the least green density of the fold and of its sides,
    limits[3] the ratio in units of 1/256.
    """
    _, height, width = means.shape
    down, right = abs(across[0]), across[1] if across[0] >= 0 else -across[1]
    for y in range(down, height - down):
        for x in range(abs(right), width - abs(right)):
            if not tissue[y, x] or means[1, y, x] < limits[1]:
                continue
            first, last = (y - down, x - right), (y + down, x + right)
            if not (tissue[first] and tissue[last]):
                continue
            # tissue beside a lumen is dense on one side only: not a fold
            if min(means[1, first[0], first[1]], means[1, last[0], last[1]]) < limits[2]:
                continue
            is_double = True
            for channel in (1, 2):
                side = np.int64(max(means[channel, first[0], first[1]], means[channel, last[0], last[1]]))
                is_double = is_double and _RATIO_UNIT * np.int64(means[channel, y, x]) >= limits[3] * side
            # a nest of nuclei shifts the colour towards hematoxylin; two layers of tissue keep it
            red = np.int64(means[0, first[0], first[1]]) + means[0, last[0], last[1]]
            green = np.int64(means[1, first[0], first[1]]) + means[1, last[0], last[1]]
            own, beside = np.int64(means[0, y, x]) * green, red * np.int64(means[1, y, x])
            # and blood in a vessel shifts it away from hematoxylin
            keeps_colour = 4 * own <= 5 * beside and 8 * own >= 5 * beside
            if is_double and keeps_colour:
                fold[y, x] = True
