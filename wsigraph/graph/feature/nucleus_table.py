"""One row for every nucleus of a slide: position, size, shape, stain, type and outline.

The slide is divided into the fixed windows of the detector; those without tissue are not read. A nucleus belongs to the
window that holds its rounded centroid, so that each is counted once, and it counts if that pixel is tissue. Rows are in
the order of the windows, then in raster order inside a window, whatever finishes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import SlideError
from wsigraph.geometry import Box, Size, grid, px_to_mm2, px_to_um, px_to_um2, ratio
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.detect import COARSEST_MPP, NucleusDetector, detected, shown_window
from wsigraph.graph.feature.moments import ECCENTRICITY_UNIT, OD_UNIT
from wsigraph.graph.feature.nuclei import AREA, ECCENTRICITY, STAIN, X, Y, measure_spots
from wsigraph.graph.feature.nucleus_outlines import convex_areas, trace_outlines
from wsigraph.graph.tissue.window import tissue_box
from wsigraph.kernels import njit
from wsigraph.records import TissueMap
from wsigraph.slide.map_boxes import Progress, map_chunks

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide
    from wsigraph.slide.roi import Roi

UNKNOWN = "unknown"
"""Type of a nucleus of which the detector is not sure, or knows none."""


@dataclass(frozen=True, slots=True, eq=False)
class NucleusTable:
    """Nuclei of a slide, one row each.

    Attributes
    ----------
    columns : dict of str to array (n,)
        ``x_um``, ``y_um`` (centroid), ``area_um2``, ``eccentricity``, ``solidity``, ``hematoxylin``,
        ``hematoxylin_sd`` (optical density), ``probability``, ``type`` (index into `types`, -1 is unknown),
        ``type_probability``, ``nearest_um`` (distance to the nearest other nucleus), ``section``.
    types : tuple of str
        Types that the detector knows.
    points : int32 (P, 2)
        Points (x, y) of one outline after another, half pixels at `mpp`.
    start : int64 (n + 1,)
        Start of each outline in `points`.
    mpp : float
        Pixel size of the windows, um.
    tissue_mm2 : dict of int to float
        Area of tissue of each section.
    """

    columns: dict[str, NDArray[Any]]
    types: tuple[str, ...]
    points: NDArray[np.int32]
    start: NDArray[np.int64]
    mpp: float
    tissue_mm2: dict[int, float]

    @property
    def n_nuclei(self) -> int:
        """Number of nuclei."""
        return len(self.columns["x_um"])

    def type_names(self) -> list[str]:
        """Return the type of every nucleus by name."""
        names = [*self.types, UNKNOWN]
        return [names[index] for index in self.columns["type"].tolist()]

    def outline_um(self, nucleus: int) -> NDArray[np.float64]:
        """Return the outline of one nucleus, points (x, y) in um."""
        ring = self.points[self.start[nucleus] : self.start[nucleus + 1]]
        return np.asarray(ring * (self.mpp / 2), np.float64)

    def densities(self) -> dict[str, Any]:
        """Return counts, and counts a mm2 of tissue, of all nuclei, by type and by section."""
        area = sum(self.tissue_mm2.values())
        kinds = self.columns["type"]
        names = [*self.types, UNKNOWN] if self.types else []
        by_type = {
            name: int((kinds == (index if index < len(self.types) else -1)).sum()) for index, name in enumerate(names)
        }
        sections = self.columns["section"]
        return {
            "nuclei": self.n_nuclei,
            "tissue_mm2": area,
            "per_mm2": self.n_nuclei / area if area else 0.0,
            "types": {name: {"nuclei": n, "per_mm2": n / area if area else 0.0} for name, n in by_type.items()},
            "sections": {
                str(number): {"nuclei": (n := int((sections == number).sum())), "tissue_mm2": mm2, "per_mm2": n / mm2}
                for number, mm2 in self.tissue_mm2.items()
            },
        }


def densities_by_class(table: NucleusTable, tissue: TissueMap, roi: Roi) -> dict[str, dict[str, float]]:
    """Return counts, and counts a mm2 of tissue, in the regions of each class.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of the slide.
    tissue : TissueMap
        Tissue of the same slide.
    roi : Roi
        Regions with classes. Where two overlap, a nucleus counts in both.

    Returns
    -------
    dict of str to dict
        By class: ``nuclei``, ``tissue_mm2`` and ``per_mm2``; empty if the regions have no class.
    """
    whole = Box.whole(Size(*tissue.tissue.shape))
    cell = [(table.columns[name] / tissue.mpp).astype(np.int64) for name in ("y_um", "x_um")]
    row, column = (np.clip(part, 0, length - 1) for part, length in zip(cell, tissue.tissue.shape, strict=True))
    result = {}
    for name, inside in zip(roi.class_names, roi.in_classes(whole, tissue.mpp), strict=True):
        mm2 = px_to_mm2(float((inside & (tissue.tissue > 0)).sum()), tissue.mpp)
        n = int(inside[row, column].sum())
        result[name] = {"nuclei": n, "tissue_mm2": mm2, "per_mm2": n / mm2 if mm2 else 0.0}
    return result


def check_resolution(slide: Slide) -> None:
    """Refuse a slide that is too coarse for nuclei.

    Parameters
    ----------
    slide : Slide
        Slide to read.

    Raises
    ------
    SlideError
        If its full resolution is coarser than 1.2 um/px.
    """
    if slide.info.mpp > COARSEST_MPP:
        raise SlideError(
            f"slide {slide.info.slide_id!r} has {slide.info.mpp:g} um/px, nuclei need {COARSEST_MPP:g} um/px or finer; "
            "scan it at 10x or more, or set feature.nuclei=none"
        )


def find_nuclei(
    slide: Slide,
    tissue: TissueMap,
    detector: NucleusDetector,
    *,
    box: Box | None = None,
    least_type: float = 0.5,
    progress: Progress | None = None,
) -> NucleusTable:
    """Return every nucleus in the tissue of a slide.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    tissue : TissueMap
        Tissue and stains of the slide.
    detector : NucleusDetector
        Detector; it is only called for windows that hold tissue.
    box : Box, optional
        Only nuclei whose centroid lies in this box of level-0 pixels.
    least_type : float
        Probability under which a type is unknown.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    NucleusTable
        One row for each nucleus.

    Raises
    ------
    SlideError
        If the slide is coarser than 1.2 um/px, or cannot be read.
    PluginError
        If the detector returns another shape or dtype than documented.
    """
    check_resolution(slide)
    boxes: Sequence[Box] = [
        core
        for core in grid(slide.size(detector.mpp), detector.window_px)
        if not tissue_box(tissue.tissue, tissue.mpp, core, detector.mpp).is_empty
    ]
    part = None
    if box is not None:
        part = _pixels_in(box, ratio(detector.mpp, slide.info.mpp))
        boxes = [core for core in boxes if not core.intersect(part).is_empty]
    windows = map_chunks(_measure_window, boxes, slide, tissue, detector, part, stage="nuclei", progress=progress)
    types = tuple(getattr(detector, "types", ()))
    measured = np.concatenate([np.zeros((0, _N_COLUMNS)), *(window[0] for window in windows)])
    kinds = np.concatenate([np.zeros((0, len(types)), np.float32), *(window[1] for window in windows)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(window[3] for window in windows)])
    return NucleusTable(
        columns=_columns(measured, kinds, least_type),
        types=types,
        points=np.concatenate([np.zeros((0, 2), np.int32), *(window[2] for window in windows)]),
        start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        mpp=detector.mpp,
        tissue_mm2=_tissue_mm2(tissue, slide, box),
    )


_NAMES = (
    "x_um",
    "y_um",
    "area_um2",
    "eccentricity",
    "solidity",
    "hematoxylin",
    "hematoxylin_sd",
    "probability",
    "section",
)
_N_COLUMNS = len(_NAMES)
_Window = tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int32], NDArray[np.int64]]


def _measure_window(core: Box, slide: Slide, tissue: TissueMap, detector: NucleusDetector, part: Box | None) -> _Window:
    """Return columns `_NAMES`, type probabilities, outlines and their lengths for the nuclei that a window owns."""
    mpp = detector.mpp
    window = shown_window(core, tissue, detector)
    rgb = slide.read(window, mpp)
    nuclei = detected(rgb, detector)
    n = int(nuclei.instances.max(initial=0))
    hematoxylin, _ = concentrations(rgb, tissue.stain)
    spots = measure_spots(nuclei.instances, n, hematoxylin)
    y, x = spots[:, Y] + window.y0, spots[:, X] + window.x0
    section = _section(tissue, y, x, mpp)
    inside = core if part is None else core.intersect(part)
    owned = (spots[:, AREA] > 0) & (y >= inside.y0) & (y < inside.y1) & (x >= inside.x0) & (x < inside.x1)
    rows = np.flatnonzero(owned & (section > 0))
    points, start = trace_outlines(nuclei.instances, n)
    area = convex_areas(points, start)
    spread = _stain_sd(nuclei.instances, n, hematoxylin)
    columns = [
        px_to_um(1.0, mpp) * (x + 0.5),
        px_to_um(1.0, mpp) * (y + 0.5),
        px_to_um2(1.0, mpp) * spots[:, AREA],
        spots[:, ECCENTRICITY] / ECCENTRICITY_UNIT,
        area[:, 0] / np.maximum(area[:, 1], 1e-9),
        spots[:, STAIN] / OD_UNIT,
        spread,
        nuclei.probability.astype(np.float64),
        section.astype(np.float64),
    ]
    chosen = np.concatenate([np.zeros(0, np.int64), *(np.arange(start[row], start[row + 1]) for row in rows)])
    corner = np.array([2 * window.x0, 2 * window.y0], np.int32)
    lengths = (start[1:] - start[:-1])[rows]
    return np.stack(columns, axis=1)[rows], nuclei.type_probability[rows], points[chosen] + corner, lengths


def _pixels_in(box: Box, step: Fraction) -> Box:
    """Return the pixels, `step` wide, whose middles lie in a box of level-0 pixels."""
    y0, x0, y1, x1 = (ceil(edge / step - Fraction(1, 2)) for edge in (box.y0, box.x0, box.y1, box.x1))
    return Box(y0=y0, x0=x0, y1=y1, x1=x1)


def _section(tissue: TissueMap, y: NDArray[np.int64], x: NDArray[np.int64], mpp: float) -> NDArray[np.int64]:
    """Return the section under each pixel of the windows' grid, 0 off the tissue."""
    step = ratio(tissue.mpp, mpp)
    height, width = tissue.tissue.shape
    row = (2 * y + 1) * step.denominator // (2 * step.numerator)
    column = (2 * x + 1) * step.denominator // (2 * step.numerator)
    on = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    return np.where(on & (tissue.tissue[row, column] > 0), np.maximum(tissue.section[row, column], 1), 0).astype(
        np.int64
    )


