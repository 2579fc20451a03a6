"""The message-passing layer between neighbouring regions.

A block is a GATv2 convolution (Brody, Alon and Yahav, "How attentive are graph attention networks?", ICLR 2022) with
edge attributes, on normalised input and with a residual connection, so that depth does not weaken the gradient. A
region's own features pass through a linear map of their own instead of a self-loop. So a region without neighbours
still has an output, and no edge attributes need to be invented for self-loops.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv


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
    """

    def __init__(self, heads: int, channels: int, edge_dim: int, dropout: float) -> None:
        super().__init__()
        width = heads * channels
        self.norm = nn.LayerNorm(width)
        self.neighbours = GATv2Conv(width, channels, heads=heads, edge_dim=edge_dim, add_self_loops=False, concat=True)
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
