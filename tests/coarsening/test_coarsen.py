"""Coarsening of the real slide, and the embedding behind it."""

import dataclasses

import numpy as np
import pytest
import torch

import wsigraph
from wsigraph.coarsening.coarsen import coarsen
from wsigraph.coarsening.embed import embed, load_embedding, save_embedding, standardise
from wsigraph.coarsening.train import train_embedding
from wsigraph.config import CoarseningConfig
from wsigraph.errors import ModelError
from wsigraph.feature.interpret import interpret
from wsigraph.records import TissueGraph


@pytest.fixture(scope="module")
def graph(small_slide):
    with wsigraph.read(small_slide) as slide:
        return wsigraph.build_graph(slide, wsigraph.segment(slide))


def permuted(graph, order):
    """Return the graph with node `order[i]` at place i."""
    rank = np.argsort(order)
    source, target = rank[graph.edge_index[0]], rank[graph.edge_index[1]]
    by = np.lexsort((target, source))
    return dataclasses.replace(
        graph, moments=graph.moments[order], edge_index=np.stack([source[by], target[by]]), boundary=graph.boundary[by]
    )


def test_the_real_slide_shrinks_and_keeps_everything(graph):
    coarse = coarsen(graph)
    assert coarse.graph.n_nodes * 4 < graph.n_nodes
    np.testing.assert_array_equal(coarse.graph.moments.sum(axis=0), graph.moments.sum(axis=0))
    assert coarse.embedding_id == load_embedding().embedding_id


def test_coarsening_twice_gives_the_same_bytes(graph):
    first, second = coarsen(graph), coarsen(graph)
    np.testing.assert_array_equal(first.assignment, second.assignment)
    np.testing.assert_array_equal(first.graph.moments, second.graph.moments)


def test_threads_of_torch_and_blas_do_not_matter(graph):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = embed(graph, load_embedding())
        torch.set_num_threads(2)
        two = embed(graph, load_embedding())
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(one, two)


def test_embedding_follows_a_permutation_of_nodes(graph):
    order = np.random.default_rng(0).permutation(graph.n_nodes)
    weights = load_embedding()
    # the mean over neighbours is summed in another order, so the last unit of 1/256 may move
    assert np.abs(embed(permuted(graph, order), weights) - embed(graph, weights)[order]).max() <= 1


def test_finer_granularity_keeps_more_nodes(graph):
    counts = [coarsen(graph, CoarseningConfig(granularity=value)).graph.n_nodes for value in (0.5, 2.0, 8.0)]
    assert counts[0] > counts[1] > counts[2]


def test_coarse_regions_are_purer_than_chance(graph):
    """Variance of hematoxylin inside regions is well below that of random regions of the same sizes."""
    value = interpret(graph).values[:, 0]
    assignment = coarsen(graph).assignment
    shuffled = np.random.default_rng(1).permutation(assignment)

    def inside(group):
        mean = np.bincount(group, value) / np.bincount(group)
        return ((value - mean[group]) ** 2).mean()

    assert inside(assignment) < 0.6 * inside(shuffled)


def test_training_draws_alike_neighbours_together(graph):
    trained = train_embedding([graph], generator=np.random.default_rng(3), steps=80)
    again = train_embedding([graph], generator=np.random.default_rng(3), steps=80)
    assert trained.embedding_id == again.embedding_id
    z = embed(graph, trained) / 256
    features = standardise(interpret(graph).values, trained.mean, trained.scale)
    source, target = graph.edge_index
    contrast = np.linalg.norm(features[source] - features[target], axis=1)
    distance = np.linalg.norm(z[source] - z[target], axis=1)
    low, high = np.quantile(contrast, [1 / 3, 2 / 3])
    assert distance[contrast >= high].mean() > 2 * distance[contrast <= low].mean()


def test_embedding_round_trip_and_faults(graph, tmp_path):
    weights = load_embedding()
    path = tmp_path / "embedding.safetensors"
    save_embedding(weights, path)
    first = path.read_bytes()
    assert load_embedding(path).embedding_id == weights.embedding_id
    save_embedding(weights, path)
    assert path.read_bytes() == first
    with pytest.raises(ModelError, match="does not read"):
        load_embedding(tmp_path / "absent.safetensors")
    path.write_bytes(first[:100])
    with pytest.raises(ModelError, match="does not read"):
        load_embedding(path)
    save_embedding(dataclasses.replace(weights, feature_schema="0" * 16), path)
    with pytest.raises(ModelError, match="feature schema 0000"):
        load_embedding(path)


def test_too_small_a_graph_cannot_teach(graph):
    lone = TissueGraph(
        slide_id="one", mpp=1.0, size=graph.size, moments=graph.moments[:1], moment_names=graph.moment_names,
        edge_index=np.zeros((2, 0), np.int64), boundary=np.zeros((0, 2), np.int64), stain=graph.stain,
    )  # fmt: skip
    with pytest.raises(ModelError, match="neighbour pairs"):
        train_embedding([lone], generator=np.random.default_rng(0))
    assert coarsen(lone).graph.n_nodes == 1
