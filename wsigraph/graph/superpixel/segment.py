"""Segmentation of a slide's tissue into connected superpixels, chunk by chunk; the chunks do not show in the result.

There are three steps:

1. SLIC clusters every chunk, with the halo that makes it exact, and splits it into components.
2. The graph of all components decides which stay together (``connectivity``).
3. Every chunk is painted with the final labels.

Components are kept in a temporary store between the first and the last step, so memory holds tables, not pixels.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dask
import numpy as np
import zarr
from numpy.typing import NDArray

from wsigraph.config import Config, SuperpixelConfig
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box, Size, grid, um2_to_px, um_to_px
from wsigraph.graph.superpixel.components import ChunkComponents, chunk_components, relabel
from wsigraph.graph.superpixel.connectivity import resolve
from wsigraph.graph.superpixel.lab import rgb_to_lab, smooth, smoothing_passes
from wsigraph.graph.superpixel.slic import SeedGrid, slic
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.window import near_tissue, tissue_box, tissue_window
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.slide.map_boxes import Progress, map_chunks
from wsigraph.slide.reader import Slide
from wsigraph.slide.roi import Roi
from wsigraph.store import SHARD_PX, Destination, create_labels
from wsigraph.store.atomic import SCRATCH_PREFIX


def segment(
    slide: Slide,
    config: Config | None = None,
    *,
    tissue: TissueMap | None = None,
    roi: Roi | Path | str | None = None,
    path: Destination | Path | str | None = None,
    progress: Progress | None = None,
) -> SuperpixelLabels:
    """Segment a slide's tissue into superpixels.

    Parameters
    ----------
    slide : Slide
        Slide to read.
    config : Config, optional
        Settings: ``superpixel`` decides the labels; ``tissue`` the mask, if no `tissue` is given.
    tissue : TissueMap, optional
        Tissue to segment; `find_tissue` finds it if omitted.
    roi : Roi, Path or str, optional
        Regions for `find_tissue`; a `tissue` that is given has been limited already.
    path : Destination, Path or str, optional
        ``superpixels.zarr`` to write; if omitted, the labels stay in memory, compressed.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    SuperpixelLabels
        Connected superpixels, numbered 1..N in raster order of first pixel.

    Raises
    ------
    NoTissue
        If no superpixel is left.
    SlideError
        If the slide cannot be read.
    StoreError
        If the labels cannot be written.

    Notes
    -----
    Time is linear in tissue area. Memory: about 30 bytes for each pixel of the chunks being processed (one a thread)
    and about 100 bytes for each component. Labels are the same for every chunk size, thread count and scheduler.
    """
    settings = config or Config()
    options = settings.superpixel
    if tissue is None:
        tissue = find_tissue(
            slide, settings.tissue, suitability=settings.slide, working_mpp=options.mpp, roi=roi, progress=progress
        )
    size = slide.size(options.mpp)
    chunk_px = settings.runtime.chunk_px
    boxes = list(grid(size, chunk_px))
    near = near_tissue(tissue.tissue, tissue.mpp, smoothing_passes(options.smoothing_um, options.mpp), options.mpp)
    # scratch beside the result: a worker that can write the one can write the other
    folder = None if path is None else Destination.of(path).path.parent
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder) as scratch,
        create_labels(path, size) as writer,
    ):
        raw = _scratch_array(scratch, size, chunk_px)
        results = map_chunks(
            _components, boxes, slide, tissue, near, options, raw, size, stage="superpixels", progress=progress
        )
        chunks = [chunk for chunk in results if chunk is not None]
        tables, n_superpixels, _ = resolve(chunks, um2_to_px(options.min_area_um2, options.mpp))
        if n_superpixels == 0:
            raise NoTissue(f"slide {slide.info.slide_id!r} shows no tissue large enough for one superpixel")
        by_corner = {(c.box.y0, c.box.x0): table for c, table in zip(chunks, tables, strict=True)}
        # only this process can paint an array in its own memory
        with dask.config.set(scheduler="threads") if path is None else nullcontext():
            map_chunks(
                _paint, grid(size, SHARD_PX), raw, by_corner, chunk_px, writer.array, stage="labels", progress=progress
            )
        return writer.finish(n_superpixels=n_superpixels, mpp=options.mpp, tissue=tissue)


def halo_px(options: SuperpixelConfig) -> int:
    """Return the number of working pixels around a chunk on which its labels depend."""
    side = um_to_px(options.spacing_um, options.mpp)
    return (2 * options.iterations + 2) * side + smoothing_passes(options.smoothing_um, options.mpp)


def _scratch_array(scratch: str, size: Size, chunk_px: int) -> zarr.Array[Any]:
    """Return a temporary int32 zarr array of the slide's size, stored in the chunks that are processed."""
    shape = (size.height, size.width)
    chunks = (min(chunk_px, size.height), min(chunk_px, size.width))
    return zarr.create_array(
        store=str(Path(scratch) / "components"), shape=shape, chunks=chunks, dtype="int32", fill_value=0
    )


