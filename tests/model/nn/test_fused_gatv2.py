"""The fused GATv2 convolution gives torch_geometric's messages and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from wsigraph.config import Config
from wsigraph.model.nn._fused_gatv2 import FusedGATv2Conv
from wsigraph.model.nn.inference import compile_for_inference
from wsigraph.model.nn.network import GraphNetwork

SHAPES = [(1, 1, 3), (4, 16, 3), (2, 5, 1), (3, 7, 4)]


def made(n_nodes: int, n_edges: int, width: int, n_attributes: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n_nodes + n_edges)
    edge_index = torch.randint(0, n_nodes, (2, n_edges))
    return torch.randn(n_nodes, width), edge_index, torch.randn(n_edges, n_attributes)


@pytest.mark.parametrize(("heads", "channels", "n_attributes"), SHAPES)
@pytest.mark.parametrize("n_edges", [0, 1, 90])
def test_messages_and_gradients_are_those_of_torch_geometric(
    heads: int, channels: int, n_attributes: int, n_edges: int
) -> None:
    width = heads * channels
    h, edge_index, edge_attribute = made(20, n_edges, width, n_attributes)
    slow = GATv2Conv(width, channels, heads=heads, edge_dim=n_attributes, add_self_loops=False)
    torch.nn.init.normal_(slow.bias)
    weight = torch.randn(20, width)
    results = []
    for convolution in (slow, FusedGATv2Conv(slow)):
        inputs = [h.clone().requires_grad_(), edge_attribute.clone().requires_grad_()]
        messages = convolution(inputs[0], edge_index, inputs[1])
        results.append((messages, *torch.autograd.grad((messages * weight).sum(), inputs)))
    for expected, actual in zip(*results, strict=True):
        # float32 sums of up to 90 terms in another order
        torch.testing.assert_close(actual, expected, rtol=2e-5, atol=2e-5)


def test_a_compiled_network_gives_the_same_numbers_and_leaves_the_first_alone() -> None:
    torch.manual_seed(0)
    network = GraphNetwork(Config().model, n_features=6, n_intervals=5).eval()
    h, edge_index, edge_attribute = made(30, 120, 6, 3)
    area, batch = torch.full((30,), 1 / 30), torch.zeros(30, dtype=torch.int64)
    before = network(h, edge_index, edge_attribute, batch, area, 1)
    fast = compile_for_inference(network)
    for expected, actual in zip(before, fast(h, edge_index, edge_attribute, batch, area, 1), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    assert sum(isinstance(each, FusedGATv2Conv) for each in fast.modules()) == Config().model.layers
    assert not any(isinstance(each, FusedGATv2Conv) for each in network.modules())
    assert all(each.requires_grad for each in network.parameters())
    assert not any(each.requires_grad for each in fast.parameters())


def test_the_order_of_edges_does_not_matter() -> None:
    h, edge_index, edge_attribute = made(15, 60, 8, 3)
    torch.manual_seed(1)
    fast = FusedGATv2Conv(GATv2Conv(8, 4, heads=2, edge_dim=3, add_self_loops=False)).requires_grad_(False)
    order = torch.from_numpy(np.random.default_rng(0).permutation(60))
    left, right = fast(h, edge_index, edge_attribute), fast(h, edge_index[:, order], edge_attribute[order])
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
