"""Morphology of the tissue mask: gaps closed, debris removed, holes filled, sections numbered.

All operations run on the whole low-power grid at once, so nothing depends on tiling.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.graph.tissue.mask_distance import isotropic_dilation
from wsigraph.kernels import njit

_EIGHT = np.ones((3, 3), bool)
_POOL = 8


def close_gaps(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Return the morphological closing by a disc of `radius_px`; beyond the border the mask continues unchanged."""
    if radius_px < 1:
        return mask
    padded = np.pad(mask, 2 * radius_px, mode="edge")
    closed = ~isotropic_dilation(~isotropic_dilation(padded, radius_px), radius_px)
    inner = slice(2 * radius_px, -2 * radius_px)
    return np.asarray(closed[inner, inner] | mask)


def drop_debris(mask: NDArray[np.bool_], min_area_px: int) -> NDArray[np.bool_]:
    """Return the mask without 8-connected components smaller than `min_area_px`."""
    labels, _ = ndimage.label(mask, structure=_EIGHT)
    keep = np.bincount(labels.ravel()) >= min_area_px
    keep[0] = False
    return np.asarray(keep[labels])


def drop_rims(mask: NDArray[np.bool_], ink: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Return the mask without what is thinner than a disc of `radius_px` and within three radii of ink.

    Marker out of focus fades into the glass, in colours that it has nowhere else.
    """
    if not ink.any() or radius_px < 1:
        return mask
    near = isotropic_dilation(ink, 3 * radius_px)
    rows, columns = (np.flatnonzero(near.any(axis=axis)) for axis in (1, 0))
    window = (
        slice(max(rows[0] - 2 * radius_px, 0), rows[-1] + 2 * radius_px + 1),
        slice(max(columns[0] - 2 * radius_px, 0), columns[-1] + 2 * radius_px + 1),
    )
    part = mask[window]
    opened = isotropic_dilation(~isotropic_dilation(~part, radius_px), radius_px)
    kept = mask.copy()
    kept[window] = part & (opened | ~near[window])
    return kept


def fill_holes(mask: NDArray[np.bool_], max_area_px: int) -> NDArray[np.bool_]:
    """Return the mask with enclosed holes of up to `max_area_px` filled; background at the border is not a hole."""
    labels, _ = ndimage.label(~mask)
    fill = np.bincount(labels.ravel()) <= max_area_px
    fill[0] = False
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    fill[np.unique(border)] = False
    return np.asarray(mask | fill[labels])


def number_sections(mask: NDArray[np.bool_], gap_px: int = 0, min_fraction: float = 0.0) -> NDArray[np.uint16]:
    """Return the number of the cross-section that each tissue pixel belongs to.

    Parameters
    ----------
    mask : bool (h, w)
        Tissue mask.
    gap_px : int
        Pieces of tissue at most this far apart belong to one cross-section, pixels.
    min_fraction : float
        A group with less than this fraction of the largest group's area is a loose fragment and joins the nearest
        cross-section.

    Returns
    -------
    uint16 (h, w)
        1 upwards in raster order of first pixel; 0 outside tissue.
    """
    labels, _ = ndimage.label(mask if gap_px < 2 else isotropic_dilation(mask, gap_px // 2), structure=_EIGHT)
    labels *= mask
    area = np.bincount(labels.ravel())
    area[0] = 0
    loose = (area > 0) & (area < min_fraction * area.max(initial=0))
    if loose.any():
        labels = _join_nearest(labels, loose)
    numbers = np.zeros(len(area), np.int64)
    present = _in_order(labels, len(area))
    numbers[present] = np.arange(1, len(present) + 1)
    return np.asarray(np.minimum(numbers, np.iinfo(np.uint16).max).astype(np.uint16)[labels])


@njit(nogil=True, cache=True)
def _in_order(labels: NDArray[np.int32], n_labels: int) -> NDArray[np.int64]:
    """Return the labels of an image int32 (h, w) that occur, without 0, in raster order of first pixel."""
    is_listed = np.zeros(n_labels, np.bool_)
    order = np.empty(n_labels, np.int64)
    n = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label != 0 and not is_listed[label]:
                is_listed[label] = True
                order[n] = label
                n += 1
    return order[:n]


def _join_nearest(labels: NDArray[np.int32], loose: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the labels with each loose group merged into the nearest other group.

    Distances are measured on labels pooled by 8 x 8 pixels. labels is int32 (h, w), loose bool (n_labels,).
    """
    height, width = (-(-length // _POOL) * _POOL for length in labels.shape)
    padded = np.zeros((height, width), labels.dtype)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    blocks = padded.reshape(height // _POOL, _POOL, width // _POOL, _POOL)
    firm = np.where(loose[blocks], 0, blocks).max(axis=(1, 3))
    distance, nearest = ndimage.distance_transform_edt(firm == 0, return_indices=True)
    target = np.arange(len(loose), dtype=labels.dtype)
    for group in np.flatnonzero(loose):
        rows, columns = np.nonzero((blocks == group).any(axis=(1, 3)))
        closest = int(np.argmin(distance[rows, columns]))
        row, column = nearest[:, rows[closest], columns[closest]]
        target[group] = firm[row, column]
    return np.asarray(target[labels])
