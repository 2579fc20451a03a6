"""What is on a slide and is not tissue to analyse: the reason codes, and how much area each takes.

Where several reasons hold, the lowest code is written. Ink, edges and blur are left out of the tissue by default: none
of them shows tissue as it is. Folds are written down but stay in the tissue: they are tissue, dark nests of epithelium
look much like them, and leaving out a nest costs more than measuring a fold. Each choice is one switch in
`TissueConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import TissueConfig
from wsigraph.geometry import px_to_mm2
from wsigraph.records import TissueMap

ARTEFACT_NONE = 0
ARTEFACT_INK = 1
ARTEFACT_EDGE = 2
ARTEFACT_BLUR = 3
ARTEFACT_FOLD = 4
ARTEFACTS: dict[int, str] = {
    ARTEFACT_NONE: "none",
    ARTEFACT_INK: "pen ink",
    ARTEFACT_EDGE: "coverslip edge or bubble rim",
    ARTEFACT_BLUR: "out of focus",
    ARTEFACT_FOLD: "fold",
}
"""Reason of each artefact code."""


def artefact_areas(tissue: TissueMap) -> dict[str, float]:
    """Return the area of each artefact.

    Parameters
    ----------
    tissue : TissueMap
        The map.

    Returns
    -------
    dict of str to float
        mm2 by reason, in the order of the codes; a reason that is nowhere has 0. Ink and edges count on glass too.
    """
    return code_areas(tissue.artefact, tissue.mpp)


def code_areas(artefact: NDArray[np.uint8], mpp: float) -> dict[str, float]:
    """Return the area of each artefact on a lattice of codes.

    Parameters
    ----------
    artefact : uint8 (h, w)
        Codes.
    mpp : float
        Spacing of the lattice, um.

    Returns
    -------
    dict of str to float
        mm2 by reason, in the order of the codes.
    """
    counts = np.bincount(artefact.ravel(), minlength=max(ARTEFACTS) + 1)
    return {reason: px_to_mm2(int(counts[code]), mpp) for code, reason in ARTEFACTS.items() if code}


def masked_codes(config: TissueConfig) -> tuple[int, ...]:
    """Return the codes of the artefacts that a configuration leaves out of the tissue."""
    switches = {
        ARTEFACT_INK: config.mask_ink,
        ARTEFACT_EDGE: config.mask_edge,
        ARTEFACT_BLUR: config.mask_blur,
        ARTEFACT_FOLD: config.mask_fold,
    }
    return tuple(code for code, is_masked in switches.items() if is_masked)


def write_codes(shape: tuple[int, int], found: Mapping[int, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Return the artefact codes of a lattice.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the lattice.
    found : mapping of int to bool (h, w)
        Where each code holds.

    Returns
    -------
    uint8 (h, w)
        The lowest code that holds, 0 where none does.
    """
    codes = np.zeros(shape, np.uint8)
    for code in sorted(found, reverse=True):
        codes[found[code]] = code
    return codes
