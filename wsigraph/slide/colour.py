"""Decoded samples as plain RGB on white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WHITE = 255
"""Value of every channel where a slide holds no pixel."""


Window = tuple[int, int]
"""Levels of 16-bit samples that become 0 and 255."""


def apply_window(samples: NDArray[np.uint16], window: Window) -> NDArray[np.uint8]:
    """Return 16-bit samples as 8-bit ones: linear inside a window, rounded half up, cut off outside.

    Parameters
    ----------
    samples : uint16 array
        Of any shape.
    window : tuple of int
        Levels that become 0 and 255, the lower first.

    Returns
    -------
    uint8 array
        Of the same shape.
    """
    low, high = window
    levels = np.clip(np.arange(65536, dtype=np.int64), low, high) - low
    return ((2 * WHITE * levels + (high - low)) // (2 * (high - low))).astype(np.uint8)[samples]


def to_rgb(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return samples as RGB, transparency laid over white.

    Parameters
    ----------
    samples : uint8 (h, w), (h, w, 1), (h, w, 2), (h, w, 3) or (h, w, 4)
        Grey, grey with alpha, RGB or RGB with alpha; alpha is not multiplied in.

    Returns
    -------
    uint8 (h, w, 3)
        RGB, contiguous; `samples` itself where it is that already.

    Raises
    ------
    ValueError
        If the samples have another shape.
    """
    cube = samples[..., np.newaxis] if samples.ndim == 2 else samples
    if cube.ndim != 3 or not 1 <= cube.shape[2] <= 4:
        raise ValueError(f"samples have shape {samples.shape}, expected (h, w) or (h, w, 1 to 4)")
    n_colours = 1 if cube.shape[2] <= 2 else 3
    colour = cube[..., :n_colours]
    if cube.shape[2] in (2, 4):
        colour = _over_white(colour, cube[..., -1:])
    return np.ascontiguousarray(np.broadcast_to(colour, (*cube.shape[:2], 3)))


def _over_white(colour: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if alpha.min(initial=WHITE) == WHITE:
        return colour
    cover = alpha.astype(np.uint32)
    blended = colour * cover + WHITE * (WHITE - cover)
    return ((blended + WHITE // 2) // WHITE).astype(np.uint8)
