from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import scatter, softmax

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import Scaler, Standardised, graph_input
from wsigraph.model.nn.network import GraphNetwork, disjoint_union
from wsigraph.model.nn.pooling import GatedAttentionPooling
from wsigraph.synthesis.simulation.simulate import SimulatedPatient
from wsigraph.training.batches import graph_data, tensors


@pytest.fixture(scope="module")
def graphs(patients: list[SimulatedPatient]) -> list[Standardised]:
    inputs = [graph_input(each.graph) for each in patients[:3]]
    scaler = Scaler.fit(inputs)
    return [scaler.standardise(each) for each in inputs]


@pytest.fixture(scope="module")
def network(tiny_config: ModelConfig, graphs: list[Standardised]) -> GraphNetwork:
    torch.manual_seed(0)
    config = tiny_config.model_copy(update={"layers": 3})
    return GraphNetwork(config, n_features=graphs[0].features.shape[1], n_intervals=5).eval()


@pytest.fixture(scope="module")
def exact(network: GraphNetwork) -> GraphNetwork:
    """Return the network in double precision, in which another order of sums moves an answer by some 1e-15 of it."""
    return copy.deepcopy(network).double()


# for answers of about 1: any order of a few thousand terms in double precision stays below, any fault is above
CLOSE = {"rtol": 1e-10, "atol": 1e-10}


def logits(network: GraphNetwork, graphs: list[Standardised]) -> torch.Tensor:
    with one_thread(), torch.inference_mode():
        union = disjoint_union(graphs)
        dtype = next(network.parameters()).dtype
        x, edge_attr, area = (tensor.to(dtype) for tensor in (union.x, union.edge_attr, union.area))
        return torch.cat(network(*union._replace(x=x, edge_attr=edge_attr, area=area)), dim=1)


def permuted(graph: Standardised, seed: int) -> Standardised:
    order = np.random.default_rng(seed).permutation(len(graph.features))
    position = np.argsort(order)
    edges = position[graph.edge_index]
    by_source = np.lexsort((edges[1], edges[0]))
    return replace(
        graph,
        features=graph.features[order],
        area=graph.area[order],
        edge_index=edges[:, by_source],
        edge_attribute=graph.edge_attribute[by_source],
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_permuting_the_regions_leaves_the_logits(exact: GraphNetwork, graphs: list[Standardised], seed: int) -> None:
    torch.testing.assert_close(logits(exact, [permuted(graphs[0], seed)]), logits(exact, [graphs[0]]), **CLOSE)


def test_a_batch_gives_what_its_graphs_give_alone(exact: GraphNetwork, graphs: list[Standardised]) -> None:
    alone = torch.cat([logits(exact, [graph]) for graph in graphs])
    torch.testing.assert_close(logits(exact, graphs), alone, **CLOSE)


def test_neighbours_matter(network: GraphNetwork, graphs: list[Standardised]) -> None:
    graph = graphs[0]
    cut = replace(graph, edge_index=np.zeros((2, 0), np.int64), edge_attribute=np.zeros((0, 3), np.float32))
    assert not torch.allclose(logits(network, [cut]), logits(network, [graph]), atol=1e-4)
    other = replace(graph, edge_attribute=graph.edge_attribute + 1)
    assert not torch.allclose(logits(network, [other]), logits(network, [graph]), atol=1e-4)


def test_one_region_and_no_edges(exact: GraphNetwork, graphs: list[Standardised]) -> None:
    single = replace(
        graphs[0],
        features=graphs[0].features[:1],
        area=np.ones(1, np.float32),
        edge_index=np.zeros((2, 0), np.int64),
        edge_attribute=np.zeros((0, 3), np.float32),
    )
    assert torch.isfinite(logits(exact, [single])).all()
    mixed = logits(exact, [single, graphs[1], single])
    torch.testing.assert_close(mixed[0], mixed[2], **CLOSE)


def test_gradients_reach_features_and_edge_attributes(network: GraphNetwork, graphs: list[Standardised]) -> None:
    batch = disjoint_union(graphs[:1])
    features, attributes = batch.x.requires_grad_(), batch.edge_attr.requires_grad_()
    _, hazard = network(*batch._replace(x=features, edge_attr=attributes))
    gradients = torch.autograd.grad(hazard.sum(), [features, attributes])
    assert all(bool((gradient != 0).any()) for gradient in gradients)


def test_splitting_a_region_leaves_the_pooling() -> None:
    pooling = GatedAttentionPooling(6).double()
    h = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)).double()
    area = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    whole = pooling(h, torch.zeros(4, dtype=torch.int64), area, 1)
    split = torch.cat([h, h[3:]])
    halves = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    torch.testing.assert_close(pooling(split, torch.zeros(5, dtype=torch.int64), halves, 1), whole, **CLOSE)


def test_the_attention_half_of_the_pooling_is_the_formula_bit_for_bit() -> None:
    """torch_geometric's AttentionalAggregation gives what softmax and sum give, and so do its gradients."""
    torch.manual_seed(1)
    pooling = GatedAttentionPooling(16)
    batch = torch.arange(3).repeat_interleave(torch.tensor([1, 40, 9]))
    area = torch.rand(50) + 0.01
    results = []
    for by_formula in (False, True):
        x = torch.randn(50, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
        if by_formula:
            normed = pooling.norm(x)
            score = pooling.score(torch.tanh(pooling.value(normed)) * torch.sigmoid(pooling.gate(normed))).squeeze(1)
            attended = softmax(score + area.log(), batch, num_nodes=3)
            by_area = softmax(area.log(), batch, num_nodes=3)
            halves = [scatter(normed * weight[:, None], batch, dim_size=3) for weight in (attended, by_area)]
            value = torch.cat(halves, dim=1)
            assert torch.equal(pooling.weights(x, batch, area, 3), attended)
        else:
            value = pooling(x, batch, area, 3)
        wanted = [x, *pooling.parameters()]
        results.append((value, *torch.autograd.grad(value.square().sum(), wanted)))
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_a_union_is_the_batch_of_torch_geometric(graphs: list[Standardised]) -> None:
    union = disjoint_union(graphs)
    batch = Batch.from_data_list([graph_data(graph) for graph in graphs])
    for ours, expected in zip(union, tensors(batch), strict=True):
        assert ours == expected if isinstance(ours, int) else torch.equal(ours, expected)


def test_weights_round_trip_and_their_faults(network: GraphNetwork, tiny_config: ModelConfig) -> None:
    arrays = network.arrays()
    torch.manual_seed(9)
    config = tiny_config.model_copy(update={"layers": 3})
    n_features = arrays["embed.weight"].shape[1]
    other = GraphNetwork(config, n_features=n_features, n_intervals=5)
    other.load_arrays(arrays)
    assert all((other.arrays()[name] == value).all() for name, value in arrays.items())
    with pytest.raises(ModelError, match=r"trunk\.0\.bias missing"):
        other.load_arrays({name: value for name, value in arrays.items() if name != "trunk.0.bias"})
    with pytest.raises(ModelError, match="expected none"):
        other.load_arrays(arrays | {"extra": np.zeros(1, np.float32)})
    with pytest.raises(ModelError, match=r"embed.bias \(3,\), expected \(8,\)"):
        other.load_arrays(arrays | {"embed.bias": np.zeros(3, np.float32)})


def test_the_number_of_threads_is_restored_even_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            _ = 1 / 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
