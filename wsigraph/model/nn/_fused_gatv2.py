"""A GATv2 convolution as one compiled loop over the edges, for inference and for gradients of the inputs.

For a directed edge j -> i with attributes e_ij, per head (Brody, Alon and Yahav, equation 7, with edge attributes):

    z_ij     = W_l x_j + W_r x_i + W_e e_ij                          (channels,)
    score_ij = a . leaky_relu(z_ij)                                  ()
    alpha_ij = softmax of score_ij over the edges j -> i that enter i
    out_i    = sum over j of alpha_ij W_l x_j                        (channels,)

Why not torch_geometric's `GATv2Conv`: it computes this in a dozen operations, each of which writes and reads an array
of shape (E, heads * channels). An explanation asks for thousands of such passes and spends most of its time there. Here
a node gathers its incoming edges once, and the only array with a row for each edge is alpha (E, heads). That halves the
cost of an explanation.

Gradients are computed for node features and edge attributes only. The weights get none, so training uses `GATv2Conv`.

References
----------
Brody, Alon and Yahav, "How attentive are graph attention networks?", ICLR 2022, equation 7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from wsigraph.kernels import njit

_FAST = {"reassoc", "contract", "nsz", "arcp"}
"""The compiler may reorder sums, which vectorises them. Without "nnan" and "ninf", NaN and infinity stay exact."""
_TINY = np.float32(1e-16)
"""torch_geometric adds this to the sum of the attention weights; so do we."""


class FusedGATv2Conv(nn.Module):
    """A GATv2 convolution with edge attributes, called as torch_geometric's.

    Parameters
    ----------
    convolution : torch.nn.Module
        Holds the weights, by the names of torch_geometric's ``GATv2Conv``: concatenated heads, no self-loops, no
        residual connection.
    """

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the aggregated messages of every node.

        Parameters
        ----------
        x : Tensor float32 (N, in_channels)
            Node features.
        edge_index : Tensor int64 (2, E)
            Directed edges, source then target.
        edge_attr : Tensor float32 (E, A)
            Edge attributes.

        Returns
        -------
        Tensor float32 (N, heads * channels)
            Attention-weighted sums, heads side by side.
        """
        edges = edge_index.numpy()
        convolution: Any = self.convolution
        weights = (
            edges[0],
            *sort_by_target(edges, len(x)),
            np.ascontiguousarray(convolution.lin_edge.weight.detach().numpy().T),  # (A, heads * channels)
            np.ascontiguousarray(convolution.att.detach().numpy()[0]),  # (heads, channels)
            float(convolution.negative_slope),
        )
        apply: Any = FusedGATv2Function.apply
        messages: Tensor = apply(convolution.lin_l(x), convolution.lin_r(x), edge_attr, weights)
        return messages if convolution.bias is None else messages + convolution.bias


class FusedGATv2Function(torch.autograd.Function):
    """`propagate` as a differentiable function of W_l x, W_r x and the edge attributes."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, target: Tensor, edge_attr: Tensor, weights: tuple[Any, ...]) -> Tensor:
        """Return the messages, float32 (N, W), and keep what the gradient needs."""
        inputs = [tensor.detach().contiguous() for tensor in (source, target, edge_attr)]
        compiled: Any = propagate
        messages, alpha = compiled(*(tensor.numpy() for tensor in inputs), *weights)
        ctx.save_for_backward(*inputs)
        ctx.weights, ctx.alpha = weights, alpha
        return torch.from_numpy(messages)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of W_l x, W_r x and the edge attributes; the weights get none."""
        inputs = (tensor.numpy() for tensor in ctx.saved_tensors)
        compiled: Any = gatv2_backward
        input_gradients = compiled(gradients[0].contiguous().numpy(), ctx.alpha, *inputs, *ctx.weights)
        return (*(torch.from_numpy(gradient) for gradient in input_gradients), None)


