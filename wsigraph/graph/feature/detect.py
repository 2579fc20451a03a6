"""Nuclei from a detector plugin, counted into the same moments as the built-in ones.

A plugin of the group ``wsigraph.nuclei`` segments nuclei in fixed windows of one global grid. Every window is shown
whole, with a margin, so the result never depends on how the slide was tiled. A nucleus belongs to the window, and to
the superpixel, that holds its rounded centroid. The margin should be at least the diameter of a nucleus.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import PluginError
from wsigraph.geometry import Box, Size, grid, ratio
from wsigraph.graph.device import find_device
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.encode import takes_device
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.feature.nuclei import AREA, X, Y, add_nuclei, measure_spots
from wsigraph.graph.tissue.window import tissue_box
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.registry import NUCLEI, load
from wsigraph.slide.map_boxes import Progress, map_chunks

if TYPE_CHECKING:
    from wsigraph.slide.reader import Slide

NUCLEUS_COLUMNS = slice(COLUMN["nuclei"], COLUMN["nucleus_stain_sq"] + 1)
"""Columns of the moment table that count nuclei."""


COARSEST_MPP = 1.2
"""Pixel size of a slide beyond which nuclei are too small to be seen, um/px."""


@dataclass(frozen=True, slots=True, eq=False)
class DetectedNuclei:
    """Nuclei of one window, with what the detector knows of each.

    Attributes
    ----------
    instances : int32 (s, s)
        Nuclei numbered from 1; 0 is background.
    probability : float32 (n,)
        How sure the detector is of each.
    type_probability : float32 (n, T)
        Probability of each type; T is 0 where the detector knows none.
    """

    instances: NDArray[np.int32]
    probability: NDArray[np.float32]
    type_probability: NDArray[np.float32]


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

    def detect(self, window: NDArray[np.uint8], /) -> NDArray[np.int32] | DetectedNuclei:
        """Return an instance mask int32 (s, s), nuclei numbered from 1, for uint8 (s, s, 3); s = window + 2 margins.

        A detector that also knows probabilities returns `DetectedNuclei`, and names its types in an attribute `types`.
        One with an attribute `multiple_px` is shown less where a window is not full of tissue: uint8 (h, w, 3), both
        multiples of that.
        """
        ...


def load_detector(name: str, weights: str | None = None, device: str = "cpu") -> NucleusDetector | None:
    """Return the detector of a name.

    Parameters
    ----------
    name : str
        ``none``, ``network`` or a plugin of group ``wsigraph.nuclei``.
    weights : str, optional
        File of weights, for a detector that takes one.
    device : str
        Where it runs, if its factory takes a device; the processor otherwise.

    Returns
    -------
    NucleusDetector or None
        None for ``none``.

    Raises
    ------
    ConfigError
        If this machine has no such device.
    PluginError
        If no such plugin loads, or it takes no weights.
    ModelError
        If the weights do not fit.
    """
    if name == "none":
        return None
    if name == "network":
        from wsigraph.graph.feature.network_detector import NetworkDetector  # imports torch

        return NetworkDetector(weights, find_device(device))
    factory = load(NUCLEI, name)
    place = takes_device(factory, device)
    if weights is None:
        return cast(NucleusDetector, factory(**place))
    try:
        inspect.signature(factory).bind(weights, **place)
    except TypeError:
        raise PluginError(
            f"nucleus detector {name!r} takes no weights, {weights} was given; leave --nuclei-weights out"
        ) from None
    return cast(NucleusDetector, factory(weights, **place))


def detector_identity(detector: NucleusDetector) -> str:
    """Return the name of a detector, with the digest of its weights where it states one."""
    digest = getattr(detector, "digest", None)
    return detector.name if digest is None else f"{detector.name} {digest}"


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


def whole_window(core: Box, detector: NucleusDetector) -> Box:
    """Return the window of a core box: of one size, at the slide's border too."""
    side = detector.window_px
    return Box(y0=core.y0, x0=core.x0, y1=core.y0 + side, x1=core.x0 + side).grow(detector.margin_px)


def shown_window(core: Box, tissue: TissueMap, detector: NucleusDetector) -> Box:
    """Return the part of a core box's window that the detector is shown.

    Parameters
    ----------
    core : Box
        A box of the detector's grid.
    tissue : TissueMap
        Tissue of the slide: the part depends on this alone, so it is the same for any tiling.
    detector : NucleusDetector
        Detector.

    Returns
    -------
    Box
        The tissue of the core box and its margin, enlarged to multiples of the detector's `multiple_px`; the whole
        window if it has no such attribute.
    """
    whole = whole_window(core, detector)
    step = getattr(detector, "multiple_px", None)
    inside = tissue_box(tissue.tissue, tissue.mpp, core, detector.mpp)
    if step is None or inside.is_empty:
        return whole
    near = inside.grow(detector.margin_px)
    return Box(
        y0=whole.y0 + (near.y0 - whole.y0) // step * step,
        x0=whole.x0 + (near.x0 - whole.x0) // step * step,
        y1=whole.y0 + -((whole.y0 - near.y1) // step) * step,
        x1=whole.x0 + -((whole.x0 - near.x1) // step) * step,
    ).intersect(whole)


def detected(rgb: NDArray[np.uint8], detector: NucleusDetector) -> DetectedNuclei:
    """Return what a detector finds in a window.

    Parameters
    ----------
    rgb : uint8 (s, s, 3)
        The window.
    detector : NucleusDetector
        Detector.

    Returns
    -------
    DetectedNuclei
        With probability 1 and no types, if the detector returns a mask alone.

    Raises
    ------
    PluginError
        If the detector returns another shape or dtype than documented.
    """
    result = detector.detect(rgb)
    if not isinstance(result, DetectedNuclei):
        n = int(result.max(initial=0))
        result = DetectedNuclei(result, np.ones(n, np.float32), np.zeros((n, 0), np.float32))
    instances = result.instances
    if instances.shape != rgb.shape[:2] or instances.dtype != np.int32:
        raise PluginError(
            f"nucleus detector {detector.name!r} returned {instances.dtype} {instances.shape}, "
            f"expected int32 {rgb.shape[:2]}"
        )
    return result


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
    window = shown_window(core, labels.tissue, detector)
    rgb = slide.read(window, detector.mpp)
    instances = detected(rgb, detector).instances
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
