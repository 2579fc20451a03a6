"""Reading a slide gives the numbers of torch_geometric without importing it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch_geometric.nn import AttentionalAggregation, GATv2Conv
from torch_geometric.utils import scatter, softmax

from wsigraph.model.nn.layers import GATv2Block, ReadingGATv2Conv
from wsigraph.model.nn.segments import segment_softmax, segment_sum


def random_graph(n_nodes: int, n_edges: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n_nodes, 24, generator=generator),
        torch.randint(0, n_nodes, (2, n_edges), generator=generator),
        torch.randn(n_edges, 3, generator=generator),
    )


@pytest.mark.parametrize(("n_nodes", "n_edges"), [(1, 0), (5, 0), (40, 200), (300, 40)])
def test_the_reading_convolution_equals_torch_geometric_bit_for_bit(n_nodes: int, n_edges: int) -> None:
    torch.manual_seed(3)
    trained = GATv2Conv(24, 8, heads=3, edge_dim=3, add_self_loops=False)
    trained.bias.data.normal_()
    reading = ReadingGATv2Conv(24, 8, 3, 3)
    reading.load_state_dict(trained.state_dict())
    graph = random_graph(n_nodes, n_edges, seed=n_nodes)
    with torch.inference_mode():
        assert torch.equal(reading(*graph), trained(*graph))


def test_the_weights_of_a_trained_block_load_into_a_reading_one() -> None:
    torch.manual_seed(4)
    trained = GATv2Block(3, 8, 3, 0.1).eval()
    reading = GATv2Block(3, 8, 3, 0.1, for_training=False).eval()
    reading.load_state_dict(trained.state_dict())
    graph = random_graph(50, 240, seed=5)
    with torch.inference_mode():
        assert torch.equal(reading(*graph), trained(*graph))


@pytest.mark.parametrize("columns", [(), (1,), (3, 8)])
def test_sums_and_softmax_of_groups_equal_torch_geometric_with_their_gradients(columns: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(6)
    values = torch.randn(90, *columns, generator=generator, requires_grad=True)
    group = torch.randint(0, 7, (90,), generator=generator)  # group 7 is empty
    pairs = [
        (segment_sum(values, group, 8), scatter(values, group, dim_size=8)),
        (segment_softmax(values, group, 8), softmax(values, group, num_nodes=8)),
    ]
    for ours, theirs in pairs:
        assert torch.equal(ours, theirs)
        by_us, by_them = (torch.autograd.grad((out**2).sum(), values)[0] for out in (ours, theirs))
        assert torch.equal(by_us, by_them)


def test_attention_pooling_equals_torch_geometric() -> None:
    x, _, _ = random_graph(60, 1, seed=7)
    batch = torch.arange(60) // 20
    score = x[:, :1].tanh()
    theirs = AttentionalAggregation(gate_nn=lambda nodes: nodes[:, :1].tanh())(x, batch, dim_size=3)
    assert torch.equal(segment_sum(segment_softmax(score, batch, 3) * x, batch, 3), theirs)


@pytest.mark.parametrize(
    "module", ["wsigraph.model.bundle", "wsigraph.model.predict", "wsigraph.explanation.members", "wsigraph.cli"]
)
def test_reading_a_model_imports_neither_torch_geometric_nor_scipy_stats(module: str) -> None:
    code = (
        f"import {module}, sys; slow = ('torch_geometric', 'torch._dynamo', 'scipy.stats', 'pandas', 'matplotlib');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
