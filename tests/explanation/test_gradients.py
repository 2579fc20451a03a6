"""Attributions: closed form, completeness, symmetry, and what does not matter to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from wsigraph.errors import ConfigError
from wsigraph.explanation import gradients
from wsigraph.explanation.faithfulness import dropping, replacing
from wsigraph.explanation.gradients import (
    Precision,
    _gradients_by_member,
    gradient_x_input,
    integrate,
    output_of,
    pooling_weights,
    to_nodes,
)
from wsigraph.explanation.members import ExplainedMember, Shape, explained_members
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.reference_input import (
    REFERENCE_INPUTS,
    ReferenceInput,
    make_broad_reference_input,
    make_reference_input,
)
from wsigraph.explanation.sanity_checks import randomise_weights
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.inputs import GraphInput, Scaler, graph_input
from wsigraph.records import CoarseGraph

RNG = np.random.default_rng


class Linear(torch.nn.Module):
    """A stage logit that is linear in features and edge attributes."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = torch.linspace(-1, 1, n_features)
        self.edge_weight = torch.tensor([0.5, -0.25, 2.0])

    def forward(self, x: Any, edge_index: Any, e: Any, batch: Any, area: Any, n_graphs: int) -> Any:
        by_node = (x @ self.weight) * area
        value = torch.zeros(n_graphs).index_add(0, batch, by_node)
        value = value.index_add(0, batch[edge_index[0]], e @ self.edge_weight)
        return value[:, None], torch.zeros(n_graphs, 2)


@pytest.fixture(scope="module")
def raw(coarse: CoarseGraph) -> GraphInput:
    return graph_input(coarse)


def plain_scaler(graph: GraphInput) -> Scaler:
    n_features = graph.features.shape[1]
    return replace(
        Scaler.fit([graph, graph]),
        feature_mean=np.zeros(n_features),
        feature_scale=np.ones(n_features),
        edge_mean=np.zeros(3),
        edge_scale=np.ones(3),
    )


def test_a_linear_network_gets_weight_times_difference() -> None:
    rng = RNG(1)
    graph = GraphInput(
        features=rng.normal(size=(5, 4)),
        area_um2=rng.uniform(1, 2, 5),
        edge_index=np.array([[0, 1, 1, 2], [1, 0, 2, 1]]),
        edge_attribute=rng.normal(size=(4, 3)),
    )
    start = replace(graph, features=rng.normal(size=(5, 4)), edge_attribute=rng.normal(size=(4, 3)))
    network: Any = Linear(4)
    member = ExplainedMember(network=network, scaler=plain_scaler(graph), ends_days=np.array([1.0, 2.0]))
    path = ReferenceInput(name="site", reference_input_id="x", paths=((start,),))
    (found,) = integrate([member], [Target("stage")], graph, path, Precision(n_steps=4))
    share = (graph.area_um2 / graph.area_um2.sum())[:, None]
    expected = network.weight.numpy() * share * (graph.features - start.features)
    # single precision: two ends rounded, a mean of four gradients of two factors, and at edges a sum of three products
    rounding = (2 + 4 + 2 + 3) * 2**-24
    by_node = np.abs(network.weight.numpy() * share) * (np.abs(graph.features) + np.abs(start.features))
    np.testing.assert_allclose(found.feature, expected, rtol=0, atol=rounding * by_node.max())
    edge_weight = network.edge_weight.numpy()
    by_edge = (graph.edge_attribute - start.edge_attribute) @ edge_weight
    size = (np.abs(graph.edge_attribute) + np.abs(start.edge_attribute)) @ np.abs(edge_weight)
    np.testing.assert_allclose(found.edge, by_edge, rtol=0, atol=rounding * size.max())
    assert found.completeness_error < 1e-5
    assert found.n_steps == 4


