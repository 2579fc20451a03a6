"""The task's gradient to the embedding that coarsens, through the merging.

Forward, the network reads the features of hard regions, which are exact functions of summed moments; nothing here
changes a bit of them. Backward, a region counts as a mixture: of the superpixels in it and of those that touch it, each
by its area and by a gate, the logistic function of how far the merging's score of the pair lies below the threshold of
the slide (`graph.coarsening.membership`). So where the loss wants a region's feature higher, superpixels above the
region's mean are drawn towards it in the embedding and those below are pushed away, and the next partition follows.
The estimator is the straight-through one (Bengio, Leonard and Courville, "Estimating or propagating gradients through
stochastic neurons", arXiv 1308.3432, 2013); gates on merge scores are those of edge contraction (Diehl, "Edge
contraction pooling for graph neural networks", arXiv 1905.10990, 2019), here on memberships, so that a region of many
merges needs one gate a superpixel and not a product along a chain.

The gradient is biased: it knows of a superpixel's move alone, not of the merges that would follow, and shape features,
which are no means over superpixels, pass none. What the label-free metric had put to exactly 0 could never be learned,
for there its gradient vanishes: such columns begin in a small direction that a fixed seed draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.utils import scatter

from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.graph.feature.interpret import FEATURE_GROUPS

_REVIVED = 0.1
_TISSUE = tuple(group != "shape" for group in FEATURE_GROUPS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """What the regions of one row or batch are made of.

    Attributes
    ----------
    described : Tensor float32 (N, 2 M)
        Standardised features of the superpixels and of their neighbours, as the embedding reads them.
    mixed : Tensor float32 (N, F)
        Features of the superpixels in the network's units; 0 where a column is no mean over superpixels.
    area : Tensor float32 (N,)
        Pixels.
    assignment : Tensor int64 (N,)
        Region of each superpixel.
    superpixel, region : Tensor int64 (P,)
        Pairs of a superpixel and a region it is in or touches.
    inside : Tensor float32 (P,)
        1 where it is in the region.
    threshold, temperature, chance : Tensor float32 (P,)
        As in `Membership`.
    n_regions : int
        C.
    """

    described: Tensor
    mixed: Tensor
    area: Tensor
    assignment: Tensor
    superpixel: Tensor
    region: Tensor
    inside: Tensor
    threshold: Tensor
    temperature: Tensor
    chance: Tensor
    n_regions: int


_JOINED = ("described", "mixed", "area", "inside", "threshold", "temperature", "chance")


def join_links(links: Sequence[Links], device: str = "cpu") -> Links:
    """Return the links of several graphs as those of their disjoint union, on a device."""
    nodes = np.cumsum([0, *(len(each.area) for each in links)])
    regions = np.cumsum([0, *(each.n_regions for each in links)])
    pairs = list(zip(links, nodes.tolist(), regions.tolist(), strict=False))
    tensors = {name: torch.cat([getattr(each, name) for each in links]).to(device) for name in _JOINED}
    return Links(
        assignment=torch.cat([each.assignment + region for each, _, region in pairs]).to(device),
        superpixel=torch.cat([each.superpixel + node for each, node, _ in pairs]).to(device),
        region=torch.cat([each.region + region for each, _, region in pairs]).to(device),
        n_regions=int(regions[-1]),
        **tensors,
    )


class MergingWeights(nn.Module):
    """The embedding's weights as parameters of the task.

    Features' centre and scale stay those of the embedding training starts from, and so does the total size of the
    weights: the merging measures distances against the slide's own, so that their scale means nothing.

    Parameters
    ----------
    start : Embedding
        Learned without labels.
    """

    cut_own: Tensor
    cut_message: Tensor
    tissue: Tensor

    def __init__(self, start: Embedding) -> None:
        super().__init__()
        own, message = _revived(start)
        self._start = start
        self.own = nn.Parameter(torch.from_numpy(own))
        self.message = nn.Parameter(torch.from_numpy(message))
        self.register_buffer("cut_own", torch.from_numpy(own.copy()))
        self.register_buffer("cut_message", torch.from_numpy(message.copy()))
        self.register_buffer("tissue", torch.tensor(_TISSUE, dtype=torch.float32), persistent=False)
        self._size = self._norm()

    def take(self) -> None:
        """Take the weights as they stand for the partition from now on."""
        with torch.no_grad():
            self.cut_own.copy_(self.own)
            self.cut_message.copy_(self.message)

    def embedding(self) -> Embedding:
        """Return the embedding that the present partition is made by."""
        own, message = (each.detach().cpu().double().numpy().copy() for each in (self.cut_own, self.cut_message))
        return Embedding(
            mean=self._start.mean,
            scale=self._start.scale,
            own_weight=own,
            message_weight=message,
            offset=self._start.offset,
            feature_schema=self._start.feature_schema,
        )

    def resize(self) -> None:
        """Give the weights their first total size again, after a step."""
        with torch.no_grad():
            factor = self._size / self._norm()
            self.own.mul_(factor)
            self.message.mul_(factor)

    def forward(self, hard: Tensor, links: Links, kept: Tensor) -> Tensor:
        """Return the features of regions unchanged, with the mixture's gradient.

        Parameters
        ----------
        hard : Tensor float32 (K, F)
            Features of the regions that are kept.
        links : Links
            Of all C regions.
        kept : Tensor int64 (K,)
            Which regions those are.

        Returns
        -------
        Tensor float32 (K, F)
            The very numbers of `hard`.
        """
        mixture = self.mixture(links)[kept]
        passed: Tensor = _StraightThrough.apply(hard, mixture)  # type: ignore[no-untyped-call]
        return passed

    def mixture(self, links: Links) -> Tensor:
        """Return each region as a mixture of superpixels weighted by gates, float32 (C, F)."""
        weight = torch.cat([self._movable(self.own), self._movable(self.message)], dim=1)
        z = links.described @ weight.T  # (N, D)
        count = scatter(torch.ones_like(links.area), links.assignment, dim_size=links.n_regions)
        total = scatter(z, links.assignment, dim_size=links.n_regions)
        # the rest of a region, without the superpixel itself
        n_rest = count[links.region] - links.inside  # (P,)
        rest = (total[links.region] - links.inside[:, None] * z[links.superpixel]) / n_rest.clamp(min=1.0)[:, None]
        square = ((z[links.superpixel] - rest) ** 2).sum(dim=1)
        score = (square + links.chance).sqrt() * (n_rest / (n_rest + 1.0)).sqrt()
        gate = torch.sigmoid((links.threshold - score) / links.temperature)
        mass = gate * links.area[links.superpixel]
        top = scatter(mass[:, None] * links.mixed[links.superpixel], links.region, dim_size=links.n_regions)
        mixture: Tensor = top / scatter(mass, links.region, dim_size=links.n_regions)[:, None]
        return mixture

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return parameters and the partition's weights by name, copied."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Set what `arrays` returned."""
        self.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()})

    def _movable(self, weight: Tensor) -> Tensor:
        """Return weights whose columns of shape features pass no gradient."""
        return weight * self.tissue + weight.detach() * (1.0 - self.tissue)

    def _norm(self) -> float:
        return float(torch.sqrt((self.own.detach() ** 2).sum() + (self.message.detach() ** 2).sum()))