def _components(
    chunk: Box,
    slide: Slide,
    tissue: TissueMap,
    near: NDArray[np.bool_],
    options: SuperpixelConfig,
    raw: zarr.Array[Any],
    size: Size,
) -> ChunkComponents | None:
    """Cluster one chunk, store its components and return their table; None if it holds no tissue."""
    core = tissue_box(tissue.tissue, tissue.mpp, chunk, options.mpp)
    if core.is_empty:
        return None
    seeds = SeedGrid(size, um_to_px(options.spacing_um, options.mpp))
    window = seeds.window(core, options.iterations)
    labels = np.zeros((chunk.height, chunk.width), np.int32)
    labels[core.relative_to(chunk).slices] = slic(
        _smoothed_lab(slide, window, size, near, tissue.mpp, options),
        tissue_window(tissue.tissue, tissue.mpp, window, options.mpp),
        window,
        core,
        seeds,
        compactness=options.compactness,
        iterations=options.iterations,
    )
    components, table = chunk_components(labels, chunk, size.width)
    raw[chunk.slices] = components
    return table


def _smoothed_lab(
    slide: Slide, window: Box, size: Size, near: NDArray[np.bool_], grid_mpp: float, options: SuperpixelConfig
) -> NDArray[np.uint8]:
    """Return the smoothed Lab of a window, uint8 (3, h, w); exact, as on the whole slide, at pixels of tissue.

    Each pass of the kernel needs one more pixel around the window. Only the pixels of `near` are converted: those that
    the kernel reads for some tissue pixel.
    """
    passes = smoothing_passes(options.smoothing_um, options.mpp)
    wider = window.grow(passes).clip(size)
    lab = rgb_to_lab(slide.read(wider, options.mpp), tissue_window(near, grid_mpp, wider, options.mpp))
    for _ in range(passes):
        lab = smooth(lab)
    return np.ascontiguousarray(lab[(slice(None), *window.relative_to(wider).slices)])


def _paint(
    box: Box,
    raw: zarr.Array[Any],
    tables: dict[tuple[int, int], NDArray[np.int32]],
    chunk_px: int,
    labels: zarr.Array[Any],
) -> None:
    """Write the final labels of one shard of the result."""
    painted = np.zeros((box.height, box.width), np.int32)
    for y0 in range(box.y0 // chunk_px * chunk_px, box.y1, chunk_px):
        for x0 in range(box.x0 // chunk_px * chunk_px, box.x1, chunk_px):
            table = tables.get((y0, x0))
            if table is None:
                continue
            part = box.intersect(Box(y0=y0, x0=x0, y1=y0 + chunk_px, x1=x0 + chunk_px))
            painted[part.relative_to(box).slices] = relabel(np.asarray(raw[part.slices]), table)
    if painted.any():
        labels[box.slices] = painted
