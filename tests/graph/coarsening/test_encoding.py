"""Regions merged by an encoder's own features, where no pixel was counted."""

import dataclasses

import numpy as np
import pytest

from wsigraph.config import CoarseningConfig
from wsigraph.errors import RecordError
from wsigraph.exchange.trident import graph_from_features
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.encoding import embed_encoding

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
SIDE = 12


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """A square of 12 x 12 tiles whose left and right halves have other directions, with noise and any length."""
    rng = np.random.default_rng(5)
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    class_means = np.eye(2, 32) * 5
    features = class_means[(x >= SIDE // 2).astype(int)] + rng.normal(0, 0.2, (SIDE * SIDE, 32))
    features *= rng.uniform(0.5, 2.0, (SIDE * SIDE, 1))
    path = tmp_path_factory.mktemp("features") / "tiles.h5"
    with h5py.File(path, "w") as file:
        coords = file.create_dataset("coords", data=256 * np.stack([x, y], axis=1))
        coords.attrs["patch_size_level0"] = 256
        file["features"] = features.astype(np.float32)
    return graph_from_features(path, mpp=0.5, encoder="made"), x >= SIDE // 2


def test_tiles_of_one_direction_merge_and_no_region_spans_two(halves):
    graph, is_right = halves
    coarse = coarsen(graph)
    assert coarse.embedding_id == "encoding-made"
    assert coarse.graph.n_nodes <= SIDE * SIDE // 4
    for region in range(coarse.graph.n_nodes):
        assert len(set(is_right[coarse.assignment == region])) == 1
    assert coarse.graph.moment("n").sum() == graph.moment("n").sum()


def test_length_does_not_matter_and_direction_is_kept(halves):
    graph, _ = halves
    position = embed_encoding(graph)
    longer = dataclasses.replace(graph, encoding_sum=7 * graph.encoding_sum)
    np.testing.assert_array_equal(embed_encoding(longer), position)
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 4096, rtol=1e-3)


def test_without_an_encoding_it_says_what_to_do(halves):
    graph, _ = halves
    bare = dataclasses.replace(graph, encoding_sum=None, encoder=None)
    with pytest.raises(RecordError, match=r"coarsening\.space"):
        coarsen(bare, CoarseningConfig(space="encoding"))
    with pytest.raises(RecordError, match="moment schema"):
        coarsen(bare)