class _StraightThrough(torch.autograd.Function):
    """The first argument forward, the second backward."""

    @staticmethod
    def forward(ctx: Any, hard: Tensor, soft: Tensor) -> Tensor:  # noqa: ARG004 - torch's signature
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, Tensor]:  # noqa: ARG004 - torch's signature
        return None, gradient[0]


def _revived(start: Embedding) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights, with columns of tissue features that are nearly 0 set to small random directions."""
    rng = np.random.default_rng(0)
    found = []
    for weight in (start.own_weight, start.message_weight):
        length = np.linalg.norm(weight, axis=0)
        floor = _REVIVED * float(np.median(length[length > 0])) if (length > 0).any() else 0.0
        direction = rng.standard_normal(weight.shape)
        direction *= floor / np.linalg.norm(direction, axis=0)
        weak = (length < floor) & np.array(_TISSUE)
        found.append(np.where(weak, direction, weight).astype(np.float32))
    return found[0], found[1]


def mean_embedding(embeddings: Sequence[Embedding]) -> Embedding:
    """Return the mean of embeddings that were trained from one start.

    Parameters
    ----------
    embeddings : sequence of Embedding
        With the same axes, which one start gives them.

    Returns
    -------
    Embedding
        Mean weights in float32 precision (Wortsman et al., "Model soups", ICML 2022).
    """
    own, message = (
        np.mean([getattr(each, name) for each in embeddings], axis=0).astype(np.float32).astype(np.float64)
        for name in ("own_weight", "message_weight")
    )
    first = embeddings[0]
    return Embedding(
        mean=first.mean,
        scale=first.scale,
        own_weight=own,
        message_weight=message,
        offset=first.offset,
        feature_schema=first.feature_schema,
    )
