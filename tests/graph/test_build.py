"""The real slide's graph: bit-identical for chunkings and threads, and conserving what it counts."""

import dask
import numpy as np
import pytest

import wsigraph
from wsigraph.config import load
from wsigraph.graph.feature.moments import COLUMN


@pytest.fixture(scope="module")
def parts(small_slide):
    with wsigraph.read(small_slide) as slide:
        labels = wsigraph.segment(slide)
        yield slide, labels, wsigraph.build_graph(slide, labels)


@pytest.mark.parametrize("chunk_px", [256, 512, 777, 65536])
@pytest.mark.parametrize("threads", [1, 2])
def test_graph_does_not_depend_on_chunks_or_threads(parts, chunk_px, threads):
    slide, labels, graph = parts
    with dask.config.set(scheduler="threads", num_workers=threads):
        again = wsigraph.build_graph(slide, labels, load(overrides=[f"runtime.chunk_px={chunk_px}"]))
    for name in ("moments", "edge_index", "boundary"):
        np.testing.assert_array_equal(getattr(again, name), getattr(graph, name))


def test_processes_give_the_same_graph(parts, tmp_path, small_slide):
    slide, _, graph = parts
    labels = wsigraph.segment(slide, path=tmp_path / "superpixels.zarr")
    with dask.config.set(scheduler="processes", num_workers=2):
        again = wsigraph.build_graph(slide, labels, load(overrides=["runtime.chunk_px=512"]))
    np.testing.assert_array_equal(again.moments, graph.moments)
    np.testing.assert_array_equal(again.boundary, graph.boundary)


def test_areas_and_positions_are_those_of_the_labels(parts):
    _, labels, graph = parts
    image = np.asarray(labels.labels[:])
    np.testing.assert_array_equal(graph.moment("n"), np.bincount(image.ravel())[1:])
    y, x = np.nonzero(image == 7)
    np.testing.assert_allclose(graph.centroid_um[6], [x.mean() + 0.5, y.mean() + 0.5])


def test_all_boundaries_close(parts):
    """Every pixel has four sides: inner, shared, facing glass or on the slide's edge."""
    _, labels, graph = parts
    image = np.asarray(labels.labels[:])
    own = graph.moments[:, COLUMN["outside_straight"]] + graph.moments[:, COLUMN["edge_straight"]]
    shared = np.zeros(graph.n_nodes, np.int64)
    np.add.at(shared, graph.edge_index[0], graph.boundary[:, 0])
    padded = np.pad(image, 1, constant_values=-1)
    inner = np.zeros(graph.n_nodes + 1, np.int64)
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        neighbour = padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx]
        inner += np.bincount(image[neighbour == image], minlength=graph.n_nodes + 1)
    np.testing.assert_array_equal(own + shared + inner[1:], 4 * graph.moment("n"))


def test_boundaries_are_symmetric(parts):
    graph = parts[2]
    source, target = graph.edge_index
    forward = {
        (s, t): tuple(b) for s, t, b in zip(source.tolist(), target.tolist(), graph.boundary.tolist(), strict=True)
    }
    assert all(forward[t, s] == b for (s, t), b in forward.items())
    assert (source != target).all()
