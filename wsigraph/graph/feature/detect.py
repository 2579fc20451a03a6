"""Nuclei found by a network of the user's, counted into the same moments as our own.

A plugin of group ``wsigraph.nuclei`` outlines nuclei in fixed windows of one global lattice, each shown whole with a
margin whatever its surroundings, so that what it finds never depends on how the slide was cut. A nucleus belongs to
the window, and to the superpixel, that holds its rounded centroid; the margin should be at least a nucleus wide.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import PluginError
from wsigraph.geometry import Box, Size, grid, ratio
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.feature.nuclei import AREA, X, Y, add_nuclei, measure_spots
from wsigraph.records import SuperpixelLabels
from wsigraph.slide.map_boxes import Progress, map_chunks

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide

NUCLEUS_COLUMNS = slice(COLUMN["nuclei"], COLUMN["nucleus_stain_sq"] + 1)
"""Columns of the moment table that count nuclei."""


class NucleusDetector(Protocol):
    """What a plugin of group ``wsigraph.nuclei`` returns.

    `detect` must be safe in several threads at once and give a window the same nuclei every time; the detector must
    pickle where processes share the work.
    """

    @property
    def name(self) -> str:
        """Name in records and messages."""
        ...

    @property
    def mpp(self) -> float:
        """Pixel size the windows are read at, um/px."""
        ...

    @property
    def window_px(self) -> int:
        """Side of the part of a window whose nuclei count."""
        ...

    @property
    def margin_px(self) -> int:
        """Pixels shown around that part."""
        ...

    def detect(self, window: NDArray[np.uint8], /) -> NDArray[np.int32]:
        """Return nuclei, int32 (s, s), numbered from 1, of a window, uint8 (s, s, 3), with s = window + 2 margins."""
        ...


def detect_nuclei(
    slide: Slide, labels: SuperpixelLabels, detector: NucleusDetector, *, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Return the nucleus moments of every superpixel by a detector.

    Parameters
    ----------
    slide : Slide
        Pixels.
    labels : SuperpixelLabels
        Superpixels 1..N of the same slide.
    detector : NucleusDetector
        The network; only windows that hold a label are shown to it.
    progress : callable, optional
        Told (stage, done, total).

    Returns
    -------
    int64 (N, 7)
        The columns ``NUCLEUS_COLUMNS`` of the moment table; areas in working pixels.

    Raises
    ------
    PluginError
        If the detector returns another shape or type than it states.
    SlideError
        If the slide cannot be read.
    """
    step = ratio(detector.mpp, labels.mpp)
    size = Size(ceil(labels.size.height / step), ceil(labels.size.width / step))
    tables = map_chunks(
        _detect_window, grid(size, detector.window_px), slide, labels, detector, stage="nuclei", progress=progress
    )
    moments = np.zeros((labels.n_superpixels + 1, len(MOMENT_NAMES)), np.int64)
    for spots, owner in tables:
        add_nuclei(spots, owner, moments)
    return moments[1:, NUCLEUS_COLUMNS]


def _detect_window(
    core: Box, slide: Slide, labels: SuperpixelLabels, detector: NucleusDetector
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the nuclei of one window, measured in working pixels, and the superpixel of each."""
    step = ratio(detector.mpp, labels.mpp)
    under = Box(y0=int(core.y0 * step), x0=int(core.x0 * step), y1=ceil(core.y1 * step), x1=ceil(core.x1 * step)).clip(
        labels.size
    )
    painted = np.asarray(labels.labels[under.slices])
    if under.is_empty or not painted.any():
        return np.zeros((0, 6), np.int64), np.zeros(0, np.int32)
    side = detector.window_px
    window = Box(y0=core.y0, x0=core.x0, y1=core.y0 + side, x1=core.x0 + side).grow(detector.margin_px)
    rgb = slide.read(window, detector.mpp)
    found = detector.detect(rgb)
    if found.shape != rgb.shape[:2] or found.dtype != np.int32:
        raise PluginError(
            f"nucleus detector {detector.name!r} returned {found.dtype} {found.shape}, expected int32 {rgb.shape[:2]}"
        )
    hematoxylin, _ = concentrations(rgb, labels.tissue.stain)
    spots = measure_spots(found, int(found.max(initial=0)), hematoxylin)
    spots = spots[spots[:, AREA] > 0]
    y, x = spots[:, Y] + window.y0, spots[:, X] + window.x0
    inside = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
    spots, y, x = spots[inside], y[inside], x[inside]
    p, q = step.numerator, step.denominator
    row = np.minimum((2 * y + 1) * p // (2 * q), under.y1 - 1) - under.y0
    column = np.minimum((2 * x + 1) * p // (2 * q), under.x1 - 1) - under.x0
    spots[:, AREA] = np.maximum((2 * spots[:, AREA] * p * p + q * q) // (2 * q * q), 1)
    return spots, painted[row, column]
