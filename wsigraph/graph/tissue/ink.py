"""Pen ink, recognised by its colour.

Hematoxylin and eosin both absorb green most. With R, G, B the optical densities, six classes of ink break that rule, or
one of the slide's own:

======= ============================== ===========================================
class   colour of the pen              rule, up to a margin
======= ============================== ===========================================
cold    blue, green                    R > G
warm    red                            B > 3/4 G while R < 1/3 G
brown   brown, yellow                  B > G
black   black                          max - min < 1/4 max, and dense
purple  purple                         B / G far below the slide's median B / G
red     red, dried                     B / G above the slide's median B / G while R < 1/5 G
======= ============================== ===========================================

Purple lies between the two stains, so it is found only on slides whose tissue absorbs blue. From a core that meets the
rule, ink grows through connected, fainter pixels of the same class up to 400 um away.

A colour is no proof: DAB, trichrome, Perls, alcian blue and blood have these colours too. So each piece must also have
the texture of a pen (`wsigraph.graph.tissue.stroke`): flat, or streaked on glass. Where one stroke of dried red marker
has been found, smaller pieces of the same pigment on glass are its remains.

Limits: brown or purple marker that dried without streaks is tissue. No library has such rules: colour thresholds in
HSV, as tools for artefacts use them, depend on the scanner's white balance, while density above the glass does not.
Connected components and filters are scipy's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.geometry import um2_to_px, um_to_px
from wsigraph.graph.tissue.density import extremes
from wsigraph.graph.tissue.mask_distance import isotropic_dilation
from wsigraph.graph.tissue.section import close_gaps
from wsigraph.graph.tissue.stroke import same_pigment, strokes

_EIGHT = np.ones((3, 3), bool)
_RUN_UM = 400.0
"""Greatest distance from a core at which faint ink counts, um."""
_RUN_BLACK_UM = 600.0
_PURPLE_OF_TYPICAL = 0.6
"""Purple ink has at most this multiple of the slide's median ratio of blue to green density."""
_PURPLE_LEAST_TYPICAL = 0.45
"""Purple ink is only searched for where the median ratio of blue to green density is at least this."""
_WASH_UM = 60.0
"""Side of the window over which the ratio of red to green density is averaged to find washed tissue, um."""
_WASHED = 0.72
_WASHED_OF_TYPICAL = 1.35
"""Tissue near ink is washed with it where its mean ratio of red to green density exceeds `_WASHED` and exceeds this
multiple of the slide's median ratio."""
_RATIO_UNIT = 256
_FAINT_BLACK = 100
_STREAK_UM = 24.0
"""Half the distance between streaks of one stroke, um."""
_FAINT_RED = 40
_REMAINS = 8
"""Pieces of a marker that is known from a stroke count from this part of the least area of a stroke."""
_RED_ABOVE_TYPICAL = 20
_RED_LEAST, _RED_MOST = 140, 192
"""Dried red marker absorbs blue by this much more than the slide's tissue, over green, in bounds; units of 1/256."""


