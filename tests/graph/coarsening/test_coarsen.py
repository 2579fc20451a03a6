"""Coarsening of the real slide, and the embedding behind it."""

import dataclasses

import numpy as np
import pytest
import torch

import wsigraph
from wsigraph.config import CoarseningConfig
from wsigraph.errors import ConfigError, ModelError
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import edge_score, embed, load_embedding, save_embedding
from wsigraph.graph.coarsening.train_embedding import train_embedding
from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, interpret
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
    counts = [coarsen(graph, CoarseningConfig(granularity=value)).graph.n_nodes for value in (0.5, 1.0, 2.0)]
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


@pytest.mark.parametrize("settings", [{"ratio": 10.0}, {"nodes_per_mm2": 50.0}])
def test_a_budget_is_met(graph, settings):
    n_nodes = coarsen(graph, CoarseningConfig(**settings)).graph.n_nodes
    wanted = graph.n_nodes / 10 if "ratio" in settings else 50 * graph.tissue_mm2
    assert n_nodes == round(wanted)


def test_two_budgets_are_refused(graph):
    with pytest.raises(ConfigError, match="at most one budget"):
        coarsen(graph, CoarseningConfig(ratio=10, nodes_per_mm2=50))


def test_dense_where_tissue_changes(graph):
    """The half of the superpixels that differ most from their neighbours keeps more than its share of the regions."""
    z = embed(graph, load_embedding())
    source, target = graph.edge_index
    change = np.bincount(source, np.linalg.norm(z[source] - z[target], axis=1)) / np.bincount(source)
    assignment = coarsen(graph).assignment
    density = 1 / np.bincount(assignment)[assignment]
    busy = change > np.median(change)
    assert density[busy].sum() > 1.2 * density[~busy].sum()


def test_training_is_repeatable_and_leaves_shape_out(graph):
    trained, again = (train_embedding([graph], generator=np.random.default_rng(3)) for _ in range(2))
    assert trained.embedding_id == again.embedding_id
    assert trained.own_weight.shape == trained.message_weight.shape == (16, 36)
    weight = (trained.own_weight**2 + trained.message_weight**2).sum(axis=0)
    groups = np.array(FEATURE_GROUPS)
    assert (weight[groups == "shape"] == 0).all()
    assert (weight[groups != "shape"] > 0.01).sum() >= 3


def test_edge_score_finds_the_seam_of_two_tissues(graph):
    """Training sees a graph whose halves differ in stain; boundaries across the seam score above those within."""
    side = 14
    low = np.concatenate([[i * side + j] * 2 for i in range(side - 1) for j in range(side - 1)]).ravel()
    high = low + np.tile([1, side], len(low) // 2)
    edge_index, boundary = both_directions(low, high, np.full((len(low), 2), 10))
    half = np.arange(side * side) % side < side // 2
    order = np.argsort(interpret(graph).values[:, FEATURE_NAMES.index("hematoxylin_mean")], kind="stable")
    rng = np.random.default_rng(0)
    chosen = np.where(half, rng.choice(order[:80], side * side), rng.choice(order[-80:], side * side))
    made = dataclasses.replace(graph, moments=graph.moments[chosen], edge_index=edge_index, boundary=boundary)
    trained = train_embedding([made], generator=np.random.default_rng(1), teacher_ratio=20)
    score = edge_score(embed(made, trained), edge_index, trained)
    across = half[edge_index[0]] != half[edge_index[1]]
    assert np.median(score[across]) > 0 > np.median(score[~across])
    assert np.median(score[across]) > np.quantile(score[~across], 0.9)


def test_a_graph_of_one_tissue_cannot_teach(graph):
    flat = dataclasses.replace(graph, moments=np.repeat(graph.moments[:1], graph.n_nodes, axis=0))
    # all superpixels are equal: the teacher still separates some, but no feature shows which
    trained = train_embedding([flat], generator=np.random.default_rng(0))
    assert np.abs(embed(flat, trained)).max() < 256


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