@pytest.mark.parametrize("name", REFERENCE_INPUTS)
@pytest.mark.parametrize("target", ["stage", "risk", "survival@700"])
def test_attributions_add_up(
    bundle: ModelBundle, raw: GraphInput, reference: Reference, name: str, target: str
) -> None:
    networks = explained_members(bundle)
    path = make_reference_input(name, raw, networks[0], reference, site="site 1", rng=RNG(0))
    precision = Precision(n_steps=20, floor=0.05 * reference.output_sd(Target.parse(target)))
    (found,) = integrate(networks, [Target.parse(target)], raw, path, precision)
    total = found.feature.sum() + found.edge.sum()
    assert found.completeness_error <= precision.limit(found.value - found.reference_value) * (
        20 if name == "draws" else 1
    )
    assert abs(total - (found.value - found.reference_value)) <= found.completeness_error + 1e-9
    assert to_nodes(found.feature, found.edge, raw).sum() == pytest.approx(total, abs=1e-9)


def ensemble(bundle: ModelBundle) -> tuple[ExplainedMember, ...]:
    """Return three members that disagree in weights, intervals and temperature."""
    (own,) = explained_members(bundle)
    drawn = [randomise_weights([own], seed=seed)[0] for seed in range(2)]
    stretched = [
        replace(each, ends_days=own.ends_days * stretch, temperature=temperature)
        for each, stretch, temperature in zip(drawn, (1.1, 1.5), (2.0, 0.5), strict=True)
    ]
    return (own, *stretched)


@pytest.mark.parametrize("target", ["stage", "risk", "survival@700"])
def test_an_ensemble_is_integrated_as_one(
    bundle: ModelBundle, raw: GraphInput, reference: Reference, target: str
) -> None:
    networks, asked = ensemble(bundle), Target.parse(target)
    path = make_reference_input("cluster", raw, networks[0], reference, rng=RNG(0))
    precision = Precision(n_steps=20, floor=0.05 * reference.output_sd(asked))
    (found,) = integrate(networks, [asked], raw, path, precision)
    together = dropping(networks, asked, raw)(np.zeros((1, len(raw.features)), np.bool_))[0]
    assert found.value == pytest.approx(together, abs=1e-6)
    assert found.completeness_error <= precision.limit(found.value - found.reference_value)
    np.testing.assert_allclose(found.member_node.sum(axis=0), found.of_regions(raw), atol=1e-9)
    alone = [integrate([each], [asked], raw, path, precision)[0] for each in networks]
    mean = np.mean([each.value - each.reference_value for each in alone], axis=0)
    # a mean of survivals is linear in its members; the log-odds and the risk of one are not
    limit = precision.limit(mean)
    assert (abs(found.value - found.reference_value - mean) < 2 * limit) == (asked.kind == "survival")


