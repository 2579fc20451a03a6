"""Views of a slide with its regions: the whole slide, and a detail where regions are too small to see on it.

A view has the pixels of a part of the slide, the regions under them and the outlines between them. The detail is
chosen by a rule: a window full of tissue, near the middle of the tissue, about twenty regions wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Box, px_to_um, ratio
from wsigraph.outline.label_grid import LabelGrid, resample
from wsigraph.outline.outline import Outlines
from wsigraph.slide.reader import Slide

MAX_DETAIL_FRACTION = 0.4
"""Largest width of a detail, as a fraction of the slide's width."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A part of a slide, or all of it, ready to be drawn.

    Attributes
    ----------
    pixels : uint8 (h, w, 3)
        Pixels of the slide.
    regions : int32 (h, w)
        Coarse node plus one under each pixel, 0 where there is no tissue.
    box : Box
        What the pixels show, level-0 pixels.
    outlines : Outlines
        Lines between the regions, level-0 pixels.
    level0_mpp : float
        Level-0 pixel size, um/px.
    """

    pixels: NDArray[np.uint8]
    regions: NDArray[np.int32]
    box: Box
    outlines: Outlines
    level0_mpp: float

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.box.width / self.box.height

    def region_side_fraction(self) -> float:
        """Return the side of a region of mean area, as a fraction of the view's width."""
        shown = np.unique(self.regions)
        n_regions = int((shown > 0).sum())
        tissue_px = float((self.regions > 0).sum())
        return math.sqrt(tissue_px / max(1, n_regions)) / float(self.regions.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionMap:
    """The feature that colours regions.

    Attributes
    ----------
    values : float64 (C,)
        One value per region.
    label : str
        Name and unit.
    low, high : float
        Ends of the colour scale.
    """

    values: NDArray[np.float64]
    label: str
    low: float
    high: float

    @classmethod
    def over(cls, regions: NDArray[np.int32], values: NDArray[np.float64], label: str) -> RegionMap:
        """Return a map whose scale spans the 2nd to the 98th percentile over pixels.

        Parameters
        ----------
        regions : int32 (h, w)
            Coarse node plus one under each pixel, 0 where there is no tissue; percentiles over pixels limit
            the effect of a few small regions.
        values : float64 (C,)
            One value per region.
        label : str
            Name and unit.

        Returns
        -------
        RegionMap
            With ``low < high``.
        """
        shown = values[regions[regions > 0] - 1]
        low, high = (float(limit) for limit in np.percentile(shown, (2, 98))) if shown.size else (0.0, 1.0)
        return cls(values=values, label=label, low=low, high=high if high > low else low + 1.0)


def find_detail(whole: View, *, n_across: int, aspect: float) -> Box:
    """Return the part of a slide to show as a detail: a window full of tissue, near the middle of the tissue.

    Parameters
    ----------
    whole : View
        The whole slide.
    n_across : int
        Regions of mean size that the window should span. It spans fewer if it would otherwise be wider than
        `MAX_DETAIL_FRACTION` of the slide.
    aspect : float
        Width over height of the window.

    Returns
    -------
    Box
        Level-0 pixels, inside the slide.
    """
    tissue = whole.regions > 0
    n_rows, n_columns = tissue.shape
    fraction = min(MAX_DETAIL_FRACTION, n_across * whole.region_side_fraction())
    width = max(1, round(fraction * n_columns))
    height = min(n_rows, max(1, round(width / aspect)))
    total = np.zeros((n_rows + 1, n_columns + 1), np.int64)
    total[1:, 1:] = tissue.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    inside = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    rows, columns = np.nonzero(inside == inside.max())
    middle_y, middle_x = (float(axis.mean()) if axis.size else 0.0 for axis in np.nonzero(tissue))
    nearest = np.argmin((rows + height / 2 - middle_y) ** 2 + (columns + width / 2 - middle_x) ** 2)
    y0, x0 = int(rows[nearest]), int(columns[nearest])
    scale_y, scale_x = whole.box.height / n_rows, whole.box.width / n_columns
    return Box(
        y0=round(y0 * scale_y),
        x0=round(x0 * scale_x),
        y1=round((y0 + height) * scale_y),
        x1=round((x0 + width) * scale_x),
    )


def cut_view(slide: Slide, grid: LabelGrid, outlines: Outlines, box: Box, longest_px: int) -> View:
    """Return a part of the slide, given in level-0 pixels, with at most `longest_px` pixels along a side."""
    level0 = slide.info.levels[0].size
    mpp = px_to_um(max(1.0, max(box.height, box.width) / longest_px), slide.info.mpp)
    step = ratio(mpp, slide.info.mpp)
    scaled = Box(
        y0=math.floor(box.y0 / step),
        x0=math.floor(box.x0 / step),
        y1=math.ceil(box.y1 / step),
        x1=math.ceil(box.x1 / step),
    ).clip(slide.size(mpp))
    shown = Box(
        y0=round(scaled.y0 * step), x0=round(scaled.x0 * step), y1=round(scaled.y1 * step), x1=round(scaled.x1 * step)
    ).clip(level0)
    return View(
        pixels=slide.read(scaled, mpp),
        regions=resample(grid, shown, scaled.size),
        box=shown,
        outlines=outlines,
        level0_mpp=slide.info.mpp,
    )


def mean_colours(view: View) -> NDArray[np.uint8]:
    """Return the regions of a view filled with their mean colour.

    Parameters
    ----------
    view : View
        Pixels and regions.

    Returns
    -------
    uint8 (h, w, 3)
        White where there is no tissue.
    """
    index = view.regions.reshape(-1)
    n = np.bincount(index)
    means = np.zeros((len(n), 3))
    for channel in range(3):
        total = np.bincount(index, weights=view.pixels[..., channel].reshape(-1))
        np.divide(total, n, out=means[:, channel], where=n > 0)
    means[0] = 255.0
    return np.asarray(np.rint(means).astype(np.uint8)[view.regions])
