"""From the regions of a graph to one vector, the slide embedding.

The package's own pooling is gated attention (Ilse, Tomczak and Welling, "Attention-based deep multiple instance
learning", ICML 2018) over regions weighted by area, next to the plain mean over area. Because of the areas, splitting a
region into two equal ones does not change the result. Other poolings are found by entry point, group
``wsigraph.poolings`` (see docs/plugins.md), and chosen by ``model.pooling``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from wsigraph import registry
from wsigraph.errors import PluginError
from wsigraph.model.nn.segments import segment_softmax, segment_sum


class Pooling(Protocol):
    """A module from node features to one vector a graph; built as ``Pooling(width)``, width being the node channels.

    Attributes
    ----------
    out_channels : int
        Width of the vector.
    """

    out_channels: int

    def __call__(self, x: Tensor, batch: Tensor, area: Tensor, batch_size: int) -> Tensor:
        """Return one vector a graph.

        Parameters
        ----------
        x : Tensor float32 (N, width)
            Node features after the last layer.
        batch : Tensor int64 (N,)
            Graph of every node, rising.
        area : Tensor float32 (N,)
            Fraction of its slide's tissue area, above 0.
        batch_size : int
            Number of graphs, B.

        Returns
        -------
        Tensor float32 (B, out_channels)
            One row a graph.
        """
        ...

    def weights(self, x: Tensor, batch: Tensor, area: Tensor, batch_size: int) -> Tensor:
        """Return how much each node counts in its graph's vector, float32 (N,); sums to one in every graph.

        Explanations show these weights. The arguments are those of the call.
        """
        ...


class GatedAttentionPooling(nn.Module):
    """Gated attention over regions, next to their mean; both weighted by area.

    For node i of graph g, with n_i its normalised features and s_i the fraction of the slide's area that it covers:

        score_i = w . (tanh(V n_i) * sigmoid(U n_i)) + log s_i
        alpha   = softmax of score over the nodes of g
        out_g   = [sum of alpha_i n_i, sum of s_i n_i / sum of s_i]

    Parameters
    ----------
    width : int
        Channels of a node.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)
        self.out_channels = 2 * width

    def forward(self, x: Tensor, batch: Tensor, area: Tensor, batch_size: int) -> Tensor:
        """Return attention-weighted and area-weighted means, float32 (B, 2 * width); arguments as for `Pooling`."""
        normed, log_area = self.norm(x), area.log()
        attention = segment_softmax(self._score(normed) + log_area[:, None], batch, batch_size)  # (N, 1)
        attended = segment_sum(attention * normed, batch, batch_size)  # (B, width)
        by_area = segment_softmax(log_area, batch, batch_size)  # (N,)
        mean = segment_sum(normed * by_area[:, None], batch, batch_size)  # (B, width)
        return torch.cat([attended, mean], dim=1)

    def weights(self, x: Tensor, batch: Tensor, area: Tensor, batch_size: int) -> Tensor:
        """Return the attention weights, float32 (N,); arguments as for `Pooling`."""
        score = self._score(self.norm(x)).squeeze(1) + area.log()
        return segment_softmax(score, batch, batch_size)

    def _score(self, normed: Tensor) -> Tensor:
        """Return the gated score of normalised nodes (N, width), float32 (N, 1)."""
        score: Tensor = self.score(torch.tanh(self.value(normed)) * torch.sigmoid(self.gate(normed)))
        return score


BUILT_IN_POOLINGS: dict[str, Callable[[int], nn.Module]] = {"gated_attention": GatedAttentionPooling}
"""The package's own, known without a search of the installed packages, which costs more than reading a slide."""


def make_pooling(name: str, width: int) -> nn.Module:
    """Return a new pooling.

    Parameters
    ----------
    name : str
        As in ``model.pooling``: the package's own, or a plugin of group ``wsigraph.poolings``.
    width : int
        Channels of a node.

    Returns
    -------
    torch.nn.Module
        It meets `Pooling`.

    Raises
    ------
    PluginError
        If there is no such plugin, it does not load, or what it names is no pooling.
    """
    factory = BUILT_IN_POOLINGS.get(name) or registry.load(registry.POOLINGS, name)
    pooling = factory(width)
    if not (isinstance(pooling, nn.Module) and hasattr(pooling, "out_channels") and hasattr(pooling, "weights")):
        raise PluginError(
            f"pooling {name!r} gives {type(pooling).__name__}, expected a torch.nn.Module with out_channels and "
            "weights (wsigraph.model.nn.pooling.Pooling)"
        )
    return pooling
