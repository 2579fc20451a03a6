"""What regions hear from their neighbours, in one pass over the edges: GATv2 for networks that are finished.

torch works a message out in a dozen steps, each of which writes and reads an array of all edges; an explanation asks
for thousands of messages and spends most of its time on that. Here a region gathers its incoming edges once, and
nothing as long as the edges is kept but the attention weights. Gradients go to features and edge attributes, not to
weights, which are taken as they are: for training use the network itself.

References
----------
Brody, Alon and Yahav, "How attentive are graph attention networks?", ICLR 2022, equation 7.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch_geometric.nn import GATv2Conv

from wsigraph.kernels import njit
from wsigraph.model.nn.network import GraphNetwork

_FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Sums may be taken in the order that suits the processor; not-a-number and infinity keep their meaning."""
_TINY = np.float32(1e-16)
"""What torch_geometric adds to the sum of the attention weights."""


def finished(network: GraphNetwork) -> GraphNetwork:
    """Return a network for evaluation whose messages are worked out in one pass.

    Parameters
    ----------
    network : GraphNetwork
        Left as it is.

    Returns
    -------
    GraphNetwork
        A copy that gives the same numbers but for rounding, and gradients of inputs alone.
    """
    found = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(found.modules()):
        for name, part in module.named_children():
            if isinstance(part, GATv2Conv):
                setattr(module, name, Messages(part))
    return found


class Messages(nn.Module):
    """A GATv2 convolution with edge attributes, called as torch_geometric's.

    Parameters
    ----------
    convolution : GATv2Conv
        Where the weights come from: heads side by side, no self-loops, no residual path.
    """

    def __init__(self, convolution: GATv2Conv) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, h: Tensor, edge_index: Tensor, edge_attribute: Tensor) -> Tensor:
        """Return what every region hears.

        Parameters
        ----------
        h : Tensor float32 (N, width)
            Regions.
        edge_index : Tensor int64 (2, E)
            Directed edges.
        edge_attribute : Tensor float32 (E, A)
            Their attributes.

        Returns
        -------
        Tensor float32 (N, width)
            Messages by attention, heads side by side.
        """
        convolution, edges = self.convolution, edge_index.numpy()
        weights = (
            edges[0],
            *_by_target(edges, len(h)),
            np.ascontiguousarray(convolution.lin_edge.weight.detach().numpy().T),  # (A, width)
            np.ascontiguousarray(convolution.att.detach().numpy()[0]),  # (heads, channels)
            float(convolution.negative_slope),
        )
        apply: Any = _Hear.apply
        heard: Tensor = apply(convolution.lin_l(h), convolution.lin_r(h), edge_attribute, weights)
        return heard if convolution.bias is None else heard + convolution.bias


class _Hear(torch.autograd.Function):
    """`_hear` with its gradient."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, edge_attribute: Tensor, weights: tuple[Any, ...]) -> Tensor:
        parts = [each.detach().contiguous() for each in (source, target, edge_attribute)]
        run: Any = _hear
        heard, alpha = run(*(each.numpy() for each in parts), *weights)
        ctx.save_for_backward(*parts)
        ctx.weights, ctx.alpha = weights, alpha
        return torch.from_numpy(heard)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        parts = (each.numpy() for each in ctx.saved_tensors)
        run: Any = _hear_gradient
        found = run(gradients[0].contiguous().numpy(), ctx.alpha, *parts, *ctx.weights)
        return (*(torch.from_numpy(each) for each in found), None)


@njit(nogil=True, cache=True)
def _by_target(edge_index: NDArray[np.int64], n_nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return edges by their target, in their order, and where those of each begin."""
    n_edges = edge_index.shape[1]
    first = np.zeros(n_nodes + 1, np.int64)
    for edge in range(n_edges):
        first[edge_index[1, edge] + 1] += 1
    for node in range(n_nodes):
        first[node + 1] += first[node]
    order, place = np.empty(n_edges, np.int64), first[:-1].copy()
    for edge in range(n_edges):
        node = edge_index[1, edge]
        order[place[node]] = edge
        place[node] += 1
    return order, first


