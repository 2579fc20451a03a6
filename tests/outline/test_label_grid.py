"""The label grid: the right labels, the right position on level 0, for any storage."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import zarr

from tests.outline.drawn_regions import coarse_of, graph_of, labels_of, slide_info
from wsigraph.errors import RecordError
from wsigraph.geometry import Box, Size
from wsigraph.outline.label_grid import LabelGrid, resample, sample_regions
from wsigraph.records import CoarseGraph


def striped(height: int, width: int) -> np.ndarray:
    """Return labels that differ every few pixels: bands of 7 x 5."""
    y, x = np.indices((height, width))
    return ((y // 7) * (-(-width // 5)) + x // 5 + 1).astype(np.int32)


@pytest.mark.parametrize(("outline_mpp", "step"), [(0.5, 1), (1.0, 2), (1.6, 3), (4.0, 8)])
def test_cells_hold_the_label_at_their_centre(outline_mpp: float, step: int) -> None:
    full = striped(61, 83)
    labels = labels_of(full, n_superpixels=int(full.max()), mpp=0.5)
    label_grid = sample_regions(
        labels, coarse_of(graph_of(full)), slide_info(61, 83, mpp=0.5), outline_mpp=outline_mpp, max_px=6000
    )
    rows = np.minimum(np.arange(0, 61, step) + step // 2, 60)
    columns = np.minimum(np.arange(0, 83, step) + step // 2, 82)
    assert np.array_equal(label_grid.cells, full[np.ix_(rows, columns)])
    assert (label_grid.step_px, label_grid.mpp) == (step, step * 0.5)


@pytest.mark.parametrize("chunk", [2048, 2500])
def test_storage_does_not_show(chunk: int) -> None:
    full = np.repeat(np.repeat(striped(41, 53), 60, axis=0), 60, axis=1)[:2411, :3001]
    n = int(full.max())
    stored = zarr.create_array({}, shape=full.shape, chunks=(chunk, chunk), dtype="int32")
    stored[...] = full
    assignment = np.arange(n) // 3
    graph = graph_of(np.arange(1, int(assignment.max()) + 2)[None, :])
    coarse = CoarseGraph(graph=graph, assignment=assignment, embedding_id="e")
    info = slide_info(2411, 3001)
    label_grids = [
        sample_regions(labels_of(array, n_superpixels=n), coarse, info, outline_mpp=3.0, max_px=6000)
        for array in (full, stored)
    ]
    assert np.array_equal(label_grids[0].regions, label_grids[1].regions)
    rows, columns = np.minimum(np.arange(0, 2411, 3) + 1, 2410), np.minimum(np.arange(0, 3001, 3) + 1, 3000)
    assert np.array_equal(label_grids[0].cells, assignment[full[np.ix_(rows, columns)] - 1] + 1)


@pytest.mark.parametrize(("level0_mpp", "subpixels"), [(0.25, 1), (0.499, 1), (2.93, 10)])
def test_lines_lie_where_level_0_says(level0_mpp: float, subpixels: int) -> None:
    per_px = Fraction(1) / Fraction(str(level0_mpp))
    full = striped(50, 40)
    height, width = int(50 * per_px), int(40 * per_px)
    size = (-(-height // per_px), -(-width // per_px))
    full = full[: size[0], : size[1]]
    labels = labels_of(full, n_superpixels=int(striped(50, 40).max()))
    coarse = coarse_of(graph_of(striped(50, 40)))
    label_grid = sample_regions(labels, coarse, slide_info(height, width, mpp=level0_mpp), outline_mpp=2.0, max_px=6000)
    assert label_grid.subpixels == subpixels
    for lines, end in ((label_grid.x, width), (label_grid.y, height)):
        exact = np.array([float(2 * k * per_px) for k in range(len(lines))])
        assert lines[0] == 0
        assert lines[-1] == end * subpixels
        off = exact[:-1] - lines[:-1] / subpixels
        assert (off >= -1e-9).all()
        assert (off < 1 / subpixels).all()


def test_a_large_slide_gets_larger_cells() -> None:
    full = striped(300, 500)
    labels = labels_of(full, n_superpixels=int(full.max()))
    label_grid = sample_regions(labels, coarse_of(graph_of(full)), slide_info(300, 500), outline_mpp=1.0, max_px=200)
    assert label_grid.step_px == 3
    assert max(label_grid.cells.shape) <= 200


def test_a_picture_shows_the_region_under_each_pixel() -> None:
    full = striped(30, 40)
    labels = labels_of(full, n_superpixels=int(full.max()))
    label_grid = sample_regions(labels, coarse_of(graph_of(full)), slide_info(30, 40), outline_mpp=1.0, max_px=6000)
    assert np.array_equal(resample(label_grid, Box.whole(Size(30, 40)), Size(30, 40)), full)
    assert np.array_equal(resample(label_grid, Box.whole(Size(30, 40)), Size(60, 80)), full.repeat(2, 0).repeat(2, 1))
    view = Box(y0=7, x0=10, y1=21, x1=30)
    assert np.array_equal(resample(label_grid, view, Size(14, 20)), full[view.slices])


def test_what_does_not_belong_together_is_refused() -> None:
    full = striped(14, 10)
    coarse = coarse_of(graph_of(full))
    with pytest.raises(RecordError, match="assigns 4 superpixels, labels hold 5"):
        sample_regions(labels_of(full, n_superpixels=5), coarse, slide_info(14, 10), outline_mpp=1.0, max_px=6000)
    with pytest.raises(RecordError, match="not the size of slide 'drawn'"):
        sample_regions(labels_of(full, n_superpixels=4), coarse, slide_info(28, 20), outline_mpp=1.0, max_px=6000)


def test_a_label_grid_without_its_border_is_refused() -> None:
    lines = np.arange(3, dtype=np.int64)
    rest: dict[str, Any] = {"n_regions": 1, "subpixels": 1, "step_px": 1, "mpp": 1.0, "level0_mpp": 1.0}
    with pytest.raises(RecordError, match="border"):
        LabelGrid(regions=np.ones((4, 4), np.int32), x=lines, y=lines, **rest)
    with pytest.raises(RecordError, match="expected int32"):
        LabelGrid(regions=np.ones((2, 2), np.int32), x=lines, y=lines, **rest)
    with pytest.raises(RecordError, match="increase strictly"):
        LabelGrid(regions=np.zeros((4, 4), np.int32), x=lines * 0, y=lines, **rest)
