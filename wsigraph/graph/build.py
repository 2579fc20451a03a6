"""The region adjacency graph of a slide, from one pass over its tissue.

Each chunk reads its pixels and labels with a halo and counts what its core owns. The graph is the sum of all chunks, so
it is the same for every chunk size, thread count and scheduler.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import Config
from wsigraph.geometry import Box, grid
from wsigraph.graph.adjacency import both_directions, count_boundaries, sum_boundaries
from wsigraph.graph.feature.count import CountScales, count_moments
from wsigraph.graph.feature.detect import (
    COARSEST_MPP,
    NUCLEUS_COLUMNS,
    detect_nuclei,
    detector_identity,
    load_detector,
)
from wsigraph.graph.feature.encode import encode, load_encoder
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.graph.tissue.suitability import mark
from wsigraph.graph.tissue.window import tissue_box
from wsigraph.records import SuperpixelLabels, TissueGraph
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide
from wsigraph.slide.roi import Roi, as_roi

_Array = NDArray[np.int64]
ChunkTable = tuple[_Array, _Array, _Array, _Array, _Array]


def build_graph(
    slide: Slide,
    labels: SuperpixelLabels,
    config: Config | None = None,
    *,
    roi: Roi | Path | str | None = None,
    progress: Progress | None = None,
) -> TissueGraph:
    """Measure every superpixel and the boundaries between them.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    labels : SuperpixelLabels
        Superpixels of the slide.
    config : Config, optional
        Settings; ``feature`` decides what is measured. The defaults if omitted.
    roi : Roi, Path or str, optional
        Regions, or their file, whose classes are counted in every superpixel.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    TissueGraph
        One node for each superpixel, in the order of the labels; node i is label i + 1.

    Raises
    ------
    SlideError
        If the slide cannot be read, or a file of regions does not fit it.
    ConfigError
        If ``runtime.device`` is not on this machine.
    PluginError
        If ``feature.encoder`` or ``feature.nuclei`` names a plugin that does not load.

    Notes
    -----
    Time is linear in tissue area. Memory: the graph itself, and about 40 bytes for each pixel of the chunks being
    processed.
    """
    settings = config or Config()
    boxes = grid(labels.size, settings.runtime.chunk_px)
    scales = CountScales.of(settings.feature, labels.mpp)
    regions = None if roi is None else as_roi(roi, slide)
    class_names = () if regions is None else regions.class_names
    tables = map_chunks(_count_chunk, boxes, slide, labels, scales, regions, stage="graph", progress=progress)
    moments = np.zeros((labels.n_superpixels, len(MOMENT_NAMES)), np.int64)
    class_pixels = np.zeros((labels.n_superpixels, len(class_names)), np.int64)
    for ids, rows, class_rows, _, _ in tables:
        moments[ids - 1] += rows
        class_pixels[ids - 1] += class_rows
    nuclei = _count_detected(moments, slide, labels, settings, progress)
    key, boundary = sum_boundaries(
        np.concatenate([np.zeros(0, np.int64), *(table[3] for table in tables)]),
        np.concatenate([np.zeros((0, 2), np.int64), *(table[4] for table in tables)]),
    )
    edge_index, boundary = both_directions((key >> 32) - 1, (key & 0xFFFFFFFF) - 1, boundary)
    encoding_sum = None
    if settings.feature.encoder is not None:
        encoder = load_encoder(settings.feature.encoder, settings.runtime.device)
        encoding_sum = encode(slide, labels, encoder, progress=progress)
    return TissueGraph(
        slide_id=slide.info.slide_id,
        mpp=labels.mpp,
        size=labels.size,
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=labels.tissue.stain,
        encoding_sum=encoding_sum,
        encoder=settings.feature.encoder,
        class_names=class_names,
        class_pixels=class_pixels if class_names else None,
        nuclei=nuclei,
        mark=mark(labels.tissue.refusal) if labels.tissue.refusal else "",
    )


def _count_detected(
    moments: NDArray[np.int64],
    slide: Slide,
    labels: SuperpixelLabels,
    settings: Config,
    progress: Progress | None,
) -> str:
    """Replace the nuclei of the rule by those of the detector chosen, in place, and return what found them."""
    chosen = settings.feature.nuclei
    if chosen != "none" and slide.info.mpp > COARSEST_MPP:
        slide.mark(
            f"{slide.info.mpp:g} um/px is too coarse for nuclei, which need {COARSEST_MPP:g} um/px or finer: the graph "
            "has no nuclear features"
        )
        chosen = "none"
    if chosen == "rule":
        return "rule"
    detector = load_detector(chosen, settings.feature.nuclei_weights, settings.runtime.device)
    if detector is None:
        moments[:, NUCLEUS_COLUMNS] = 0
        return "none"
    moments[:, NUCLEUS_COLUMNS] = detect_nuclei(slide, labels, detector, progress=progress)
    return detector_identity(detector)


def _count_chunk(
    chunk: Box, slide: Slide, labels: SuperpixelLabels, scales: CountScales, regions: Roi | None
) -> ChunkTable:
    """Return the label ids in one chunk, their moments and class pixels, and the boundaries that it owns."""
    n_classes = 0 if regions is None else len(regions.class_names)
    core = tissue_box(labels.tissue.tissue, labels.tissue.mpp, chunk, labels.mpp)
    if core.is_empty:
        return (*_EMPTY[:2], np.zeros((0, n_classes), np.int64), *_EMPTY[2:])
    window = core.grow(scales.halo_px).clip(labels.size)
    painted = np.asarray(labels.labels[window.slices])
    ids, moments = count_moments(
        slide.read(window, labels.mpp),
        painted,
        window=window,
        core=core,
        size=labels.size,
        stain=labels.tissue.stain,
        scales=scales,
    )
    owned = painted[core.relative_to(window).slices]
    return ids, moments, _count_classes(owned, ids, core, labels.mpp, regions), *count_boundaries(painted, window, core)


def _count_classes(
    owned: NDArray[np.int32], ids: NDArray[np.int64], core: Box, mpp: float, regions: Roi | None
) -> NDArray[np.int64]:
    """Return how many pixels of each label are in regions of each class, int64 (labels, classes).

    `owned` int32 (h, w) are the labels of `core`; `ids` int64 (labels,) are sorted and hold them all.
    """
    if regions is None or not regions.class_names:
        return np.zeros((len(ids), 0), np.int64)
    counts = np.zeros((len(ids), len(regions.class_names)), np.int64)
    for column, mask in enumerate(regions.in_classes(core, mpp)):
        inside = owned[mask & (owned > 0)]
        counts[:, column] = np.bincount(np.searchsorted(ids, inside), minlength=len(ids))
    return counts


_EMPTY = (
    np.zeros(0, np.int64),
    np.zeros((0, len(MOMENT_NAMES)), np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, 2), np.int64),
)
