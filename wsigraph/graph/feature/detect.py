"""Nuclei from a detector plugin, counted into the same moments as the built-in ones.

A plugin of the group ``wsigraph.nuclei`` segments nuclei in fixed windows of one global grid. Every window is shown
whole, with a margin, so the result never depends on how the slide was tiled. A nucleus belongs to the window, and to
the superpixel, that holds its rounded centroid. The margin should be at least the diameter of a nucleus.
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

    `detect` must be thread-safe and deterministic. The detector must be picklable if the work runs in processes.
    """

    @property
    def name(self) -> str:
        """Name used in records and messages."""
        ...

    @property
    def mpp(self) -> float:
        """Pixel size at which windows are read, um/px."""
        ...

    @property
    def window_px(self) -> int:
        """Side of the inner part of a window, whose nuclei count, pixels."""
        ...

    @property
    def margin_px(self) -> int:
        """Width of the margin around the inner part, pixels."""
        ...

    def detect(self, window: NDArray[np.uint8], /) -> NDArray[np.int32]:
        """Return an instance mask int32 (s, s), nuclei numbered from 1, for uint8 (s, s, 3); s = window + 2 margins."""
        ...


def detect_nuclei(
    slide: Slide, labels: SuperpixelLabels, detector: NucleusDetector, *, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Return the nucleus moments of every superpixel, from a detector.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    labels : SuperpixelLabels
        Superpixels 1..N of the same slide.
    detector : NucleusDetector
        Detector; it is only called for windows that hold a label.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    int64 (N, 7)
        Columns ``NUCLEUS_COLUMNS`` of the moment table; areas in working pixels.

    Raises
    ------
    PluginError
        If the detector returns another shape or dtype than documented.
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
    instances = detector.detect(rgb)
    if instances.shape != rgb.shape[:2] or instances.dtype != np.int32:
        raise PluginError(
            f"nucleus detector {detector.name!r} returned {instances.dtype} {instances.shape}, "
            f"expected int32 {rgb.shape[:2]}"
        )
    hematoxylin, _ = concentrations(rgb, labels.tissue.stain)
    spots = measure_spots(instances, int(instances.max(initial=0)), hematoxylin)
    spots = spots[spots[:, AREA] > 0]
    y, x = spots[:, Y] + window.y0, spots[:, X] + window.x0
    inside = (y >= core.y0) & (y < core.y1) & (x >= core.x0) & (x < core.x1)
    spots, y, x = spots[inside], y[inside], x[inside]
    p, q = step.numerator, step.denominator
    row = np.minimum((2 * y + 1) * p // (2 * q), under.y1 - 1) - under.y0
    column = np.minimum((2 * x + 1) * p // (2 * q), under.x1 - 1) - under.x0
    spots[:, AREA] = np.maximum((2 * spots[:, AREA] * p * p + q * q) // (2 * q * q), 1)
    return spots, painted[row, column]
