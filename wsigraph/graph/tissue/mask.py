"""Tissue, found on one global low-power grid.

Stains add colour: tissue is where the optical density above the glass differs between the channels, and what such
pixels enclose. Two masks are joined. The strong one gives sharp borders; with D the density of a pixel::

    saturation = max(D) - min(D) >= t  and  mean(D) >= min_optical_density  and  D_green >= min(D_red, D_blue)

t is Otsu's threshold on the slide's integer histogram of saturation, clipped to fixed bounds: on a slide that is all
tissue Otsu would split tissue from tissue, and the upper bound keeps its pale part. The faint one is fat, pale, faded
and mucinous tissue, by a mean over a window and the noise of the slide's own glass (`wsigraph.graph.tissue.faint`).
The glass is the commonest bright colour, grey or tinted, so it is not tissue. Enclosed glass that is larger than a few
fat cells, in lumina, vessels and tears, is an artefact code of its own and carries no region of the graph.

``skimage.filters.threshold_otsu`` rebuilds a float histogram from the pixels; the counts here are already integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import SlideConfig, TissueConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box, grid, um2_to_px, um_to_px, um_to_px_exact
from wsigraph.graph.tissue.artefact import (
    ARTEFACT_BLUR,
    ARTEFACT_EDGE,
    ARTEFACT_FOLD,
    ARTEFACT_GLASS,
    ARTEFACT_INK,
    ARTEFACTS,
    code_areas,
    masked_codes,
    write_codes,
)
from wsigraph.graph.tissue.density import (
    OD_UNIT,
    REDUCTION,
    density_above_glass,
    enlarge_mask,
    extremes,
    glass_colour,
    halve_planes,
)
from wsigraph.graph.tissue.faint import FaintTissue, find_faint
from wsigraph.graph.tissue.focus import find_blur
from wsigraph.graph.tissue.ink import find_ink
from wsigraph.graph.tissue.limits import limit_tissue
from wsigraph.graph.tissue.line import find_lines
from wsigraph.graph.tissue.quality import judge_stain, stain_warnings, tissue_warnings
from wsigraph.graph.tissue.section import close_gaps, drop_debris, drop_rims, fill_holes, number_sections
from wsigraph.graph.tissue.stain import estimate_stain
from wsigraph.graph.tissue.stain_sample import sample_colours
from wsigraph.graph.tissue.suitability import judge_channels, judge_ground, judge_texture, require_he
from wsigraph.records import TissueMap
from wsigraph.slide.colour import WHITE
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide
from wsigraph.slide.roi import Roi

_GRID_CHUNK_PX = 1024
_RIM_UM = 40.0
"""Half the width of the faded border that ink may have on glass, um."""
_DEBRIS_FRACTION = 0.25
_GREY = 20
"""Saturation of less than one over this of the sum of the densities is grey."""
_OTSU_BOUNDS = (0.02, 0.05)
"""Least and most optical density by which the channels of strongly stained tissue differ."""


def find_tissue(
    slide: Slide,
    config: TissueConfig | None = None,
    *,
    suitability: SlideConfig | None = None,
    working_mpp: float = 1.0,
    roi: Roi | Path | str | None = None,
    tissue_mask: Roi | Path | str | None = None,
    progress: Progress | None = None,
) -> TissueMap:
    """Return the tissue mask, the artefacts, the sections and the stain vectors of a slide.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    config : TissueConfig, optional
        Settings; the defaults if omitted.
    suitability : SlideConfig, optional
        Which slides count as no H&E section, and whether they pass with the reason in the map.
    working_mpp : float
        Pixel size at which the stains are sampled, um/px.
    roi : Roi, Path or str, optional
        Regions or their file; tissue outside them is not used.
    tissue_mask : Roi, Path or str, optional
        Regions or their file that are taken as the tissue, in place of what would be found.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    TissueMap
        Masks on the low-power grid of ``config.mpp``.

    Raises
    ------
    NoTissue
        If nothing on the slide is tissue.
    NotHE
        If the slide is no H&E section (`wsigraph.graph.tissue.suitability`).
    SlideError
        If the slide cannot be read, or a file of regions does not fit it.

    Notes
    -----
    Time is linear in the slide's area. The low-power grid is held whole: about 32 bytes a grid pixel at the peak.
    """
    settings, suited = config or TissueConfig(), suitability or SlideConfig()
    name = slide.info.slide_id
    refusal = require_he(name, judge_channels(slide.channels), suited)
    rgb = _read_grid(slide, settings.mpp, progress)
    refusal = refusal or require_he(name, judge_ground(rgb, suited), suited)
    glass = glass_colour(rgb)
    density = density_above_glass(rgb, glass)
    masked = masked_codes(settings)
    artefact_masks = {ARTEFACT_INK: find_ink(density, settings, stain=suited.stain)}
    excluded = _union(artefact_masks, masked, density.shape[1:])
    halved, rim_px = halve_planes(density), um_to_px(_RIM_UM, settings.mpp)
    faint = find_faint(halved, excluded[::REDUCTION, ::REDUCTION], settings)
    mask = _whole_pieces(drop_rims(_stained(density, faint, excluded, settings), excluded, rim_px), excluded, settings)
    artefact_masks[ARTEFACT_BLUR] = find_blur(slide, mask, settings, progress)
    artefact_masks[ARTEFACT_EDGE], artefact_masks[ARTEFACT_FOLD] = find_lines(halved, mask, settings)
    artefact_masks[ARTEFACT_GLASS] = fill_holes(mask, mask.size) & ~mask
    artefact = write_codes(mask.shape, artefact_masks)
    excluded = _union(artefact_masks, masked, mask.shape)
    if (mask & excluded).any():
        mask = drop_debris(mask & ~excluded, _min_area_px(mask.shape, settings))
    mask = limit_tissue(slide, mask, settings.mpp, roi=roi, tissue_mask=tissue_mask)
    if not mask.any():
        raise NoTissue(_no_tissue(slide, artefact, faint, settings))
    if not refusal and suited.stain == "h&e":
        refusal = require_he(name, judge_stain(density, mask & (artefact != ARTEFACT_INK), glass), suited)
    if not refusal:
        spacing = {"grid_mpp": settings.mpp, "working_mpp": working_mpp}
        refusal = require_he(name, judge_texture(slide, rgb, mask, suited, **spacing, progress=progress), suited)
    histogram = sample_colours(slide, density, mask, settings, working_mpp, progress)
    return TissueMap(
        tissue=mask.astype(np.uint8),
        artefact=artefact,
        section=number_sections(
            mask, round(um_to_px_exact(settings.section_gap_um, settings.mpp)), settings.section_min_fraction
        ),
        mpp=settings.mpp,
        stain=estimate_stain(histogram, method=settings.stain, name=suited.stain),
        refusal=refusal,
        warnings=(
            # where no glass is seen, the tint of the light is in every colour
            *(stain_warnings(density, mask) if suited.stain == "h&e" and glass.min() < WHITE else ()),
            *tissue_warnings(mask, artefact, faint, glass, settings.mpp),
        ),
    )


def _read_grid(slide: Slide, mpp: float, progress: Progress | None) -> NDArray[np.uint8]:
    size = slide.size(mpp)
    rgb = np.empty((size.height, size.width, 3), np.uint8)
    boxes = list(grid(size, _GRID_CHUNK_PX))
    for box, part in zip(boxes, map_chunks(_read, boxes, slide, mpp, stage="tissue", progress=progress), strict=True):
        rgb[box.slices] = part
    return rgb


def _read(box: Box, slide: Slide, mpp: float) -> NDArray[np.uint8]:
    return slide.read(box, mpp)


def _union(
    artefact_masks: Mapping[int, NDArray[np.bool_]], codes: tuple[int, ...], shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return the union of the masks of the given artefact codes, bool (h, w)."""
    union = np.zeros(shape, bool)
    for code in codes:
        if code in artefact_masks:
            union |= artefact_masks[code]
    return union


