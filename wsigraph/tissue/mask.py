"""Tissue found on one global low-power lattice.

A stain leaves colour: tissue is where optical density above the glass differs between channels, or where it is
enclosed by such pixels. The threshold is Otsu's on the slide's integer histogram, held between fixed bounds: on a
slide that is all tissue Otsu would split tissue from tissue, and the upper bound keeps the pale part. The glass is
the commonest bright, neutral colour, so a grey ground is no tissue. Not optimal for unstained fat outside holes.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from wsigraph.config import TissueConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box, grid, ratio, um2_to_px, um_to_px
from wsigraph.records import TissueMap
from wsigraph.slide.reader import Slide
from wsigraph.slide.tiles import Progress, map_chunks
from wsigraph.tissue.artefact import ARTEFACT_INK, extremes, find_ink
from wsigraph.tissue.section import close_gaps, drop_debris, fill_holes, number_sections
from wsigraph.tissue.stain import count_colours, empty_histogram, estimate_stain

_OD_UNIT = 1024
_LATTICE_CHUNK_PX = 1024
_INK_MIN_AREA_UM2 = 40000.0
_INK_MARGIN_UM = 16.0
_GLASS_MIN_SHARE = 0.002
_OTSU_BOUNDS = (1.0, 2.5)


def find_tissue(
    slide: Slide,
    config: TissueConfig | None = None,
    *,
    working_mpp: float = 1.0,
    progress: Progress | None = None,
) -> TissueMap:
    """Return where tissue lies, what spoils it and how it is stained.

    Parameters
    ----------
    slide : Slide
        The slide.
    config : TissueConfig, optional
        Settings; the defaults where left out.
    working_mpp : float
        Pixel size at which the stains are sampled, um/px.
    progress : callable, optional
        Told (stage, done, total).

    Returns
    -------
    TissueMap
        On the lattice of ``config.mpp``.

    Raises
    ------
    NoTissue
        If nothing on the slide is tissue.
    SlideError
        If the slide cannot be read.

    Notes
    -----
    Time is linear in the slide's area on the lattice, which is held whole: 16 bytes a lattice pixel at the peak.
    """
    settings = config or TissueConfig()
    rgb = _read_lattice(slide, settings.mpp, progress)
    density = _density(rgb)
    density -= _glass(rgb)
    ink = np.zeros(density.shape[1:], bool)
    if settings.mask_ink:
        ink = find_ink(
            density,
            min_area_px=um2_to_px(_INK_MIN_AREA_UM2, settings.mpp),
            margin_px=um_to_px(_INK_MARGIN_UM, settings.mpp),
        )
    mask = _stained(density, ink, settings)
    if settings.close_um > 0:
        mask = close_gaps(mask, um_to_px(settings.close_um / 2, settings.mpp))
    mask = drop_debris(mask, um2_to_px(settings.min_area_um2, settings.mpp))
    mask = fill_holes(mask, um2_to_px(settings.max_hole_um2, settings.mpp)) & ~ink
    mask = drop_debris(mask, um2_to_px(settings.min_area_um2, settings.mpp))
    if not mask.any():
        raise NoTissue(
            f"slide {slide.info.slide_id!r} shows no tissue of at least {settings.min_area_um2:g} um2 "
            f"with a stain above the glass; lower tissue.min_saturation or tissue.min_area_um2 if there is some"
        )
    windows = _stain_windows(mask, slide, settings, working_mpp)
    counts = map_chunks(
        _count_colours, windows, slide, mask, settings.mpp, working_mpp, stage="stain", progress=progress
    )
    histogram = empty_histogram()
    for bins, pixels in counts:
        histogram[bins] += pixels
    return TissueMap(
        tissue=mask.astype(np.uint8),
        artefact=np.where(ink, ARTEFACT_INK, 0).astype(np.uint8),
        section=number_sections(mask),
        mpp=settings.mpp,
        stain=estimate_stain(histogram, method=settings.stain),
    )


def tissue_window(
    tissue: NDArray[np.uint8] | NDArray[np.bool_], lattice_mpp: float, box: Box, mpp: float
) -> NDArray[np.bool_]:
    """Return which working pixels of a box are tissue, by the lattice cell that holds each pixel's centre.

    Parameters
    ----------
    tissue : uint8 or bool (h, w)
        Tissue on the lattice.
    lattice_mpp, mpp : float
        Spacing of the lattice and of the working grid, um.
    box : Box
        Working pixels; must lie inside the slide.

    Returns
    -------
    bool (box.height, box.width)
        True on tissue.
    """
    step = ratio(lattice_mpp, mpp)
    rows = _cells(box.y0, box.y1, step, tissue.shape[0])
    columns = _cells(box.x0, box.x1, step, tissue.shape[1])
    return np.asarray(tissue[np.ix_(rows, columns)] != 0)


def _cells(start: int, stop: int, step: Fraction, n_cells: int) -> NDArray[np.int64]:
    pixel = np.arange(start, stop, dtype=np.int64)
    return np.minimum((2 * pixel + 1) * step.denominator // (2 * step.numerator), n_cells - 1)


def _read_lattice(slide: Slide, mpp: float, progress: Progress | None) -> NDArray[np.uint8]:
    size = slide.size(mpp)
    rgb = np.empty((size.height, size.width, 3), np.uint8)
    boxes = list(grid(size, _LATTICE_CHUNK_PX))
    for box, part in zip(boxes, map_chunks(_read, boxes, slide, mpp, stage="tissue", progress=progress), strict=True):
        rgb[box.slices] = part
    return rgb


def _read(box: Box, slide: Slide, mpp: float) -> NDArray[np.uint8]:
    return slide.read(box, mpp)


def _density(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return optical density planes in units of 1/1024, int32 (3, h, w), under a 3 x 3 binomial kernel."""
    table = np.round(-_OD_UNIT * np.log10((np.arange(256) + 1) / 256.0)).astype(np.int32)
    planes = np.stack([table[rgb[..., channel]] for channel in range(3)])
    for axis in (1, 2):
        planes = ndimage.correlate1d(planes, [1, 2, 1], axis=axis, mode="nearest")
    planes += 8
    planes >>= 4
    return np.asarray(planes)