def test_a_slide_too_large_to_hold_all_members_gives_the_same(
    bundle: ModelBundle, raw: GraphInput, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = ensemble(bundle)
    path = make_reference_input("mean", raw, networks[0], reference, rng=RNG(0))
    exact = Precision(n_steps=6, max_steps=6)
    monkeypatch.setattr("wsigraph.explanation.gradients.CHUNK_NODES", len(raw.features))
    (held,) = integrate(networks, [Target("risk")], raw, path, exact)
    monkeypatch.setattr("wsigraph.explanation.gradients.CHUNK_NODES", len(raw.features) - 1)
    (again,) = integrate(networks, [Target("risk")], raw, path, exact)
    np.testing.assert_array_equal(held.feature, again.feature)
    np.testing.assert_array_equal(held.edge, again.edge)


def test_what_a_broad_kind_can_undo_leaves_edges_alone(
    bundle: ModelBundle, raw: GraphInput, reference: Reference
) -> None:
    (found,) = integrate(
        explained_members(bundle), [Target("risk")], raw, make_broad_reference_input(raw, reference), Precision()
    )
    assert not found.edge.any()
    typical = reference.broad_cluster_mean[reference.broad_clusters(raw.features)]
    outputs = replacing(explained_members(bundle), Target("risk"), raw, typical)
    assert outputs(np.ones((1, len(raw.features)), np.bool_))[0] == pytest.approx(found.reference_value, abs=1e-5)


def permuted(raw: GraphInput, order: np.ndarray) -> GraphInput:
    edges = np.argsort(order)[raw.edge_index]
    by_source = np.lexsort((edges[1], edges[0]))
    return GraphInput(
        features=raw.features[order],
        area_um2=raw.area_um2[order],
        edge_index=edges[:, by_source],
        edge_attribute=raw.edge_attribute[by_source],
    )


def test_permuting_nodes_permutes_attributions(bundle: ModelBundle, raw: GraphInput, reference: Reference) -> None:
    order = RNG(2).permutation(len(raw.features))
    networks = explained_members(bundle)
    found = []
    for graph in (raw, permuted(raw, order)):
        path = make_reference_input("cluster", graph, networks[0], reference, rng=RNG(0))
        (each,) = integrate(networks, [Target("risk")], graph, path, Precision())
        found.append(to_nodes(each.feature, each.edge, graph))
    # sums in float32 in another order
    np.testing.assert_allclose(found[1], found[0][order], atol=2e-5)


def test_threads_and_chunks_leave_no_trace(
    bundle: ModelBundle, raw: GraphInput, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = explained_members(bundle) * 2
    path = make_reference_input("cluster", raw, networks[0], reference, rng=RNG(0))
    targets = [Target("risk"), Target("stage")]
    one = integrate(networks, targets, raw, path, Precision(), threads=1)
    two = integrate(networks, targets, raw, path, Precision(), threads=2)
    for left, right in zip(one, two, strict=True):
        for name in ("feature", "edge", "first_segment", "member_node"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    monkeypatch.setattr("wsigraph.explanation.gradients.CHUNK_NODES", 1)
    small = integrate(networks[:1], targets[:1], raw, path, Precision())
    # two members of the same weights are one, and each passes half of it
    np.testing.assert_allclose(small[0].feature, one[0].feature, atol=1e-5)
    np.testing.assert_allclose(one[0].member_node[0], one[0].member_node[1], atol=1e-6)


def test_more_steps_are_taken_where_the_gap_is_too_large(bundle: ModelBundle, raw: GraphInput) -> None:
    networks = explained_members(bundle)
    path = make_reference_input("mean", raw, networks[0], None, rng=RNG(0))
    (rough,) = integrate(networks, [Target("risk")], raw, path, Precision(n_steps=2, max_steps=2))
    (fine,) = integrate(networks, [Target("risk")], raw, path, Precision(n_steps=2, max_completeness_error=1e-4))
    assert fine.n_steps > rough.n_steps == 2
    assert fine.completeness_error < rough.completeness_error


def test_the_first_segment_tells_what_tissue_there_is(
    bundle: ModelBundle, raw: GraphInput, reference: Reference
) -> None:
    networks = explained_members(bundle)
    path = make_reference_input("cluster", raw, networks[0], reference, rng=RNG(0))
    (found,) = integrate(networks, [Target("risk")], raw, path, Precision())
    typical = ReferenceInput(name="site", reference_input_id="x", paths=(path.paths[0][:1],))
    (first,) = integrate(networks, [Target("risk")], path.paths[0][1], typical, Precision())
    np.testing.assert_allclose(found.first_segment, first.feature.sum(axis=1), atol=1e-3)


def test_rivals_are_what_they_are_called(bundle: ModelBundle, raw: GraphInput) -> None:
    (member,) = explained_members(bundle)
    weight = pooling_weights(member, member.scaled(raw))
    assert weight.sum() == pytest.approx(1, abs=1e-5)
    assert (weight > 0).all()
    assert np.isfinite(gradient_x_input([member], Target("risk"), raw)).all()


def test_one_region_without_edges(bundle: ModelBundle, raw: GraphInput, reference: Reference) -> None:
    alone = GraphInput(
        features=raw.features[:1],
        area_um2=raw.area_um2[:1],
        edge_index=np.zeros((2, 0), np.int64),
        edge_attribute=np.zeros((0, 3)),
    )
    networks = explained_members(bundle)
    path = make_reference_input("cluster", alone, networks[0], reference, rng=RNG(0))
    (found,) = integrate(networks, [Target("risk")], alone, path, Precision())
    assert found.feature.sum() == pytest.approx(found.value - found.reference_value, abs=0.02)


@pytest.mark.parametrize("text", ["grade", "survival", "survival@soon", "survival@-3", "stage@4", "survival@nan"])
def test_an_unknown_target_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected stage, risk or survival@DAYS"):
        Target.parse(text)


def test_baselines_that_cannot_be_are_refused(bundle: ModelBundle, raw: GraphInput, reference: Reference) -> None:
    (member,) = explained_members(bundle)
    with pytest.raises(ConfigError, match="needs the model's training reference"):
        make_reference_input("cluster", raw, member, None, rng=RNG(0))
    with pytest.raises(ConfigError, match="expected one of site 0, site 1"):
        make_reference_input("site", raw, member, reference, site="elsewhere", rng=RNG(0))
    with pytest.raises(ConfigError, match="expected one of cluster, site"):
        make_reference_input("black", raw, member, reference, rng=RNG(0))
    with pytest.raises(ConfigError, match="beyond the model's last interval"):
        Target.parse("survival@1e9").check([member.ends_days], 4)


def test_survival_runs_through_its_intervals() -> None:
    network: Any = None
    scaler: Any = None
    member = ExplainedMember(network=network, scaler=scaler, ends_days=np.array([100.0, 200.0]))
    ends, logits = member.ends_days, (torch.zeros(1, 3), torch.logit(torch.tensor([[0.5, 0.5]])))
    days_asked = (100.0, 150.0, 200.0)
    values = [float(Target("survival", days).read([member], [logits])[0]) for days in days_asked]
    assert values == pytest.approx([0.5, 0.5**1.5, 0.25])
    assert float(Target("risk").read([member], [logits])[0]) == pytest.approx(np.log(-np.log(0.25)))
    log_alive = np.log(np.array([[0.5, 0.25]]))
    known = [
        Target("survival", days).of_training(log_alive[:, 0], log_alive[:, 0], log_alive, ends) for days in (50, 150)
    ]
    assert np.concatenate(known) == pytest.approx([0.5**0.5, 0.5**1.5])


def test_one_member_at_a_time_gives_the_same_gradients(bundle: ModelBundle, raw: GraphInput) -> None:
    members = ensemble(bundle)
    graphs = [member.scaled(raw) for member in members]
    shape = Shape.of(graphs[0])
    inputs = [torch.from_numpy(graph.features)[None].requires_grad_() for graph in graphs]
    inputs += [torch.from_numpy(graph.edge_attribute)[None].requires_grad_() for graph in graphs]
    for name in ("stage", "risk", "survival@700"):
        target = Target.parse(name)
        together = torch.autograd.grad(output_of(members, target, shape)(*inputs).sum(), inputs)
        apart = _gradients_by_member(members, target, shape)(inputs=tuple(inputs))
        for left, right in zip(together, apart, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-7)


def test_a_large_slide_is_integrated_as_a_small_one(
    bundle: ModelBundle, raw: GraphInput, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, targets = ensemble(bundle), [Target("risk"), Target("stage")]
    path = make_reference_input("cluster", raw, members[0], reference, rng=RNG(0))
    small = integrate(members, targets, raw, path, Precision(n_steps=8))
    monkeypatch.setattr(gradients, "CHUNK_NODES", 4)
    large = integrate(members, targets, raw, path, Precision(n_steps=8), threads=2)
    for left, right in zip(small, large, strict=True):
        assert left.n_steps == right.n_steps
        np.testing.assert_allclose(left.member_node, right.member_node, rtol=1e-3, atol=1e-6)
        assert right.completeness_error == pytest.approx(left.completeness_error, abs=1e-5)


def test_a_target_may_be_read_from_fewer_members(bundle: ModelBundle, raw: GraphInput, reference: Reference) -> None:
    members, target, exact = ensemble(bundle), Target("risk"), Precision(n_steps=4, max_steps=4)
    path = make_reference_input("cluster", raw, members[0], reference, rng=RNG(0))
    whole, part = integrate(members, [target, target], raw, path, exact, n_members=[3, 1])
    (alone,) = integrate(members[:1], [target], raw, path, exact)
    assert (len(whole.member_node), len(part.member_node)) == (3, 1)
    np.testing.assert_allclose(part.of_regions(raw), alone.of_regions(raw))
