"""Pen ink, told from stain by colour.

Hematoxylin and eosin both absorb green most. Paint that absorbs red more than green (blue, green), blue more than
green (brown, yellow), blue almost as much as green while red passes (red), or all three alike and much (black) is no
stain. Purple lies between the two stains; it is told only by absorbing far less blue than the slide's own tissue does,
so it passes unseen on slides whose stains leave blue alone. From a sure core, ink spreads through fainter paint of the
same kind as far as paint runs. Brown immunostains are taken for ink: the rules are for hematoxylin and eosin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.geometry import um2_to_px, um_to_px
from wsigraph.graph.tissue.density import extremes
from wsigraph.graph.tissue.mask_distance import within

_EIGHT = np.ones((3, 3), bool)
_RUN_UM = 400.0
"""How far faint paint is followed from a sure core."""
_PURPLE_OF_TYPICAL = 0.6
_PURPLE_LEAST_TYPICAL = 0.45
_WASH_UM = 60.0
_WASHED = 0.72
_WASHED_OF_TYPICAL = 1.35
"""Mean red over green density above which tissue beside ink is washed with it, alone and against the slide's own."""
_RATIO_UNIT = 256


def find_ink(density: NDArray[np.int16], config: TissueConfig) -> NDArray[np.bool_]:
    """Return where pen ink lies.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    config : TissueConfig
        Spacing of the lattice, least area of ink and its margin.

    Returns
    -------
    bool (h, w)
        True on ink.
    """
    smallest = um2_to_px(config.ink_min_area_um2, config.mpp)
    ink = np.zeros(density.shape[1:], bool)
    for kind, sure in _sure(density).items():
        core = _open(sure)
        if not core.any():
            continue
        labels, _ = ndimage.label(core, structure=_EIGHT)
        large = np.bincount(labels.ravel()) >= smallest
        large[0] = False
        if large.any():
            ink |= _followed(density, kind, np.asarray(large[labels]), config.mpp)
    return within(ink, um_to_px(config.ink_margin_um, config.mpp)) if ink.any() else ink


def _followed(density: NDArray[np.int16], kind: str, core: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Return a core of ink with the fainter paint of its kind that hangs together with it."""
    near = within(core, um_to_px(_RUN_UM, mpp))
    rows, columns = (_extent(np.asarray(near.any(axis=axis))) for axis in (1, 0))
    faint = _faint(density[:, rows, columns], kind, _typical(density, 0), um_to_px(_WASH_UM, mpp))
    paint = core.copy()
    paint[rows, columns] |= near[rows, columns] & faint
    labels, n_paints = ndimage.label(paint, structure=_EIGHT)
    reached = np.zeros(n_paints + 1, bool)
    reached[np.unique(labels[core])] = True
    return np.asarray(reached[labels])


def _open(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask opened by a square of two pixels; single pixels and hairlines go."""
    square = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
    opened = np.zeros_like(mask)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            opened[rows, columns] |= square
    return opened


def _sure(density: NDArray[np.int16]) -> dict[str, NDArray[np.bool_]]:
    """Return the pixels of each kind of paint that can be no stain."""
    red, green, blue = density
    lowest, highest = extremes(density)
    return {
        "cold": (red > green + green // 16 + 30) & (red > 150),
        "warm": (4 * blue > 3 * green) & (3 * red < green) & (green > 300),
        "brown": (blue > green + green // 8 + 60) & (blue > 300),
        "black": (lowest > 560) & (4 * (highest - lowest) < highest),
        "purple": _purple(density),
    }


def _faint(density: NDArray[np.int16], kind: str, typical_red: int, wash_px: int) -> NDArray[np.bool_]:
    """Return the pixels that may be a stroke's rim or thin end; tissue away from strokes is never asked."""
    red, green, blue = density
    if kind == "cold":
        # blue paint washed over tissue leaves green strongest, but shifts the mean of nuclei and stroma together
        mean_red, mean_green = (ndimage.uniform_filter(plane.astype(np.int32), wash_px) for plane in (red, green))
        limit = max(round(_WASHED * _RATIO_UNIT), round(_WASHED_OF_TYPICAL * typical_red))
        washed = (mean_red * _RATIO_UNIT > limit * mean_green) & (red > 60) & (red * 3 > green * 2)
        return np.asarray((red > green + green // 16 + 20) | washed)
    if kind == "warm":
        return np.asarray((3 * blue > 2 * green) & (2 * red < green) & (green > 200))
    if kind == "brown":
        return np.asarray((blue > green + green // 16 + 20) & (blue > 100))
    lowest, highest = extremes(density)
    if kind == "black":
        return np.asarray((lowest > 450) & (3 * (highest - lowest) < highest))
    return np.zeros(green.shape, bool)


def _extent(flags: NDArray[np.bool_]) -> slice:
    """Return the slice from the first to the last true element."""
    index = np.flatnonzero(flags)
    return slice(int(index[0]), int(index[-1]) + 1)


def _typical(density: NDArray[np.int16], channel: int) -> int:
    """Return the median ratio of a channel to green over stained pixels, in 1/256; 0 where nothing is stained."""
    red, green, blue = density
    stained = (green > 150) & (green >= red) & (green >= blue)
    ratio = np.clip(density[channel][stained].astype(np.int64) * _RATIO_UNIT // green[stained], 0, _RATIO_UNIT)
    if not len(ratio):
        return 0
    counts = np.cumsum(np.bincount(ratio))
    return int(np.searchsorted(counts, (counts[-1] + 1) // 2))


def _purple(density: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the dense pixels that absorb far less blue than the slide's tissue typically does."""
    red, green, blue = density
    typical = _typical(density, 2)
    if typical < _PURPLE_LEAST_TYPICAL * _RATIO_UNIT:
        return np.zeros(green.shape, bool)
    limit = round(_PURPLE_OF_TYPICAL * typical)
    dense = (green > 400) & (green >= red) & (green >= blue)
    return np.asarray(dense & (blue.astype(np.int32) * _RATIO_UNIT < limit * green.astype(np.int32)))