def _no_tissue(slide: Slide, artefact: NDArray[np.uint8], faint: FaintTissue, settings: TissueConfig) -> str:
    areas = code_areas(artefact, settings.mpp)
    excluded = ", ".join(f"{ARTEFACTS[code]} {areas[ARTEFACTS[code]]:.3g} mm2" for code in np.unique(artefact) if code)
    red, blue = faint.thresholds
    by_noise = max(faint.noise) * settings.noise_factor > settings.min_saturation
    lower = "tissue.noise_factor" if by_noise else "tissue.min_saturation"
    return (
        f"slide {slide.info.slide_id!r} shows no tissue of at least {settings.min_area_um2:g} um2 with a stain above "
        f"the glass (green over red density at least {red:.4f}, over blue {blue:.4f}); lower {lower} or "
        "tissue.min_area_um2 if there is some"
        + (f" (left out: {excluded}; the switches tissue.mask_... keep them)" if excluded else "")
        + ("; if it is an IHC or special stain, say so with --stain" if (artefact == ARTEFACT_INK).any() else "")
    )


def _min_area_px(shape: tuple[int, ...], settings: TissueConfig) -> int:
    """Return the least piece of tissue: on a tile that is hardly larger than debris, a quarter of the tile."""
    return min(um2_to_px(settings.min_area_um2, settings.mpp), math.ceil(shape[0] * shape[1] * _DEBRIS_FRACTION))


