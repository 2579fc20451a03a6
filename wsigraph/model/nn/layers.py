"""Attention between neighbouring regions, and from regions to the slide.

A block is a GATv2 convolution (Brody, Alon and Yahav, "How attentive are graph attention networks?", ICLR 2022) with
edge attributes, on normalised input and with a residual path, so that depth costs no signal. A region's own features
pass through a linear map of their own rather than a self-loop: a region without neighbours then still has an output,
and edge attributes need no made-up value for a self-loop. Pooling is gated attention (Ilse, Tomczak and Welling,
"Attention-based deep multiple instance learning", ICML 2018) over regions weighted by area, beside the plain mean
over area, so that merging equal regions changes the result little.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv
from torch_geometric.utils import scatter, softmax


class AttentionBlock(nn.Module):
    """One round of messages between neighbours, added to what the regions were.

    Parameters
    ----------
    heads, channels : int
        Attention heads and channels a head; the width is their product.
    n_edge_attributes : int
        Columns of the edge attributes.
    dropout : float
        Share of activations dropped in training.
    """

    def __init__(self, heads: int, channels: int, n_edge_attributes: int, dropout: float) -> None:
        super().__init__()
        width = heads * channels
        self.norm = nn.LayerNorm(width)
        self.neighbours = GATv2Conv(
            width, channels, heads=heads, edge_dim=n_edge_attributes, add_self_loops=False, concat=True
        )
        self.own = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, edge_index: Tensor, edge_attribute: Tensor) -> Tensor:
        """Return regions that have heard their neighbours.

        Parameters
        ----------
        h : Tensor float32 (N, width)
            Regions.
        edge_index : Tensor int64 (2, E)
            Directed edges; E may be 0.
        edge_attribute : Tensor float32 (E, n_edge_attributes)
            Attributes of the edges.

        Returns
        -------
        Tensor float32 (N, width)
            Regions.
        """
        normed = self.norm(h)
        heard = self.neighbours(normed, edge_index, edge_attribute) + self.own(normed)  # (N, width)
        updated: Tensor = h + self.dropout(nn.functional.gelu(heard))
        return updated


class AttentionPooling(nn.Module):
    """From regions to one vector a graph: gated attention beside the mean, both weighted by area.

    Parameters
    ----------
    width : int
        Channels of a region.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, h: Tensor, area: Tensor, batch: Tensor, n_graphs: int) -> Tensor:
        """Return one vector a graph.

        Parameters
        ----------
        h : Tensor float32 (N, width)
            Regions.
        area : Tensor float32 (N,)
            Share of its slide's area, above 0.
        batch : Tensor int64 (N,)
            Graph of every region.
        n_graphs : int
            Number of graphs, B.

        Returns
        -------
        Tensor float32 (B, 2 * width)
            Attention-weighted and area-weighted means.
        """
        normed = self.norm(h)
        log_area = area.log()
        score = self.score(torch.tanh(self.value(normed)) * torch.sigmoid(self.gate(normed))).squeeze(1)  # (N,)
        attended = softmax(score + log_area, batch, num_nodes=n_graphs)
        by_area = softmax(log_area, batch, num_nodes=n_graphs)
        parts = [scatter(normed * weight[:, None], batch, dim_size=n_graphs) for weight in (attended, by_area)]
        return torch.cat(parts, dim=1)