def find_ink(density: NDArray[np.int16], config: TissueConfig, *, stain: str = "h&e") -> NDArray[np.bool_]:
    """Return the mask of pen ink.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    config : TissueConfig
        Spacing of the low-power grid, least area of ink and the margin added around it.
    stain : str
        What the section is stained with. Of other stains than H&E only black can be told to be ink.

    Returns
    -------
    bool (h, w)
        True on ink.
    """
    smallest = um2_to_px(config.ink_min_area_um2, config.mpp)
    ink, red = np.zeros(density.shape[1:], bool), np.zeros(density.shape[1:], bool)
    for ink_class, core_mask in _core_masks(density).items():
        if stain != "h&e" and ink_class != "black":
            continue
        core = _open(core_mask)
        if not core.any():
            continue
        core = close_gaps(core, um_to_px(_STREAK_UM, config.mpp))
        labels, _ = ndimage.label(core, structure=_EIGHT)
        large = np.bincount(labels.ravel()) >= smallest
        large[0] = False
        if large.any():
            grown = _grow_core(density, ink_class, np.asarray(large[labels]), config.mpp)
            marker = strokes(density, grown, config.mpp, on_glass=ink_class == "red")
            ink |= marker
            if ink_class in ("warm", "red"):
                red |= marker
    if red.any():
        ink |= _remains(density, red, config.mpp, smallest // _REMAINS)
    return isotropic_dilation(ink, um_to_px(config.ink_margin_um, config.mpp)) if ink.any() else ink


def _grow_core(density: NDArray[np.int16], ink_class: str, core: NDArray[np.bool_], mpp: float) -> NDArray[np.bool_]:
    """Return a core of ink with the fainter ink of its class that is connected to it, bool (h, w)."""
    near = isotropic_dilation(core, um_to_px(_RUN_BLACK_UM if ink_class == "black" else _RUN_UM, mpp))
    rows, columns = (_extent(np.asarray(near.any(axis=axis))) for axis in (1, 0))
    faint = _faint_mask(density[:, rows, columns], ink_class, _typical(density, 0), um_to_px(_WASH_UM, mpp))
    paint = core.copy()
    paint[rows, columns] |= near[rows, columns] & faint
    labels, n_paints = ndimage.label(paint, structure=_EIGHT)
    reached = np.zeros(n_paints + 1, bool)
    reached[np.unique(labels[core])] = True
    return np.asarray(reached[labels])


def _remains(density: NDArray[np.int16], marker: NDArray[np.bool_], mpp: float, smallest: int) -> NDArray[np.bool_]:
    """Return pieces on glass of a dried red marker that is known from its strokes, bool (h, w)."""
    pale = close_gaps(_open(_dry_red(density, _FAINT_RED)) & ~marker, um_to_px(_STREAK_UM / 2, mpp))
    labels, _ = ndimage.label(pale, structure=_EIGHT)
    large = np.bincount(labels.ravel()) >= smallest
    large[0] = False
    return same_pigment(density, np.asarray(large[labels]), marker, mpp)


def _open(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the morphological opening by a square of 2 x 2 pixels, which removes single pixels and hairlines."""
    square = mask[:-1, :-1] & mask[1:, :-1] & mask[:-1, 1:] & mask[1:, 1:]
    opened = np.zeros_like(mask)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            opened[rows, columns] |= square
    return opened


def _core_masks(density: NDArray[np.int16]) -> dict[str, NDArray[np.bool_]]:
    """Return, for each class of ink, the pixels that no stain can explain, bool (h, w).

    density is int16 (3, h, w) in units of 1/1024; the constants added are margins against noise in the same units.
    """
    red, green, blue = density
    lowest, highest = extremes(density)
    return {
        "cold": (red > green + green // 16 + 30) & (red > 150),
        "warm": (4 * blue > 3 * green) & (3 * red < green) & (green > 300),
        "brown": (blue > green + green // 8 + 60) & (blue > 300),
        "black": (lowest > 560) & (4 * (highest - lowest) < highest),
        "purple": _purple(density),
        "red": _dry_red(density, 90),
    }


def _faint_mask(density: NDArray[np.int16], ink_class: str, typical_red: int, wash_px: int) -> NDArray[np.bool_]:
    """Return the pixels that may be the rim or thin end of a stroke: looser rules, used only near a core."""
    red, green, blue = density
    if ink_class == "cold":
        # under a wash of blue ink green is still the densest, but the mean over nuclei and stroma shifts to red
        mean_red, mean_green = (ndimage.uniform_filter(plane.astype(np.int32), wash_px) for plane in (red, green))
        limit = max(round(_WASHED * _RATIO_UNIT), round(_WASHED_OF_TYPICAL * typical_red))
        washed = (mean_red * _RATIO_UNIT > limit * mean_green) & (red > 60) & (red * 3 > green * 2)
        return np.asarray((red > green + green // 16 + 20) | washed)
    if ink_class == "warm":
        return np.asarray((3 * blue > 2 * green) & (2 * red < green) & (green > 200))
    if ink_class == "brown":
        return np.asarray((blue > green + green // 16 + 20) & (blue > 100))
    if ink_class == "red":
        return _dry_red(density, _FAINT_RED)
    lowest, highest = extremes(density)
    if ink_class == "black":
        # the worn end of a stroke is far paler than its core, and absorbs blue as much as green, which tissue does not
        worn = (lowest > _FAINT_BLACK) & (5 * (highest - lowest) < 2 * highest) & (16 * blue > 15 * green)
        return np.asarray(worn | ((lowest > 450) & (3 * (highest - lowest) < highest)))
    return np.zeros(green.shape, bool)


def _extent(flags: NDArray[np.bool_]) -> slice:
    """Return the slice from the first to the last true element."""
    index = np.flatnonzero(flags)
    return slice(int(index[0]), int(index[-1]) + 1)


def _typical(density: NDArray[np.int16], channel: int) -> int:
    """Return the median of D[channel] / D[green] over stained pixels, in units of 1/256; 0 if nothing is stained."""
    red, green, blue = density
    stained = (green > 150) & (green >= red) & (green >= blue)
    ratio = np.clip(density[channel][stained].astype(np.int64) * _RATIO_UNIT // green[stained], 0, _RATIO_UNIT)
    if not len(ratio):
        return 0
    counts = np.cumsum(np.bincount(ratio))
    return int(np.searchsorted(counts, (counts[-1] + 1) // 2))


def _dry_red(density: NDArray[np.int16], least: int) -> NDArray[np.bool_]:
    """Return the pixels of at least a green density in which eosin would absorb less blue, bool (h, w)."""
    red, green, blue = density
    limit = min(max(_typical(density, 2) + _RED_ABOVE_TYPICAL, _RED_LEAST), _RED_MOST)
    return np.asarray(
        (green > least) & (5 * red < green) & (blue.astype(np.int32) * _RATIO_UNIT > limit * green.astype(np.int32))
    )


def _purple(density: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Return the dense pixels whose ratio of blue to green density is far below the slide's median."""
    red, green, blue = density
    typical = _typical(density, 2)
    if typical < _PURPLE_LEAST_TYPICAL * _RATIO_UNIT:
        return np.zeros(green.shape, bool)
    limit = round(_PURPLE_OF_TYPICAL * typical)
    dense = (green > 400) & (green >= red) & (green >= blue)
    return np.asarray(dense & (blue.astype(np.int32) * _RATIO_UNIT < limit * green.astype(np.int32)))