def _whole_pieces(stained: NDArray[np.bool_], excluded: NDArray[np.bool_], settings: TissueConfig) -> NDArray[np.bool_]:
    """Return the stained pixels with gaps closed, debris removed and holes filled, without the excluded pixels."""
    min_area_px = _min_area_px(stained.shape, settings)
    mask = stained
    if settings.close_um > 0:
        mask = close_gaps(mask, um_to_px(settings.close_um / 2, settings.mpp))
    mask = drop_debris(mask, min_area_px)
    mask = fill_holes(mask, um2_to_px(settings.max_hole_um2, settings.mpp))
    return drop_debris(mask & ~excluded, min_area_px) if excluded.any() else mask


def _stained(
    density: NDArray[np.int16], faint: FaintTissue, excluded: NDArray[np.bool_], settings: TissueConfig
) -> NDArray[np.bool_]:
    """Return the pixels of the low-power grid that hold stain, strong or faint, bool (h, w)."""
    lowest, highest = extremes(density)
    saturation = np.minimum(highest - lowest, OD_UNIT - 1)
    counts = np.bincount((saturation[~excluded] if excluded.any() else saturation).ravel(), minlength=OD_UNIT).astype(
        np.float64
    )
    low, high = (bound * OD_UNIT for bound in _OTSU_BOUNDS)
    threshold = np.clip(_otsu(counts), low, high)
    red, green, blue = density
    dense = red + green + blue >= math.ceil(3 * settings.min_optical_density * OD_UNIT)
    greenest = green >= np.minimum(red, blue)
    # shadows and the edges of the slide are grey, with a little colour from compression
    coloured = _GREY * saturation >= red + green + blue
    strong = (saturation >= math.ceil(threshold)) & dense & greenest & coloured
    return np.asarray((strong | enlarge_mask(faint.mask, strong.shape)) & ~excluded)


def _otsu(counts: NDArray[np.float64]) -> float:
    """Return the level that maximises the between-class variance of a histogram, float64 (levels,)."""
    level = np.arange(len(counts))
    below, total = np.cumsum(counts), counts.sum()
    mass_below, mass = np.cumsum(counts * level), (counts * level).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass * below / total - mass_below) ** 2 / (below * (total - below))
    return float(np.argmax(np.where(np.isfinite(between), between, -1.0)))
