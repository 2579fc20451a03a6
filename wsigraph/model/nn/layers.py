"""The message-passing layer between neighbouring regions.

A block is a GATv2 convolution (Brody, Alon and Yahav, "How attentive are graph attention networks?", ICLR 2022) with
edge attributes, on normalised input and with a residual connection, so that depth does not weaken the gradient. A
region's own features pass through a linear map of their own instead of a self-loop. So a region without neighbours
still has an output, and no edge attributes need to be invented for self-loops.

Training uses torch_geometric's ``GATv2Conv``. Reading a slide uses `ReadingGATv2Conv`, which has the same weights and
gives the same numbers: importing torch_geometric takes longer than predicting a small slide.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsigraph.model.nn.segments import segment_softmax, segment_sum

NEGATIVE_SLOPE = 0.2
"""Of the leaky rectifier, as torch_geometric's default."""


class ReadingGATv2Conv(nn.Module):
    """A GATv2 convolution for reading, with the names of torch_geometric's weights; its own are not initialised.

    For a directed edge j -> i with attributes e_ij, per head:

        z_ij     = W_l x_j + W_r x_i + W_e e_ij                          (channels,)
        alpha_ij = softmax over the edges j -> i that enter i of a . leaky_relu(z_ij)
        out_i    = sum over j of alpha_ij W_l x_j + b                    (channels,)

    Parameters
    ----------
    width : int
        Columns of the node features.
    channels, heads : int
        Channels per head, and attention heads.
    edge_dim : int
        Columns of the edge attributes.
    """

    def __init__(self, width: int, channels: int, heads: int, edge_dim: int) -> None:
        super().__init__()
        self.negative_slope = NEGATIVE_SLOPE
        self.lin_l = nn.Linear(width, heads * channels)
        self.lin_r = nn.Linear(width, heads * channels)
        self.lin_edge = nn.Linear(edge_dim, heads * channels, bias=False)
        self.att = nn.Parameter(torch.zeros(1, heads, channels))
        self.bias = nn.Parameter(torch.zeros(heads * channels))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the messages of every node, float32 (N, heads * channels); arguments as for `GATv2Block`."""
        source, target = edge_index
        by_head = (-1, *self.att.shape[1:])
        own = self.lin_l(x).view(by_head)  # (N, heads, channels)
        sent = own[source]  # (E, heads, channels)
        # z_ij, with the sum in the order of torch_geometric
        z = self.lin_r(x).view(by_head)[target] + sent + self.lin_edge(edge_attr).view(by_head)
        score = (nn.functional.leaky_relu(z, self.negative_slope) * self.att).sum(dim=-1)  # (E, heads)
        alpha = segment_softmax(score, target, len(x))
        messages: Tensor = segment_sum(sent * alpha[..., None], target, len(x)).flatten(1) + self.bias
        return messages


class GATv2Block(nn.Module):
    """One round of message passing, added to the node features.

    Parameters
    ----------
    heads, channels : int
        Attention heads and channels per head; the width is their product.
    edge_dim : int
        Columns of the edge attributes.
    dropout : float
        Fraction of activations dropped in training.
    for_training : bool
        Use torch_geometric's convolution, with initial weights; else the weights are to be loaded.
    """

    def __init__(self, heads: int, channels: int, edge_dim: int, dropout: float, *, for_training: bool = True) -> None:
        super().__init__()
        width = heads * channels
        self.norm = nn.LayerNorm(width)
        self.neighbours: nn.Module
        if for_training:
            from torch_geometric.nn import GATv2Conv

            self.neighbours = GATv2Conv(
                width, channels, heads=heads, edge_dim=edge_dim, add_self_loops=False, negative_slope=NEGATIVE_SLOPE
            )
        else:
            self.neighbours = ReadingGATv2Conv(width, channels, heads, edge_dim)
        self.own = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return the updated node features.

        Parameters
        ----------
        x : Tensor float32 (N, width)
            Node features.
        edge_index : Tensor int64 (2, E)
            Directed edges; E may be 0.
        edge_attr : Tensor float32 (E, edge_dim)
            Edge attributes.

        Returns
        -------
        Tensor float32 (N, width)
            ``x + dropout(gelu(messages + own))``.
        """
        normed = self.norm(x)
        messages = self.neighbours(normed, edge_index, edge_attr) + self.own(normed)  # (N, width)
        updated: Tensor = x + self.dropout(nn.functional.gelu(messages))
        return updated
