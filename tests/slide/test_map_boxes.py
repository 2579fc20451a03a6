"""Work in boxes and in bands: everything once, in order, and progress that ends at its total."""

from __future__ import annotations

import dask
import numpy as np
import pytest

from wsigraph.geometry import Box, Size, grid
from wsigraph.slide.map_boxes import map_chunks, map_rows, map_threads, n_threads


def corner(box: Box, offset: int) -> tuple[int, int]:
    return box.y0 + offset, box.x0 + offset


@pytest.mark.parametrize("chunk_px", [64, 100, 1000, 5000])
@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_every_box_once_in_order(chunk_px: int, scheduler: str) -> None:
    boxes = list(grid(Size(3000, 2600), chunk_px))
    told: list[tuple[str, int, int]] = []
    with dask.config.set(scheduler=scheduler):
        results = map_chunks(corner, boxes, 7, stage="corners", progress=lambda *step: told.append(step))
    assert results == [(box.y0 + 7, box.x0 + 7) for box in boxes]
    assert told[0] == ("corners", 0, 7_800_000)
    assert told[-1] == ("corners", 7_800_000, 7_800_000)
    done = [step[1] for step in told]
    assert done == sorted(set(done))


def test_progress_is_told_while_the_work_goes_on() -> None:
    boxes = list(grid(Size(2048, 20480), 1024))
    told: list[int] = []
    with dask.config.set(scheduler="synchronous"):
        map_chunks(lambda _: len(told), boxes, progress=lambda _, done, __: told.append(done))
    assert len(told) == len(boxes) + 1


def test_small_boxes_share_a_task() -> None:
    starts: list[int] = []
    boxes = list(grid(Size(4096, 4096), 64))
    with dask.config.set(scheduler="synchronous"):
        map_chunks(corner, boxes, 0, progress=lambda _, done, __: starts.append(done))
    assert 30 <= len(starts) < len(boxes) / 40


def test_no_box_is_no_work() -> None:
    assert map_chunks(corner, [], 0) == []


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n_rows", [0, 1, 5, 64])
def test_bands_partition_the_rows(threads: int, n_rows: int) -> None:
    with dask.config.set(scheduler="threads", num_workers=threads):
        bands = map_rows(lambda start, stop, step: list(range(start, stop, step)), n_rows, 1)
    assert [row for band in bands for row in band] == list(range(n_rows))
    assert len(bands) == max(1, min(threads, n_rows))


def test_threads_keep_the_order_and_pass_on_what_fails() -> None:
    with dask.config.set(scheduler="threads", num_workers=3):
        assert map_threads(lambda item, factor: item * factor, range(10), 3) == list(range(0, 30, 3))
        with pytest.raises(ZeroDivisionError):
            map_threads(lambda item: 1 // item, [1, 0])


def test_the_number_of_threads_is_dasks() -> None:
    with dask.config.set(num_workers=5, scheduler="threads"):
        assert n_threads() == 5
        with dask.config.set(scheduler="synchronous"):
            assert n_threads() == 1
    assert np.greater_equal(n_threads(), 1)
