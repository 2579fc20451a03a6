"""Codes of the artefacts on a slide, and the area of each.

Where several artefacts hold, the lowest code is written. Ink, coverslip edges and blur are removed from the tissue by
default, because none of them shows the tissue as it is. Folds are recorded but stay in the tissue: dense nests of
epithelium look much like folds, and losing a nest costs more than measuring a fold. Each choice is one switch in
`TissueConfig`. Glass inside tissue, in lumina, vessels and tears, is never tissue; how large it must be is a setting.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import TissueConfig
from wsigraph.geometry import px_to_mm2, um_to_px
from wsigraph.graph.tissue.section import close_gaps, fill_holes
from wsigraph.records import TissueMap

ARTEFACT_NONE = 0
ARTEFACT_INK = 1
ARTEFACT_EDGE = 2
ARTEFACT_BLUR = 3
ARTEFACT_FOLD = 4
ARTEFACT_GLASS = 5
ARTEFACTS: dict[int, str] = {
    ARTEFACT_NONE: "none",
    ARTEFACT_INK: "pen ink",
    ARTEFACT_EDGE: "coverslip edge or bubble rim",
    ARTEFACT_BLUR: "out of focus",
    ARTEFACT_FOLD: "fold",
    ARTEFACT_GLASS: "glass inside tissue",
}
"""Name of each artefact code."""
KEPT_BY: dict[int, str] = {
    ARTEFACT_INK: "tissue.mask_ink=false",
    ARTEFACT_EDGE: "tissue.mask_edge=false",
    ARTEFACT_BLUR: "tissue.mask_blur=false",
    ARTEFACT_FOLD: "tissue.mask_fold=false",
    ARTEFACT_GLASS: "a larger tissue.max_hole_um2",
}
"""Setting that keeps each artefact in the tissue."""
_HULL_UM = 100.0
"""Ink and edges are inside the tissue where gaps of twice this width, bridged, hold them."""


def artefact_areas(tissue: TissueMap) -> dict[str, float]:
    """Return the area of each artefact.

    Parameters
    ----------
    tissue : TissueMap
        Tissue map with artefact codes.

    Returns
    -------
    dict of str to float
        mm2 by name of the artefact, in the order of the codes; 0 for artefacts that do not occur. Ink and edges on
        glass count too.
    """
    return code_areas(tissue.artefact, tissue.mpp)


def artefact_facts(tissue: TissueMap) -> list[dict[str, float | str]]:
    """Return what was found of each artefact on a slide, how much lies inside the tissue, and what keeps it.

    Parameters
    ----------
    tissue : TissueMap
        Tissue map with artefact codes.

    Returns
    -------
    list of dict
        One for each artefact that occurs, in the order of the codes: ``name``, ``mm2`` in all, ``inside_mm2`` inside
        the outline of the tissue, ``left_out_mm2`` of that without regions, ``kept_by`` the setting that keeps it.
    """
    codes = [code for code in np.unique(tissue.artefact).tolist() if code in KEPT_BY]
    if not codes:
        return []
    is_tissue = tissue.tissue > 0
    section = is_tissue | np.isin(tissue.artefact, (ARTEFACT_BLUR, ARTEFACT_FOLD, ARTEFACT_GLASS))
    hull = fill_holes(close_gaps(section, um_to_px(_HULL_UM, tissue.mpp)), section.size)
    facts: list[dict[str, float | str]] = []
    for code in codes:
        here = tissue.artefact == code
        areas = {"mm2": here, "inside_mm2": here & hull, "left_out_mm2": here & hull & ~is_tissue}
        measured = {name: px_to_mm2(int(np.count_nonzero(mask)), tissue.mpp) for name, mask in areas.items()}
        facts.append({"name": ARTEFACTS[code], **measured, "kept_by": KEPT_BY[code]})
    return facts


def section_areas(tissue: TissueMap) -> list[float]:
    """Return the tissue of each cross-section in mm2, in the order of their numbers."""
    counts = np.bincount(tissue.section.ravel())[1:]
    return [px_to_mm2(int(count), tissue.mpp) for count in counts]


def code_areas(artefact: NDArray[np.uint8], mpp: float) -> dict[str, float]:
    """Return the area of each artefact on a grid of codes.

    Parameters
    ----------
    artefact : uint8 (h, w)
        Artefact codes.
    mpp : float
        Spacing of the grid, um.

    Returns
    -------
    dict of str to float
        mm2 by name of the artefact, in the order of the codes.
    """
    counts = np.bincount(artefact.ravel(), minlength=max(ARTEFACTS) + 1)
    return {reason: px_to_mm2(int(counts[code]), mpp) for code, reason in ARTEFACTS.items() if code}


def masked_codes(config: TissueConfig) -> tuple[int, ...]:
    """Return the codes of the artefacts that a configuration removes from the tissue."""
    switches = {
        ARTEFACT_INK: config.mask_ink,
        ARTEFACT_EDGE: config.mask_edge,
        ARTEFACT_BLUR: config.mask_blur,
        ARTEFACT_FOLD: config.mask_fold,
    }
    return tuple(code for code, is_masked in switches.items() if is_masked)


def write_codes(shape: tuple[int, int], masks: Mapping[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Return the artefact codes of a grid.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the grid.
    masks : mapping of int to bool (h, w)
        Mask of each code.

    Returns
    -------
    uint8 (h, w)
        The lowest code whose mask holds; 0 if none does.
    """
    codes = np.zeros(shape, np.uint8)
    for code in sorted(masks, reverse=True):
        codes[masks[code]] = code
    return codes
