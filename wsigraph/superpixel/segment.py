"""A slide's tissue cut into connected superpixels, chunk by chunk, seam by seam the same as in one piece.

Three steps: every chunk is clustered by SLIC with the halo that makes it exact and split into components; the graph of
all components decides which stay together; every chunk is painted with the final labels. Components wait in a
temporary store between the first and the last step, so memory holds tables, not pixels.
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
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.slide.reader import Slide
from wsigraph.slide.tiles import Progress, map_chunks
from wsigraph.store import SHARD_PX, Destination, create_labels
from wsigraph.store.atomic import SCRATCH_PREFIX
from wsigraph.superpixel.components import ChunkComponents, chunk_components, relabel
from wsigraph.superpixel.connectivity import resolve
from wsigraph.superpixel.lab import rgb_to_lab, smooth, smoothing_passes
from wsigraph.superpixel.slic import Lattice, slic
from wsigraph.tissue.mask import find_tissue
from wsigraph.tissue.window import near_tissue, tissue_box, tissue_window


def segment(
    slide: Slide,
    config: Config | None = None,
    *,
    tissue: TissueMap | None = None,
    path: Destination | Path | str | None = None,
    progress: Progress | None = None,
) -> SuperpixelLabels:
    """Cut a slide's tissue into superpixels.

    Parameters
    ----------
    slide : Slide
        The slide.
    config : Config, optional
        Settings; ``superpixel`` decides the labels, ``tissue`` the mask where none is given.
    tissue : TissueMap, optional
        Tissue to cut; found on the slide where left out.
    path : Destination, Path or str, optional
        ``superpixels.zarr`` to write; the labels stay in memory, compressed, where left out.
    progress : callable, optional
        Told (stage, done, total).

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
    Time is linear in tissue area. Memory: about 30 bytes a pixel of the chunks in flight (one a thread) and some
    100 bytes a component. Labels are the same for every chunk size, thread count and scheduler.
    """
    settings = config or Config()
    options = settings.superpixel
    if tissue is None:
        tissue = find_tissue(
            slide, settings.tissue, suitability=settings.slide, working_mpp=options.mpp, progress=progress
        )
    size = slide.size(options.mpp)
    chunk_px = settings.runtime.chunk_px
    boxes = list(grid(size, chunk_px))
    near = near_tissue(tissue.tissue, tissue.mpp, smoothing_passes(options.smoothing_um, options.mpp), options.mpp)
    # beside the result, where every worker that can write the one can write the other
    beside = None if path is None else Destination.of(path).path.parent
    if beside is not None:
        beside.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=beside) as scratch,
        create_labels(path, size) as writer,
    ):
        raw = _scratch_array(scratch, size, chunk_px)
        found = map_chunks(
            _components, boxes, slide, tissue, near, options, raw, size, stage="superpixels", progress=progress
        )
        chunks = [chunk for chunk in found if chunk is not None]
        tables, n_superpixels, _ = resolve(chunks, um2_to_px(options.min_area_um2, options.mpp))
        if n_superpixels == 0:
            raise NoTissue(f"slide {slide.info.slide_id!r} shows no tissue large enough for one superpixel")
        by_corner = {(c.box.y0, c.box.x0): table for c, table in zip(chunks, tables, strict=True)}
        # an image in memory can be painted by this process only
        with dask.config.set(scheduler="threads") if path is None else nullcontext():
            map_chunks(
                _paint, grid(size, SHARD_PX), raw, by_corner, chunk_px, writer.array, stage="labels", progress=progress
            )
        return writer.finish(n_superpixels=n_superpixels, mpp=options.mpp, tissue=tissue)


def halo_px(options: SuperpixelConfig) -> int:
    """Return how many working pixels around a chunk decide its labels."""
    side = um_to_px(options.spacing_um, options.mpp)
    return (2 * options.iterations + 2) * side + smoothing_passes(options.smoothing_um, options.mpp)


def _scratch_array(scratch: str, size: Size, chunk_px: int) -> zarr.Array[Any]:
    """Return a temporary int32 array of the slide's size with one stored chunk a working chunk."""
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
    """Cluster one chunk, store its components and return their table; None where it holds no tissue."""
    core = tissue_box(tissue.tissue, tissue.mpp, chunk, options.mpp)
    if core.is_empty:
        return None
    lattice = Lattice(size, um_to_px(options.spacing_um, options.mpp))
    window = lattice.window(core, options.iterations)
    labels = np.zeros((chunk.height, chunk.width), np.int32)
    labels[core.relative_to(chunk).slices] = slic(
        _smoothed_lab(slide, window, size, near, tissue.mpp, options),
        tissue_window(tissue.tissue, tissue.mpp, window, options.mpp),
        window,
        core,
        lattice,
        compactness=options.compactness,
        iterations=options.iterations,
    )
    components, table = chunk_components(labels, chunk, size.width)
    raw[chunk.slices] = components
    return table


def _smoothed_lab(
    slide: Slide, window: Box, size: Size, near: NDArray[np.bool_], lattice_mpp: float, options: SuperpixelConfig
) -> NDArray[np.uint8]:
    """Return Lab of a window, uint8 (3, h, w), smoothed as on the whole slide at its tissue.

    Each pass of the kernel needs one pixel more around; `near` holds all that tissue pixels need, and nothing else is
    converted.
    """
    passes = smoothing_passes(options.smoothing_um, options.mpp)
    wider = window.grow(passes).clip(size)
    lab = rgb_to_lab(slide.read(wider, options.mpp), tissue_window(near, lattice_mpp, wider, options.mpp))
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
    """Write the final labels of one stored shard."""
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