def _columns(measured: NDArray[np.float64], kinds: NDArray[np.float32], least_type: float) -> dict[str, NDArray[Any]]:
    """Return the columns of the table."""
    columns: dict[str, NDArray[Any]] = dict(zip(_NAMES, measured.T, strict=True))
    section = columns.pop("section").astype(np.int32)
    n = len(measured)
    best = kinds.argmax(axis=1) if kinds.shape[1] else np.full(n, -1)
    sure = kinds.max(axis=1, initial=0.0)
    columns["type"] = np.where(sure >= least_type, best, -1).astype(np.int16)
    columns["type_probability"] = sure.astype(np.float64)
    columns["nearest_um"] = _nearest(np.stack([columns["x_um"], columns["y_um"]], axis=1))
    columns["section"] = section
    return columns


def _nearest(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance to the nearest other point, NaN where there is none."""
    if len(points) < 2:
        return np.full(len(points), np.nan)
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(points).query(points, k=2)[0][:, 1], np.float64)


def _tissue_mm2(tissue: TissueMap, slide: Slide, box: Box | None) -> dict[int, float]:
    """Return the area of tissue of each section, inside a box of level-0 pixels if there is one."""
    sections = np.where(tissue.tissue > 0, np.maximum(tissue.section, 1), 0)
    if box is not None:
        step = ratio(tissue.mpp, slide.info.mpp)
        cells = Box(
            y0=round(box.y0 / step), x0=round(box.x0 / step), y1=round(box.y1 / step), x1=round(box.x1 / step)
        ).clip(Size(*sections.shape))
        sections = sections[cells.slices]
    numbers, counts = np.unique(sections[sections > 0], return_counts=True)
    return {int(number): px_to_mm2(float(n), tissue.mpp) for number, n in zip(numbers, counts, strict=True)}


@njit(nogil=True, cache=True)
def _stain_sd(instances: NDArray[np.int32], n: int, hematoxylin: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the standard deviation of hematoxylin in each nucleus, optical density, float64 (n,)."""
    sums = np.zeros((n, 3), np.int64)
    for y in range(instances.shape[0]):
        for x in range(instances.shape[1]):
            nucleus = instances[y, x] - 1
            if nucleus >= 0:
                value = np.int64(hematoxylin[y, x])
                sums[nucleus, 0] += 1
                sums[nucleus, 1] += value
                sums[nucleus, 2] += value * value
    result = np.zeros(n)
    for nucleus in range(n):
        count = max(sums[nucleus, 0], 1)
        mean = sums[nucleus, 1] / count
        result[nucleus] = np.sqrt(max(sums[nucleus, 2] / count - mean * mean, 0.0)) / 1024
    return result
