"""What makes a tissue mask doubtful: no glass to compare with, tinted glass, tissue near the noise, colours of no H&E.

Each is a warning that names what was measured and the setting that changes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import px_to_mm2
from wsigraph.graph.tissue.artefact import ARTEFACT_GLASS
from wsigraph.graph.tissue.density import REDUCTION
from wsigraph.graph.tissue.faint import FaintTissue
from wsigraph.slide.colour import WHITE

_MOST_TISSUE = 0.95
_TINT_LEVELS = 16
_MOST_DOUBTFUL = 0.1
"""Area near the noise, as a fraction of the tissue, from which it is reported."""
_BROWN, _BLUE = 0.03, 0.02
"""Fraction of the tissue that is brown, or blue, from which another stain is named: on real H&E at most 0.020 (fat
under JPEG) and 0.005; a focus of DAB in faint hematoxylin has 0.050, a trichrome 0.081."""
_MOST_BLUE = 0.2
"""Fraction of the tissue that is blue from which a slide is refused: H&E beside neutral glass has at most 0.08."""
_LEAST_DENSITY = 150


def stain_warnings(density: NDArray[np.int16], tissue: NDArray[np.bool_]) -> tuple[str, ...]:
    """Return what is said where tissue has colours of another stain than hematoxylin and eosin.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    tissue : bool (h, w)
        The mask on the low-power grid.

    Returns
    -------
    tuple of str
        At most one sentence. A warning and no refusal: melanin, bile and hemosiderin are brown in H&E too.
    """
    brown, cold = other_colours(density, tissue)
    for fraction, least, colour, stains in (
        (brown, _BROWN, "brown, as DAB is", "h-dab"),
        (cold, _BLUE, "blue, as a trichrome, alcian blue or Perls' stain is", "trichrome, alcian-blue or perls"),
    ):
        if fraction >= least:
            return (
                f"{100 * fraction:.0f} % of the tissue is {colour}: if the section is not in hematoxylin and eosin, "
                f"say so with --stain ({stains}); its numbers mean nothing otherwise",
            )
    return ()


def judge_stain(density: NDArray[np.int16], tissue: NDArray[np.bool_], glass: NDArray[np.int64]) -> str:
    """Return why tissue is stained with something else than hematoxylin and eosin; empty where it may be those.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    tissue : bool (h, w)
        The mask on the low-power grid, without ink.
    glass : int64 (3,)
        Colour of the glass. Nothing is judged where none is seen or it is tinted: the tint is then in every colour.

    Returns
    -------
    str
        The reason, with the fraction that is blue. Brown is no reason: melanin, bile and hemosiderin are brown in H&E.
    """
    if glass.min() == WHITE or glass.max() - glass.min() > _TINT_LEVELS:
        return ""
    _, cold = other_colours(density, tissue)
    if cold < _MOST_BLUE:
        return ""
    return f"another stain ({100 * cold:.0f} % of its tissue is blue, as in a trichrome, alcian blue or Perls' stain)"


def other_colours(density: NDArray[np.int16], tissue: NDArray[np.bool_]) -> tuple[float, float]:
    """Return which fraction of tissue is brown and which is blue.

    Parameters
    ----------
    density : int16 (3, h, w)
        Optical density planes (R, G, B) in units of 1/1024, glass at zero.
    tissue : bool (h, w)
        The pixels that count.

    Returns
    -------
    brown, blue : float
        Fractions that absorb blue, and red, more than green by a margin that hematoxylin and eosin stay below.
    """
    red, green, blue = (plane[tissue] for plane in density)
    if not len(red):
        return 0.0, 0.0
    brown = (blue > green + green // 8 + 30) & (blue > _LEAST_DENSITY)
    cold = (red > green + green // 16 + 30) & (red > _LEAST_DENSITY)
    return float(brown.mean()), float(cold.mean())


def tissue_warnings(
    tissue: NDArray[np.bool_],
    artefact: NDArray[np.uint8],
    faint: FaintTissue,
    glass: NDArray[np.int64],
    mpp: float,
) -> tuple[str, ...]:
    """Return the warnings of a tissue mask.

    Parameters
    ----------
    tissue : bool (h, w)
        The mask on the low-power grid.
    artefact : uint8 (h, w)
        Artefact codes.
    faint : FaintTissue
        Thresholds, and what lies near the noise.
    glass : int64 (3,)
        Colour of the glass.
    mpp : float
        Spacing of the low-power grid, um.

    Returns
    -------
    tuple of str
        One sentence each.
    """
    warnings = []
    covered = (tissue | ((artefact > 0) & (artefact != ARTEFACT_GLASS))).mean()
    if covered > _MOST_TISSUE:
        warnings.append(
            f"tissue covers {100 * covered:.0f} % of the scanned area, so there is hardly any glass to compare it "
            "with; check the mask in report.png"
        )
    if glass.max() - glass.min() > _TINT_LEVELS:
        red, green, blue = glass.tolist()
        warnings.append(f"the glass is not neutral: its colour is ({red}, {green}, {blue}); densities are above it")
    doubtful = px_to_mm2(int(np.count_nonzero(faint.doubtful)), mpp * REDUCTION)
    tissue_mm2 = px_to_mm2(int(np.count_nonzero(tissue)), mpp)
    if doubtful > _MOST_DOUBTFUL * tissue_mm2:
        warnings.append(
            f"{doubtful:.3g} mm2 beside {tissue_mm2:.3g} mm2 of tissue is stained so faintly that it is near the "
            "noise of the glass, and was left out; lower tissue.noise_factor or tissue.min_saturation to keep it"
        )
    return tuple(warnings)
