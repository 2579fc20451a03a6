"""The texture of a pen, which separates ink from tissue that a stain gave the same colour.

Marker lies on the coverslip, out of focus. Wet marker is flat: its density varies by less than a tenth at the scale of
nuclei, also where tissue shows through. Dried marker is streaked in the direction of the stroke, and runs over glass.
Tissue varies by a tenth and more, in no direction, and a focus of DAB, blood or blue collagen has tissue around it.
With m the mean density and J the structure tensor of m summed over a window::

    contrast  = sqrt(mean of (m - m smoothed by 10 um) ** 2) / mean of m
    coherence = sqrt((Jyy - Jxx) ** 2 + 4 Jxy ** 2) / (Jyy + Jxx)

A piece is ink if enough of it is flat, or if it is coherent and most of what surrounds it is glass. Everything is
computed on the window around the piece.

References
----------
Bigun and Granlund (1987), Optimal orientation detection of linear symmetry (structure tensor).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.geometry import um_to_px
from wsigraph.graph.tissue.density import OD_UNIT
from wsigraph.graph.tissue.mask_distance import isotropic_dilation

_EIGHT = np.ones((3, 3), bool)
_WINDOW_UM = 96.0
_NUCLEUS_UM = 10.0
_INNER_UM = 12.0
"""Texture is judged this far from the border of a piece, where there is so much."""
_FLAT_CONTRAST = 0.07
_FLAT_FRACTION = 0.3
_COHERENT = (0.42, 0.3)
"""Least coherence of streaks in a colour that no stain of H&E has, and in one that eosin may have."""
_ONE_PIGMENT = 0.03
"""Marker of a colour that eosin may have is one pigment: 0.021 to 0.025 on a real slide, eosin beside fat 0.034."""
_SAME_PIGMENT = 0.15
"""Ratios of blue to green density that differ by less are of one marker."""
_MOST_CONTRAST = 0.2
_RING_UM = (16.0, 64.0)
_RING_GLASS, _NEAR_GLASS = 0.5, 0.5
"""Least fraction that is glass of a ring around streaked marker, and of the neighbourhood of its pixels."""
_NEIGHBOURHOOD_UM = 400.0
_GLASS_DENSITY = 25
"""Mean density up to which the ring is glass, units of 1/1024."""
_LEAST_DENSITY = 10


def strokes(
    density: NDArray[np.int16], candidates: NDArray[np.bool_], mpp: float, *, on_glass: bool = False
) -> NDArray[np.bool_]:
    """Return the pieces of a mask that have the texture of a pen.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    candidates : bool (h, w)
        Pixels of the colour of an ink.
    mpp : float
        Spacing of the low-power grid, um.
    on_glass : bool
        The colour is one that eosin can have: only the part that lies on glass is ink, and weaker streaks suffice.

    Returns
    -------
    bool (h, w)
        The 8-connected components that are ink.
    """
    labels, _ = ndimage.label(candidates, structure=_EIGHT)
    margin = um_to_px(_RING_UM[1], mpp) + um_to_px(_WINDOW_UM, mpp)
    ink = np.zeros_like(candidates)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        window = (
            slice(max(rows.start - margin, 0), rows.stop + margin),
            slice(max(columns.start - margin, 0), columns.stop + margin),
        )
        piece = labels[window] == label
        colour = density[:, window[0], window[1]].astype(np.float32)
        mean = colour.mean(axis=0)
        others = candidates[window] & ~piece
        if on_glass:
            piece = _on_glass(mean, piece, others, um_to_px(_NEIGHBOURHOOD_UM, mpp))
            if not piece.any() or _second_pigment(colour, piece) > _ONE_PIGMENT:
                continue
        if _is_stroke(mean, piece, others, mpp, on_glass=on_glass):
            ink[window] |= piece
    return ink


def same_pigment(
    density: NDArray[np.int16], candidates: NDArray[np.bool_], marker: NDArray[np.bool_], mpp: float
) -> NDArray[np.bool_]:
    """Return the pieces on glass that have the pigment of a marker that was found elsewhere on the slide.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    candidates : bool (h, w)
        Pixels that may be of the marker.
    marker : bool (h, w)
        Strokes of it.
    mpp : float
        Spacing of the low-power grid, um.

    Returns
    -------
    bool (h, w)
        Pixels of the candidates that are surrounded by glass and absorb blue over green as the strokes do.
    """
    known = _blue_over_green(density[:, marker])
    labels, _ = ndimage.label(candidates, structure=_EIGHT)
    side = um_to_px(_NEIGHBOURHOOD_UM, mpp)
    ink = np.zeros_like(candidates)
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        window = (
            slice(max(rows.start - side, 0), rows.stop + side),
            slice(max(columns.start - side, 0), columns.stop + side),
        )
        colour = density[:, window[0], window[1]].astype(np.float32)
        piece = labels[window] == label
        piece = _on_glass(colour.mean(axis=0), piece, (candidates | marker)[window] & ~piece, side)
        if piece.any() and abs(_blue_over_green(colour[:, piece]) / known - 1) <= _SAME_PIGMENT:
            ink[window] |= piece
    return ink


def _blue_over_green(colours: NDArray[Any]) -> float:
    """Return the blue over the green density of colours (3, n), summed."""
    return float(colours[2].sum(dtype=np.float64) / max(colours[1].sum(dtype=np.float64), 1.0))


def _is_stroke(
    mean: NDArray[np.float32], piece: NDArray[np.bool_], others: NDArray[np.bool_], mpp: float, *, on_glass: bool
) -> bool:
    """Return whether one piece, bool (h, w), has the texture of a pen; mean density float32 (h, w), others like it."""
    inner = ~isotropic_dilation(~piece, um_to_px(_INNER_UM, mpp))
    judged = inner if inner.any() else piece
    contrast = _contrast(mean, um_to_px(_WINDOW_UM, mpp), _NUCLEUS_UM / mpp)
    is_flat = bool((contrast[judged] < _FLAT_CONTRAST).mean() >= _FLAT_FRACTION)
    if is_flat:
        return True
    if not on_glass:
        near, far = (isotropic_dilation(piece, um_to_px(reach, mpp)) for reach in _RING_UM)
        ring = far & ~near & ~others
        if not ring.any() or (mean[ring] <= _GLASS_DENSITY).mean() < _RING_GLASS:
            return False
    elif np.median(contrast[piece]) > _MOST_CONTRAST:
        return False
    coherence = _coherence(mean, um_to_px(_WINDOW_UM, mpp))
    return bool(np.median(coherence[piece]) >= _COHERENT[on_glass])


def _on_glass(
    mean: NDArray[np.float32], piece: NDArray[np.bool_], others: NDArray[np.bool_], side: int
) -> NDArray[np.bool_]:
    """Return the pixels of a piece around which most of what is no ink is glass, bool (h, w)."""
    beside = ~piece & ~others
    glass = ndimage.uniform_filter((beside & (mean <= _GLASS_DENSITY)).astype(np.float32), side)
    return np.asarray(piece & (glass > _NEAR_GLASS * ndimage.uniform_filter(beside.astype(np.float32), side)))


def _second_pigment(colour: NDArray[np.float32], piece: NDArray[np.bool_]) -> float:
    """Return the spread of a piece's colours across their main direction, as a part of that along it.

    colour is float32 (3, h, w), piece bool (h, w). One pigment has one direction of optical density, through the glass.
    """
    smooth = np.stack([ndimage.uniform_filter(plane, 3)[piece] for plane in colour], axis=1).astype(np.float64)
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(smooth.T @ smooth / len(smooth)), 0.0))
    return float(spread[1] / max(spread[2], 1e-9))


def _contrast(mean: NDArray[np.float32], side: int, sigma: float) -> NDArray[np.float32]:
    """Return the relative contrast at the scale of nuclei, averaged over a window, float32 (h, w)."""
    fine = mean - ndimage.gaussian_filter(mean, sigma)
    power, level = ndimage.uniform_filter(fine * fine, side), ndimage.uniform_filter(mean, side)
    return np.asarray(np.sqrt(np.maximum(power, 0)) / np.maximum(level, _LEAST_DENSITY))


def _coherence(mean: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return how much of the gradient over a window runs in one direction, 0 to 1, float32 (h, w)."""
    down, right = np.gradient(ndimage.gaussian_filter(mean, 1.0) / OD_UNIT)
    yy, xx, yx = (ndimage.uniform_filter(product, side) for product in (down * down, right * right, down * right))
    return np.asarray(np.sqrt((yy - xx) ** 2 + 4 * yx * yx) / np.maximum(yy + xx, 1e-9))
