"""Every chunked stage gives the same bits under every scheduler, number of threads and size of chunk.

Superpixels and the graph have their own such tests beside their rooms; here are the stages before and after them, on
one cluster that is started once.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

from wsigraph.config import TissueConfig
from wsigraph.geometry import Box
from wsigraph.graph.feature.efficientnet import efficientnet_lite0
from wsigraph.graph.feature.encode import encode
from wsigraph.graph.superpixel.lab import rgb_to_lab, smooth
from wsigraph.graph.tissue import focus, mask
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.records import SuperpixelLabels, TissueMap
from wsigraph.slide.reader import Slide, read

SCHEDULERS = ("synchronous", "threads-1", "threads-2", "threads-3", "processes", "distributed")


@pytest.fixture(scope="module")
def slide(small_slide: Path) -> Iterator[Slide]:
    with read(small_slide) as opened:
        yield opened


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    # none would be port 8787, which another such test may hold
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as started:
        yield started


@pytest.fixture(params=SCHEDULERS)
def scheduler(request: pytest.FixtureRequest) -> Iterator[str]:
    """Put each scheduler in force in turn; the cluster starts only where it is asked for."""
    kind, _, threads = request.param.partition("-")
    if kind == "distributed":
        with Client(request.getfixturevalue("cluster")):
            yield request.param
        return
    workers = int(threads or 1)  # starting a process costs more than these stages do
    with dask.config.set({"scheduler": kind, "num_workers": workers, "multiprocessing.context": "spawn"}):
        yield request.param


@pytest.fixture(scope="module")
def resampled(slide: Slide) -> np.ndarray:
    return slide.read(Box.whole(slide.size(0.7)), 0.7)


def test_resampling(slide: Slide, resampled: np.ndarray, scheduler: str) -> None:
    np.testing.assert_array_equal(slide.pixels(0.7, 777).compute(), resampled)


@pytest.mark.parametrize("chunk_px", [512, 1000, 65536])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_resampling_over_chunks_and_threads(slide: Slide, resampled: np.ndarray, chunk_px: int, threads: int) -> None:
    with dask.config.set(scheduler="threads", num_workers=threads):
        np.testing.assert_array_equal(slide.pixels(0.7, chunk_px).compute(), resampled)


@pytest.fixture(scope="module")
def found(slide: Slide) -> TissueMap:
    with dask.config.set(scheduler="synchronous"):
        return find_tissue(slide)


def assert_same_map(again: TissueMap, found: TissueMap) -> None:
    for name in ("tissue", "artefact", "section"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name), err_msg=name)
    np.testing.assert_array_equal(again.stain.vectors, found.stain.vectors)
    np.testing.assert_array_equal(again.stain.max_concentration, found.stain.max_concentration)
    assert again.stain.nucleus_threshold == found.stain.nucleus_threshold


def test_tissue_map_and_stain_basis(slide: Slide, found: TissueMap, scheduler: str) -> None:
    assert_same_map(find_tissue(slide), found)


@pytest.mark.parametrize("lattice_px", [37, 512, 65536])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_tissue_map_over_chunks_and_threads(
    slide: Slide, found: TissueMap, lattice_px: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask, "_GRID_CHUNK_PX", lattice_px)
    monkeypatch.setattr(focus, "_CELLS_PER_CHUNK", max(1, lattice_px // 32))
    with dask.config.set(scheduler="threads", num_workers=threads):
        assert_same_map(find_tissue(slide), found)


@pytest.mark.parametrize("threads", [2, 3])
def test_a_sampled_stain_basis_over_threads(slide: Slide, threads: int) -> None:
    """With fewer windows than the tissue has, the choice of windows must not depend on anything either."""
    config = TissueConfig(stain_windows=16, stain_window_um=64.0)
    with dask.config.set(scheduler="synchronous"):
        alone = find_tissue(slide, config)
    with dask.config.set(scheduler="threads", num_workers=threads):
        assert_same_map(find_tissue(slide, config), alone)


@pytest.mark.parametrize("chunk_px", [64, 100, 177, 400])
def test_lab_and_smoothing_of_a_window_are_those_of_the_whole(resampled: np.ndarray, chunk_px: int) -> None:
    passes, (height, width) = 3, (400, 430)
    rgb = np.ascontiguousarray(resampled[600 : 600 + height, 700 : 700 + width])

    def smoothed(pixels: np.ndarray) -> np.ndarray:
        lab = rgb_to_lab(np.ascontiguousarray(pixels))
        for _ in range(passes):
            lab = smooth(lab)
        return lab

    whole = smoothed(rgb)
    for y0 in range(0, height, chunk_px):
        for x0 in range(0, width, chunk_px):
            top, left = max(y0 - passes, 0), max(x0 - passes, 0)
            part = smoothed(rgb[top : y0 + chunk_px + passes, left : x0 + chunk_px + passes])
            inner = part[:, y0 - top :, x0 - left :][:, :chunk_px, :chunk_px]
            np.testing.assert_array_equal(inner, whole[:, y0 : y0 + chunk_px, x0 : x0 + chunk_px])


@pytest.fixture(scope="module")
def blocks(found: TissueMap) -> SuperpixelLabels:
    """Squares of 70 px on the slide's upper left, with a gap of background."""
    labels = np.arange(1, 50, dtype=np.int32).reshape(7, 7).repeat(70, 0).repeat(70, 1)
    labels[200:260] = 0
    return SuperpixelLabels(labels=labels, n_superpixels=49, mpp=1.0, tissue=found)


@pytest.fixture(scope="module")
def encoded(slide: Slide, blocks: SuperpixelLabels) -> np.ndarray:
    with dask.config.set(scheduler="synchronous"):
        return encode(slide, blocks, efficientnet_lite0())


def test_encoder_sums(slide: Slide, blocks: SuperpixelLabels, encoded: np.ndarray, scheduler: str) -> None:
    assert encoded.any()
    np.testing.assert_array_equal(encode(slide, blocks, efficientnet_lite0()), encoded)