@njit(nogil=True, cache=True, fastmath=_FAST)
def _hear(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attribute: NDArray[np.float32],
    from_node: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    of_edge: NDArray[np.float32],
    attention: NDArray[np.float32],
    slope: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return messages (N, width), and attention weights (E, heads) by target."""
    (n_nodes, width), channels = source.shape, attention.shape[1]
    heard, alpha = np.zeros((n_nodes, width), np.float32), np.empty((len(order), len(attention)), np.float32)
    z, rising, bent = np.empty(width, np.float32), *_halves(attention, slope)
    for node in range(n_nodes):
        start, stop = first[node], first[node + 1]
        for place in range(start, stop):
            edge = order[place]
            _combine(z, source[from_node[edge]], target[node], edge_attribute[edge], of_edge)
            for column in range(width):
                z[column] = rising[column] * z[column] + bent[column] * abs(z[column])
            _add_up(alpha[place], z)
        _soften(alpha[start:stop])
        own = heard[node]
        for place in range(start, stop):
            other = source[from_node[order[place]]]
            _widen(z, alpha[place], channels)
            for column in range(width):
                own[column] += z[column] * other[column]
    return heard, alpha


@njit(nogil=True, cache=True, fastmath=_FAST)
def _hear_gradient(
    gradient: NDArray[np.float32],
    alpha: NDArray[np.float32],
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attribute: NDArray[np.float32],
    from_node: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    of_edge: NDArray[np.float32],
    attention: NDArray[np.float32],
    slope: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return gradients of source, target and edge attributes."""
    (n_nodes, width), (n_heads, channels) = source.shape, attention.shape
    to_source, to_target, to_edge = np.zeros_like(source), np.zeros_like(target), np.zeros_like(edge_attribute)
    z, share, rising, bent = np.empty(width, np.float32), np.empty(width, np.float32), *_halves(attention, slope)
    moved, score, mean = np.empty(alpha.shape, np.float32), np.empty(n_heads, np.float32), np.empty(n_heads, np.float32)
    for node in range(n_nodes):
        start, stop = first[node], first[node + 1]
        up, own = gradient[node], to_target[node]
        mean[:] = 0
        for place in range(start, stop):
            _by_head(moved[place], z, up, source[from_node[order[place]]])
            for head in range(n_heads):
                mean[head] += alpha[place, head] * moved[place, head]
        for place in range(start, stop):
            edge = order[place]
            _combine(z, source[from_node[edge]], target[node], edge_attribute[edge], of_edge)
            for head in range(n_heads):
                score[head] = alpha[place, head] * (moved[place, head] - mean[head])
            _widen(share, score, channels)
            for column in range(width):
                z[column] = share[column] * (rising[column] + (bent[column] if z[column] > 0 else -bent[column]))
            _widen(share, alpha[place], channels)
            other = to_source[from_node[edge]]
            for column in range(width):
                own[column] += z[column]
                other[column] += z[column] + share[column] * up[column]
            for attribute in range(of_edge.shape[0]):
                total, weight = np.float32(0), of_edge[attribute]
                for column in range(width):
                    total += weight[column] * z[column]
                to_edge[edge, attribute] = total
    return to_source, to_target, to_edge


@njit(nogil=True, cache=True)
def _halves(attention: NDArray[np.float32], slope: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a leaky rectifier times a weight as one factor of a value and one of its absolute value, which is fast."""
    weight = attention.reshape(attention.size)
    return np.float32(0.5 * (1 + slope)) * weight, np.float32(0.5 * (1 - slope)) * weight


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _combine(
    z: NDArray[np.float32],
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attribute: NDArray[np.float32],
    of_edge: NDArray[np.float32],
) -> None:
    """Put together what goes into the score of one edge."""
    for column in range(len(z)):
        z[column] = source[column] + target[column]
    for attribute in range(of_edge.shape[0]):
        value, weight = edge_attribute[attribute], of_edge[attribute]
        for column in range(len(z)):
            z[column] += value * weight[column]


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _by_head(
    total: NDArray[np.float32], product: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]
) -> None:
    """Write the inner product of two rows in every head."""
    for column in range(len(product)):
        product[column] = left[column] * right[column]
    _add_up(total, product)


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _add_up(total: NDArray[np.float32], wide: NDArray[np.float32]) -> None:
    """Write the sum over the channels of every head."""
    channels = len(wide) // len(total)
    for head in range(len(total)):
        found = np.float32(0)
        for column in range(channels):
            found += wide[head * channels + column]
        total[head] = found


@njit(nogil=True, cache=True, fastmath=_FAST)
def _soften(score: NDArray[np.float32]) -> None:
    """Turn scores (edges of a region, heads) into weights that add up to one."""
    for head in range(score.shape[1]):
        most, total = np.float32(-np.inf), np.float32(0)
        for place in range(len(score)):
            most = max(most, score[place, head])
        for place in range(len(score)):
            score[place, head] = np.float32(math.exp(score[place, head] - most))
            total += score[place, head]
        for place in range(len(score)):
            score[place, head] /= total + _TINY


@njit(nogil=True, cache=True, inline="always")
def _widen(wide: NDArray[np.float32], by_head: NDArray[np.float32], channels: int) -> None:
    """Repeat the number of every head for each of its channels."""
    for head in range(len(by_head)):
        value = by_head[head]
        for column in range(channels):
            wide[head * channels + column] = value