def _glass(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the optical density of the commonest bright neutral colour, int32 (3, 1, 1); zero where there is none."""
    lowest, highest = extremes(rgb.transpose(2, 0, 1))
    pixels = rgb[(lowest >= 176) & (highest - lowest <= 16)]
    if len(pixels) < _GLASS_MIN_SHARE * lowest.size:
        return np.zeros((3, 1, 1), np.int32)
    colour = np.array([np.argmax(np.bincount(pixels[:, channel], minlength=256)) for channel in range(3)])
    return np.round(-_OD_UNIT * np.log10((colour + 1) / 256.0)).astype(np.int32)[:, None, None]


def _stained(density: NDArray[np.int32], ink: NDArray[np.bool_], settings: TissueConfig) -> NDArray[np.bool_]:
    """Return which lattice pixels hold stain."""
    lowest, highest = extremes(density)
    colour = np.clip(highest - lowest, 0, _OD_UNIT - 1)
    counts = np.bincount(colour[~ink], minlength=_OD_UNIT).astype(np.float64)
    low, high = (bound * settings.min_saturation * _OD_UNIT for bound in _OTSU_BOUNDS)
    threshold = np.clip(_otsu(counts), low, high)
    red, green, blue = density
    dense = red + green + blue >= 3 * settings.min_optical_density * _OD_UNIT
    greenest = green >= np.minimum(red, blue)
    return np.asarray((colour >= threshold) & dense & greenest & ~ink)


def _otsu(counts: NDArray[np.float64]) -> float:
    level = np.arange(len(counts))
    below, total = np.cumsum(counts), counts.sum()
    mass_below, mass = np.cumsum(counts * level), (counts * level).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass * below / total - mass_below) ** 2 / (below * (total - below))
    return float(np.argmax(np.where(np.isfinite(between), between, -1.0)))


def _stain_windows(mask: NDArray[np.bool_], slide: Slide, settings: TissueConfig, mpp: float) -> list[Box]:
    """Return the sampled windows: at most ``stain_windows`` of those at least half tissue, evenly in raster order."""
    side = um_to_px(settings.stain_window_um, mpp)
    size = slide.size(mpp)
    step = ratio(settings.mpp, mpp)
    boxes = list(grid(size, side))
    # share of tissue by the lattice points inside each window, from one cumulative table
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    table[1:, 1:] = mask.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    corners = np.array([[box.y0, box.x0, box.y1, box.x1] for box in boxes]) * step.denominator // step.numerator
    limit = np.array([mask.shape[0], mask.shape[1]] * 2)
    y0, x0, y1, x1 = np.minimum(corners, limit).T
    y1, x1 = np.minimum(np.maximum(y1, y0 + 1), limit[0]), np.minimum(np.maximum(x1, x0 + 1), limit[1])
    filled = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    share = filled / np.maximum((y1 - y0) * (x1 - x0), 1)
    for least in (0.5, 0.0):
        chosen = np.flatnonzero(share > least)
        if len(chosen):
            break
    n_windows = min(len(chosen), settings.stain_windows)
    picked = chosen[np.arange(n_windows) * len(chosen) // max(n_windows, 1)]
    return [boxes[index] for index in picked]


def _count_colours(
    box: Box, slide: Slide, mask: NDArray[np.bool_], lattice_mpp: float, mpp: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the colour bins of a window's tissue and their counts."""
    return count_colours(slide.read(box, mpp), tissue_window(mask, lattice_mpp, box, mpp))
