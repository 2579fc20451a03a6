"""Superpixels of the real slide: bit-identical for chunkings and threads, connected, on all the tissue."""

import hashlib

import dask
import numpy as np
import pytest
from skimage.measure import label as skimage_label

import wsigraph
from wsigraph.config import load
from wsigraph.errors import NoTissue
from wsigraph.geometry import Box
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue.window import tissue_window


@pytest.fixture(scope="module")
def slide(small_slide):
    with wsigraph.read(small_slide) as opened:
        yield opened


@pytest.fixture(scope="module")
def tissue(slide):
    return find_tissue(slide)


@pytest.fixture(scope="module")
def labels(slide, tissue):
    return np.asarray(wsigraph.segment(slide, tissue=tissue).labels[:])


@pytest.mark.parametrize("chunk_px", [256, 512, 777, 1000, 65536])
@pytest.mark.parametrize("threads", [1, 2])
def test_labels_do_not_depend_on_chunks_or_threads(slide, tissue, labels, chunk_px, threads):
    config = load(overrides=[f"runtime.chunk_px={chunk_px}"])
    with dask.config.set(scheduler="threads", num_workers=threads):
        again = wsigraph.segment(slide, config, tissue=tissue)
    np.testing.assert_array_equal(np.asarray(again.labels[:]), labels)
    assert again.n_superpixels == labels.max()


@pytest.mark.parametrize("stored", [True, False])
def test_processes_give_the_same_labels(slide, tissue, labels, tmp_path, stored):
    path = tmp_path / "superpixels.zarr" if stored else None
    with dask.config.set(scheduler="processes", num_workers=2):
        again = wsigraph.segment(slide, load(overrides=["runtime.chunk_px=700"]), tissue=tissue, path=path)
    np.testing.assert_array_equal(np.asarray(again.labels[:]), labels)
    assert [entry.name for entry in tmp_path.iterdir()] == (["superpixels.zarr"] if stored else [])


def test_a_cluster_gives_the_same_labels_and_graph(slide, tissue, labels, tmp_path):
    from distributed import Client, LocalCluster

    graph = wsigraph.build_graph(slide, wsigraph.segment(slide, tissue=tissue))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster):
        config = load(overrides=["runtime.chunk_px=700"])
        again = wsigraph.segment(slide, config, tissue=tissue, path=tmp_path / "superpixels.zarr")
        np.testing.assert_array_equal(np.asarray(again.labels[:]), labels)
        rebuilt = wsigraph.build_graph(slide, again, config)
    np.testing.assert_array_equal(rebuilt.moments, graph.moments)
    np.testing.assert_array_equal(rebuilt.boundary, graph.boundary)


def test_superpixels_are_connected_and_partition_the_tissue(slide, tissue, labels):
    assert skimage_label(labels, connectivity=1, background=0).max() == labels.max()
    mask = tissue_window(tissue.tissue, tissue.mpp, Box.whole(slide.size(1.0)), 1.0)
    assert (labels[~mask] == 0).all()
    # islands under the minimum area leave the tissue
    assert (labels[mask] == 0).sum() < 150 * 5
    assert np.bincount(labels.ravel())[1:].min() >= 150


def test_superpixels_have_the_size_asked_for(labels):
    area = np.bincount(labels.ravel())[1:]
    assert 0.5 * 900 < np.median(area) < 2 * 900


def test_stored_files_do_not_depend_on_chunks(slide, tissue, tmp_path):
    digests = set()
    for chunk_px in (400, 2048):
        path = tmp_path / f"{chunk_px}" / "superpixels.zarr"
        path.parent.mkdir()
        wsigraph.segment(slide, load(overrides=[f"runtime.chunk_px={chunk_px}"]), tissue=tissue, path=path)
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(str(file.relative_to(path)).encode() + file.read_bytes())
        digests.add(digest.hexdigest())
    assert len(digests) == 1


def test_tissue_too_small_for_a_superpixel_is_refused(slide, tissue):
    import dataclasses

    speck = np.zeros_like(tissue.tissue)
    speck[100, 100] = 1
    with pytest.raises(NoTissue, match="large enough"):
        wsigraph.segment(slide, tissue=dataclasses.replace(tissue, tissue=speck))
