"""The fused GATv2 convolution gives torch_geometric's messages and gradients.

torch_geometric calculates in double precision here, so that the difference is our own rounding. A sum of n terms in
single precision errs by n halves of a unit in the last place at most, in whatever order and with or without fused
products. A message passes four such sums: a linear layer, the score, the sum of the weights and the weighted mean.
"""

from __future__ import annotations

import copy

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


def assert_rounded(found: Tensor, exact: Tensor, convolution: GATv2Conv, edge_index: Tensor, n_layers: int = 1) -> None:
    """Check that single precision explains all that differs, for any processor."""
    incoming = int(torch.bincount(edge_index[1], minlength=1).max())
    n_terms = convolution.in_channels + convolution.out_channels + convolution.edge_dim + incoming
    scale = float(exact.detach().abs().max()) if exact.numel() else 0.0
    torch.testing.assert_close(
        found.detach().double(), exact.detach(), rtol=0, atol=4 * n_layers * n_terms * 2**-24 * scale
    )


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
    for convolution, dtype in ((copy.deepcopy(slow).double(), torch.float64), (FusedGATv2Conv(slow), torch.float32)):
        inputs = [tensor.to(dtype, copy=True).requires_grad_() for tensor in (h, edge_attribute)]
        messages = convolution(inputs[0], edge_index, inputs[1])
        results.append((messages, *torch.autograd.grad((messages * weight.to(dtype)).sum(), inputs)))
    for expected, actual in zip(*results, strict=True):
        assert_rounded(actual, expected, slow, edge_index)


def test_a_compiled_network_gives_the_same_numbers_and_leaves_the_first_alone() -> None:
    torch.manual_seed(0)
    network = GraphNetwork(Config().model, n_features=6, n_intervals=5).eval()
    h, edge_index, edge_attribute = made(30, 120, 6, 3)
    area, batch = torch.full((30,), 1 / 30), torch.zeros(30, dtype=torch.int64)
    exact = copy.deepcopy(network).double()
    before = exact(h.double(), edge_index, edge_attribute.double(), batch, area.double(), 1)
    fast = compile_for_inference(network)
    convolution = next(module for module in network.modules() if isinstance(module, GATv2Conv))
    for expected, actual in zip(before, fast(h, edge_index, edge_attribute, batch, area, 1), strict=True):
        assert_rounded(actual, expected, convolution, edge_index, Config().model.layers)
    assert sum(isinstance(each, FusedGATv2Conv) for each in fast.modules()) == Config().model.layers
    assert not any(isinstance(each, FusedGATv2Conv) for each in network.modules())
    assert all(each.requires_grad for each in network.parameters())
    assert not any(each.requires_grad for each in fast.parameters())


def test_the_order_of_edges_does_not_matter() -> None:
    h, edge_index, edge_attribute = made(15, 60, 8, 3)
    torch.manual_seed(1)
    convolution = GATv2Conv(8, 4, heads=2, edge_dim=3, add_self_loops=False)
    fast = FusedGATv2Conv(convolution).requires_grad_(False)
    order = torch.from_numpy(np.random.default_rng(0).permutation(60))
    left, right = fast(h, edge_index, edge_attribute), fast(h, edge_index[:, order], edge_attribute[order])
    assert_rounded(left, right.double(), convolution, edge_index)
