"""Pieces of tissue told apart: debris dropped, holes closed, sections numbered.

All operations run on the whole lattice at once, so nothing depends on tiling.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT = np.ones((3, 3), bool)


def close_gaps(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Return the mask with gaps up to twice `radius_px` bridged by a disc; the border counts as more of the same."""
    if radius_px < 1:
        return mask
    padded = np.pad(mask, 2 * radius_px, mode="edge")
    closed = ~_dilate(~_dilate(padded, radius_px), radius_px)
    inner = slice(2 * radius_px, -2 * radius_px)
    return np.asarray(closed[inner, inner] | mask)


@njit(nogil=True, cache=True)
def _dilate(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the pixels within `radius` of a masked pixel, by column distances and a look along each row."""
    height, width = mask.shape
    far = radius + 1
    down = np.full((height, width), far, np.int32)
    for y in range(height):
        for x in range(width):
            above = down[y - 1, x] if y > 0 else far
            down[y, x] = 0 if mask[y, x] else min(above + 1, far)
    for y in range(height - 2, -1, -1):
        for x in range(width):
            down[y, x] = min(down[y, x], down[y + 1, x] + 1)
    near = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            for other in range(max(x - radius, 0), min(x + radius + 1, width)):
                if down[y, other] ** 2 + (other - x) ** 2 <= radius * radius:
                    near[y, x] = True
                    break
    return near


def drop_debris(mask: NDArray[np.bool_], min_area_px: int) -> NDArray[np.bool_]:
    """Return the mask without 8-connected pieces smaller than `min_area_px`."""
    labels, _ = ndimage.label(mask, structure=_EIGHT)
    keep = np.bincount(labels.ravel()) >= min_area_px
    keep[0] = False
    return np.asarray(keep[labels])


def fill_holes(mask: NDArray[np.bool_], max_area_px: int) -> NDArray[np.bool_]:
    """Return the mask with enclosed holes up to `max_area_px` filled; what touches the border is no hole."""
    labels, _ = ndimage.label(~mask)
    fill = np.bincount(labels.ravel()) <= max_area_px
    fill[0] = False
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    fill[np.unique(border)] = False
    return np.asarray(mask | fill[labels])


def number_sections(mask: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Return the number of each 8-connected piece, 1 upwards in raster order of first pixel; 0 elsewhere."""
    labels, _ = ndimage.label(mask, structure=_EIGHT)
    return np.asarray(np.minimum(labels, np.iinfo(np.uint16).max), dtype=np.uint16)
