"""Contraction keeps totals, every moment and the outer boundary; selection keeps regions connected."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from wsigraph.geometry import Size
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.coarsening.contract import contract
from wsigraph.graph.coarsening.select import select
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.records import TissueGraph

from .slow_select import select as slow_select


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = np.unique(np.sort(rng.integers(0, n, (3 * n, 2)), axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    edge_index, boundary = both_directions(*pairs.T, rng.integers(1, 50, (len(pairs), 2)))
    return TissueGraph(
        slide_id="drawn",
        mpp=1.0,
        size=Size(100, 100),
        moments=rng.integers(1, 1000, (n, len(MOMENT_NAMES))),
        moment_names=MOMENT_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=estimate_stain(empty_histogram()),
        encoding_sum=rng.integers(-1000, 1000, (n, 5)),
        encoder="drawn",
    ), rng


@given(graphs())
@settings(deadline=None, max_examples=60)
def test_contraction_conserves(drawn):
    graph, rng = drawn
    group = np.unique(rng.integers(0, max(1, graph.n_nodes // 2), graph.n_nodes), return_inverse=True)[1].astype(
        np.int64
    )
    n_coarse = int(group.max()) + 1
    coarse = contract(graph, group, n_coarse)
    np.testing.assert_array_equal(coarse.moments.sum(axis=0), graph.moments.sum(axis=0))
    np.testing.assert_array_equal(coarse.encoding_sum.sum(axis=0), graph.encoding_sum.sum(axis=0))
    for node in range(n_coarse):
        np.testing.assert_array_equal(coarse.moments[node], graph.moments[group == node].sum(axis=0))
    across = group[graph.edge_index[0]] != group[graph.edge_index[1]]
    np.testing.assert_array_equal(coarse.boundary.sum(axis=0), graph.boundary[across].sum(axis=0))
    source, target = coarse.edge_index
    forward = {(s, t): tuple(b) for s, t, b in zip(*coarse.edge_index.tolist(), coarse.boundary.tolist(), strict=True)}
    assert all(forward[t, s] == b for (s, t), b in forward.items())
    assert (source != target).all()


@given(graphs(), st.floats(0.1, 5))
@settings(deadline=None, max_examples=60)
def test_selected_regions_are_connected_and_numbered_by_their_lowest_node(drawn, granularity):
    graph, rng = drawn
    embedding = rng.integers(-500, 500, (graph.n_nodes, 4))
    group = select(
        embedding, graph.moment("n"), graph.edge_index,
        granularity=granularity, max_area=10**9,
    )  # fmt: skip
    n_coarse = int(group.max()) + 1
    _, first = np.unique(group, return_index=True)
    assert len(first) == n_coarse
    assert (np.diff(first) > 0).all()
    inside = group[graph.edge_index[0]] == group[graph.edge_index[1]]
    source, target = graph.edge_index[:, inside]
    n_pieces, _ = connected_components(
        coo_array((np.ones(len(source)), (source, target)), shape=(graph.n_nodes, graph.n_nodes)), directed=False
    )
    assert n_pieces == n_coarse


def chain(values):
    n = len(values)
    low = np.arange(n - 1)
    edge_index, _ = both_directions(low, low + 1, np.ones((n - 1, 2), np.int64))
    return np.asarray(values, np.int64)[:, None], np.full(n, 100, np.int64), edge_index


def test_two_plateaus_become_two_regions():
    embedding, area, edges = chain([0, 1, 0, 2, 1, 500, 501, 500, 502, 499])
    group = select(embedding, area, edges, granularity=5.0, max_area=10**9)
    np.testing.assert_array_equal(group, [0] * 5 + [1] * 5)


def test_homogeneous_tissue_gets_fewer_nodes_than_heterogeneous():
    rng = np.random.default_rng(0)
    calm, busy = rng.normal(0, 5, 60), rng.normal(0, 200, 60)
    embedding, area, edges = chain(np.concatenate([calm, [2000], busy]).round())
    group = select(embedding, area, edges, granularity=1.0, max_area=10**9)
    assert len(np.unique(group[:60])) * 3 < len(np.unique(group[61:]))


def test_bound_on_area_holds():
    embedding, area, edges = chain([0] * 64)
    group = select(embedding, area, edges, granularity=5.0, max_area=800)
    assert np.bincount(group).max() == 8
    group = select(embedding, area, edges, granularity=5.0, max_area=800, n_wanted=2)
    assert group.max() + 1 >= 8


@given(graphs(), st.integers(1, 50))
@settings(deadline=None, max_examples=60)
def test_a_budget_is_met_to_the_region(drawn, n_wanted):
    graph, rng = drawn
    source, target = graph.edge_index
    n_pieces, _ = connected_components(
        coo_array((np.ones(len(source)), (source, target)), shape=(graph.n_nodes, graph.n_nodes)), directed=False
    )
    group = select(
        rng.integers(-500, 500, (graph.n_nodes, 4)), graph.moment("n"), graph.edge_index,
        granularity=1.0, max_area=10**9, n_wanted=n_wanted,
    )  # fmt: skip
    assert group.max() + 1 == min(graph.n_nodes, max(n_pieces, n_wanted))


def test_a_smaller_budget_merges_what_a_larger_one_left():
    """Different budgets stop the same sequence of merges at different points, so their regions nest."""
    rng = np.random.default_rng(4)
    embedding, area, edges = chain(rng.normal(0, 300, 200).cumsum().round())
    fine, coarse = (select(embedding, area, edges, granularity=1.0, max_area=10**9, n_wanted=n) for n in (60, 20))
    assert len(np.unique(fine * 1000 + coarse)) == 60


def test_selection_does_not_depend_on_the_order_of_nodes():
    rng = np.random.default_rng(2)
    n = 300
    pairs = np.unique(
        np.sort(
            np.concatenate([rng.integers(0, n, (2 * n, 2)), np.stack([np.arange(n - 1), np.arange(1, n)], 1)]), axis=1
        ),
        axis=0,
    )
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    embedding, order = rng.integers(-5000, 5000, (n, 6)), rng.permutation(n)
    groups = []
    for rank in (np.arange(n), np.argsort(order)):
        edge_index, _ = both_directions(*np.sort(rank[pairs], axis=1).T, np.ones((len(pairs), 2), np.int64))
        z = np.empty_like(embedding)
        z[rank] = embedding
        group = select(z, np.full(n, 9), edge_index, granularity=1.0, max_area=10**9, n_wanted=30)
        groups.append(group[rank])
    # the same partition, by other numbers
    assert len(np.unique(groups[0] * n + groups[1])) == 30


def test_a_graph_without_edges_stays_as_it_is():
    group = select(
        np.zeros((3, 2), np.int64), np.ones(3, np.int64), np.zeros((2, 0), np.int64),
        granularity=1.0, max_area=10,
    )  # fmt: skip
    np.testing.assert_array_equal(group, [0, 1, 2])


def test_moments_of_merged_regions_give_their_area():
    drawn = np.random.default_rng(5)
    moments = drawn.integers(1, 9, (4, len(MOMENT_NAMES)))
    graph = TissueGraph(
        slide_id="made", mpp=1.0, size=Size(9, 9), moments=moments, moment_names=MOMENT_NAMES,
        edge_index=np.zeros((2, 0), np.int64), boundary=np.zeros((0, 2), np.int64),
        stain=estimate_stain(empty_histogram()),
    )  # fmt: skip
    coarse = contract(graph, np.array([1, 0, 1, 1]), 2)
    assert coarse.moment("n").tolist() == [moments[1, COLUMN["n"]], moments[[0, 2, 3], COLUMN["n"]].sum()]


@given(
    graphs(), st.floats(0.1, 6), st.none() | st.integers(1, 30), st.integers(1, 3), st.sampled_from([2000, 5000, 10**9])
)
@settings(deadline=None, max_examples=150)
def test_selection_equals_its_slow_spelling(drawn, granularity, n_wanted, coarse_steps, max_area):
    """Ties abound where the embedding takes few values."""
    graph, rng = drawn
    embedding = rng.integers(-500, 500, (graph.n_nodes, 5)) // 10**coarse_steps * 10**coarse_steps
    keywords = {"granularity": granularity, "max_area": max_area, "n_wanted": n_wanted}
    given_ = (embedding, graph.moment("n"), graph.edge_index)
    np.testing.assert_array_equal(select(*given_, **keywords), slow_select(*given_, **keywords))