@njit(nogil=True, cache=True)
def sort_by_target(edge_index: NDArray[np.int64], n_nodes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges sorted by target node, and where each node's edges begin; a stable counting sort in O(N + E).

    Parameters
    ----------
    edge_index : int64 (2, E)
        Source, then target.
    n_nodes : int
        N.

    Returns
    -------
    order : int64 (E,)
        Edge numbers by target.
    first : int64 (N + 1,)
        ``order[first[i]:first[i + 1]]`` are the edges that enter node i.
    """
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
def propagate(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attr: NDArray[np.float32],
    source_index: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    edge_weight: NDArray[np.float32],
    attention: NDArray[np.float32],
    slope: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the messages of all nodes and the attention weights of all edges; W = heads * channels below.

    Parameters
    ----------
    source, target : float32 (N, W)
        W_l x and W_r x.
    edge_attr : float32 (E, A)
        Edge attributes.
    source_index : int64 (E,)
        Source node of each edge.
    order, first : int64 (E,), (N + 1,)
        Edges by target, from `sort_by_target`.
    edge_weight : float32 (A, W)
        W_e, transposed.
    attention : float32 (heads, channels)
        The vector a of each head.
    slope : float
        Negative slope of the leaky rectifier.

    Returns
    -------
    messages : float32 (N, W)
        ``out`` of the equation above, without the bias.
    alpha : float32 (E, heads)
        Attention weights; row k belongs to edge ``order[k]``.
    """
    (n_nodes, width), channels = source.shape, attention.shape[1]
    messages, alpha = np.zeros((n_nodes, width), np.float32), np.empty((len(order), len(attention)), np.float32)
    z, linear, absolute = np.empty(width, np.float32), *_leaky_relu_factors(attention, slope)  # (W,) each
    for node in range(n_nodes):
        begin, end = first[node], first[node + 1]
        for place in range(begin, end):
            edge = order[place]
            # z_ij = W_l x_j + W_r x_i + W_e e_ij
            _edge_preactivation(z, source[source_index[edge]], target[node], edge_attr[edge], edge_weight)
            # a * leaky_relu(z), by column
            for column in range(width):
                z[column] = linear[column] * z[column] + absolute[column] * abs(z[column])
            # score_ij: sum over the channels of each head
            _sum_channels(alpha[place], z)
        # scores become alpha_ij, in place
        _softmax(alpha[begin:end])
        out = messages[node]
        for place in range(begin, end):
            neighbour = source[source_index[order[place]]]
            # out_i += alpha_ij W_l x_j
            _repeat_per_channel(z, alpha[place], channels)
            for column in range(width):
                out[column] += z[column] * neighbour[column]
    return messages, alpha


@njit(nogil=True, cache=True, fastmath=_FAST)
def gatv2_backward(
    gradient: NDArray[np.float32],
    alpha: NDArray[np.float32],
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attr: NDArray[np.float32],
    source_index: NDArray[np.int64],
    order: NDArray[np.int64],
    first: NDArray[np.int64],
    edge_weight: NDArray[np.float32],
    attention: NDArray[np.float32],
    slope: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients of W_l x, W_r x and the edge attributes.

    With G_i the gradient of out_i, per head:

        d alpha_ij = G_i . W_l x_j                                           ()
        d score_ij = alpha_ij (d alpha_ij - sum over k of alpha_ik d alpha_ik)   ()  softmax
        d z_ij     = d score_ij a * leaky_relu'(z_ij)                        (channels,)
        d W_r x_i  = sum over j of d z_ij                                    (channels,)
        d W_l x_j  = sum over i of d z_ij + alpha_ij G_i                     (channels,)
        d e_ij     = W_e^T d z_ij                                            (A,)

    z is computed again rather than stored: reading an array (E, W) costs more than this arithmetic.

    Parameters
    ----------
    gradient : float32 (N, W)
        G, the gradient of the messages.
    alpha : float32 (E, heads)
        From `propagate`.
    source, target, edge_attr, source_index, order, first, edge_weight, attention, slope
        The arguments of `propagate`.

    Returns
    -------
    d_source, d_target : float32 (N, W)
        Of W_l x and W_r x.
    d_edge : float32 (E, A)
        Of the edge attributes.
    """
    (n_nodes, width), (n_heads, channels) = source.shape, attention.shape
    d_source, d_target, d_edge = np.zeros_like(source), np.zeros_like(target), np.zeros_like(edge_attr)
    z, wide, linear, absolute = (
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        *_leaky_relu_factors(attention, slope),
    )
    # (E, heads), (heads,), (heads,)
    d_alpha, d_score, mean = (
        np.empty(alpha.shape, np.float32),
        np.empty(n_heads, np.float32),
        np.empty(n_heads, np.float32),
    )
    for node in range(n_nodes):
        begin, end = first[node], first[node + 1]
        d_out, d_own = gradient[node], d_target[node]
        mean[:] = 0
        for place in range(begin, end):
            # d alpha_ij, and its mean under alpha
            _head_products(d_alpha[place], z, d_out, source[source_index[order[place]]])
            for head in range(n_heads):
                mean[head] += alpha[place, head] * d_alpha[place, head]
        for place in range(begin, end):
            edge = order[place]
            _edge_preactivation(z, source[source_index[edge]], target[node], edge_attr[edge], edge_weight)
            # d score_ij: the softmax's gradient
            for head in range(n_heads):
                d_score[head] = alpha[place, head] * (d_alpha[place, head] - mean[head])
            # d z_ij, which takes the place of z_ij
            _repeat_per_channel(wide, d_score, channels)
            for column in range(width):
                z[column] = wide[column] * (linear[column] + (absolute[column] if z[column] > 0 else -absolute[column]))
            _repeat_per_channel(wide, alpha[place], channels)
            d_neighbour = d_source[source_index[edge]]
            for column in range(width):
                d_own[column] += z[column]
                d_neighbour[column] += z[column] + wide[column] * d_out[column]
            # d e_ij = W_e^T d z_ij
            for attribute in range(edge_weight.shape[0]):
                total, weight = np.float32(0), edge_weight[attribute]
                for column in range(width):
                    total += weight[column] * z[column]
                d_edge[edge, attribute] = total
    return d_source, d_target, d_edge


@njit(nogil=True, cache=True)
def _leaky_relu_factors(
    attention: NDArray[np.float32], slope: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return p and q, float32 (W,), such that ``a * leaky_relu(z) = p z + q |z|``, which needs no branch."""
    weight = attention.reshape(attention.size)
    return np.float32(0.5 * (1 + slope)) * weight, np.float32(0.5 * (1 - slope)) * weight


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _edge_preactivation(
    z: NDArray[np.float32],
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    edge_attr: NDArray[np.float32],
    edge_weight: NDArray[np.float32],
) -> None:
    """Write ``z_ij = W_l x_j + W_r x_i + W_e e_ij``, (W,), of one edge."""
    for column in range(len(z)):
        z[column] = source[column] + target[column]
    for attribute in range(edge_weight.shape[0]):
        value, weight = edge_attr[attribute], edge_weight[attribute]
        for column in range(len(z)):
            z[column] += value * weight[column]


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _head_products(
    total: NDArray[np.float32], product: NDArray[np.float32], left: NDArray[np.float32], right: NDArray[np.float32]
) -> None:
    """Write the inner product of two rows (W,) in every head, (heads,); `product` is scratch of shape (W,)."""
    for column in range(len(product)):
        product[column] = left[column] * right[column]
    _sum_channels(total, product)


@njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _sum_channels(total: NDArray[np.float32], wide: NDArray[np.float32]) -> None:
    """Write the sum over the channels of every head: (W,) to (heads,)."""
    channels = len(wide) // len(total)
    for head in range(len(total)):
        head_sum = np.float32(0)
        for column in range(channels):
            head_sum += wide[head * channels + column]
        total[head] = head_sum


@njit(nogil=True, cache=True, fastmath=_FAST)
def _softmax(score: NDArray[np.float32]) -> None:
    """Turn the scores of one node's incoming edges, (edges, heads), into weights that sum to one in every head."""
    for head in range(score.shape[1]):
        largest, total = np.float32(-np.inf), np.float32(0)
        for place in range(len(score)):
            largest = max(largest, score[place, head])
        for place in range(len(score)):
            # less the largest, so that exp cannot overflow
            score[place, head] = np.float32(math.exp(score[place, head] - largest))
            total += score[place, head]
        for place in range(len(score)):
            score[place, head] /= total + _TINY


@njit(nogil=True, cache=True, inline="always")
def _repeat_per_channel(wide: NDArray[np.float32], by_head: NDArray[np.float32], channels: int) -> None:
    """Repeat each head's number for its channels: (heads,) to (W,)."""
    for head in range(len(by_head)):
        value = by_head[head]
        for column in range(channels):
            wide[head * channels + column] = value
