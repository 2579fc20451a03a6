"""The gradient of the task with respect to the embedding that coarsens the graph: a straight-through estimator.

In the forward pass the network reads the features of hard regions, which are exact functions of summed moments; they
are not changed by a bit. In the backward pass a region counts as a mixture of the superpixels in it and of those that
touch it. Each is weighted by its area and by a gate, the logistic function of how far the merge score of the pair lies
below the threshold of the slide (`graph.coarsening.membership`). So where a higher feature of a region lowers the loss,
superpixels above the region's mean move towards it in the embedding, those below move away, and the next partition
changes accordingly.
The estimator is the straight-through one (Bengio, Leonard and Courville, "Estimating or propagating gradients through
stochastic neurons", arXiv 1308.3432, 2013); gates on merge scores are those of edge contraction (Diehl, "Edge
contraction pooling for graph neural networks", arXiv 1905.10990, 2019), here on memberships, so that a region of many
merges needs one gate a superpixel and not a product along a chain.

The gradient is biased: it accounts for the move of one superpixel, not for the merges that would follow, and shape
features, which are not means over superpixels, pass none. A column of weights that is exactly 0 has a zero gradient and
could never be learned, so such columns start in a small direction drawn with a fixed seed.
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

_MIN_COLUMN_NORM = 0.1
"""Smallest norm of a weight column at the start, as a fraction of the median column's."""
_TISSUE = tuple(group != "shape" for group in FEATURE_GROUPS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Links:
    """How the regions of one row or batch depend on its superpixels.

    Attributes
    ----------
    described : Tensor float32 (N, 2 M)
        Standardised features of the superpixels and of their neighbours: the input of the embedding.
    mixed : Tensor float32 (N, F)
        Features of the superpixels in the network's units; 0 in columns that are not means over superpixels.
    area : Tensor float32 (N,)
        Pixels.
    assignment : Tensor int64 (N,)
        Region of each superpixel.
    superpixel, region : Tensor int64 (P,)
        Pairs of a superpixel and a region that holds or touches it.
    inside : Tensor float32 (P,)
        1 where the region holds it.
    threshold, temperature, chance : Tensor float32 (P,)
        See `wsigraph.graph.coarsening.membership.Membership`.
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
    nodes = np.cumsum([0, *(len(link.area) for link in links)])
    regions = np.cumsum([0, *(link.n_regions for link in links)])
    pairs = list(zip(links, nodes.tolist(), regions.tolist(), strict=False))
    tensors = {name: torch.cat([getattr(link, name) for link in links]).to(device) for name in _JOINED}
    return Links(
        assignment=torch.cat([link.assignment + region for link, _, region in pairs]).to(device),
        superpixel=torch.cat([link.superpixel + node for link, node, _ in pairs]).to(device),
        region=torch.cat([link.region + region for link, _, region in pairs]).to(device),
        n_regions=int(regions[-1]),
        **tensors,
    )


class MergingWeights(nn.Module):
    """The embedding's weights as parameters of the task.

    The centre and scale of the features are those of the initial embedding, and so is the norm of the weights: merging
    compares distances within one slide, so their scale has no effect.

    Parameters
    ----------
    initial : Embedding
        Trained without labels.
    """

    cut_own: Tensor
    cut_message: Tensor
    tissue: Tensor

    def __init__(self, initial: Embedding) -> None:
        super().__init__()
        own, message = _nonzero_columns(initial)
        self._initial = initial
        self.own = nn.Parameter(torch.from_numpy(own))
        self.message = nn.Parameter(torch.from_numpy(message))
        self.register_buffer("cut_own", torch.from_numpy(own.copy()))
        self.register_buffer("cut_message", torch.from_numpy(message.copy()))
        self.register_buffer("tissue", torch.tensor(_TISSUE, dtype=torch.float32), persistent=False)
        self._initial_norm = self._norm()

    def update_partition_weights(self) -> None:
        """Use the current weights for the partition from now on."""
        with torch.no_grad():
            self.cut_own.copy_(self.own)
            self.cut_message.copy_(self.message)

    def embedding(self) -> Embedding:
        """Return the embedding that made the current partition."""
        own, message = (weight.detach().cpu().double().numpy().copy() for weight in (self.cut_own, self.cut_message))
        return Embedding(
            mean=self._initial.mean,
            scale=self._initial.scale,
            own_weight=own,
            message_weight=message,
            offset=self._initial.offset,
            feature_schema=self._initial.feature_schema,
        )

    def restore_norm(self) -> None:
        """Scale the weights to their initial norm, after a step."""
        with torch.no_grad():
            factor = self._initial_norm / self._norm()
            self.own.mul_(factor)
            self.message.mul_(factor)

    def forward(self, hard: Tensor, links: Links, kept: Tensor) -> Tensor:
        """Return the features of regions unchanged, with the gradient of the mixture.

        Parameters
        ----------
        hard : Tensor float32 (K, F)
            Features of the regions that were kept.
        links : Links
            Of all C regions.
        kept : Tensor int64 (K,)
            Which regions those are.

        Returns
        -------
        Tensor float32 (K, F)
            The numbers of `hard`.
        """
        mixture = self.mixture(links)[kept]
        passed: Tensor = _StraightThrough.apply(hard, mixture)  # type: ignore[no-untyped-call]
        return passed

    def mixture(self, links: Links) -> Tensor:
        """Return each region as a mixture of superpixels weighted by gates, float32 (C, F).

        With z_p the embedding of superpixel p, m the mean embedding of the other n superpixels of region r, c_p what
        chance adds to a squared distance, and t, T threshold and temperature of the slide:

            score_pr = sqrt(|z_p - m|^2 + c_p) * sqrt(n / (n + 1))
            gate_pr  = sigmoid((t - score_pr) / T)
            out_r    = sum of gate_pr area_p x_p / sum of gate_pr area_p
        """
        weight = torch.cat([self._movable(self.own), self._movable(self.message)], dim=1)
        z = links.described @ weight.T  # (N, D)
        count = scatter(torch.ones_like(links.area), links.assignment, dim_size=links.n_regions)
        total = scatter(z, links.assignment, dim_size=links.n_regions)
        # the region without the superpixel itself
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
        """Return the parameters and the weights of the partition by name, copied."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Set what `arrays` returned."""
        self.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()})

    def _movable(self, weight: Tensor) -> Tensor:
        """Return the weights, with no gradient in the columns of shape features."""
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


def _nonzero_columns(initial: Embedding) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights, with near-zero columns of tissue features replaced by small random directions."""
    rng = np.random.default_rng(0)
    weights = []
    for weight in (initial.own_weight, initial.message_weight):
        length = np.linalg.norm(weight, axis=0)
        floor = _MIN_COLUMN_NORM * float(np.median(length[length > 0])) if (length > 0).any() else 0.0
        direction = rng.standard_normal(weight.shape)
        direction *= floor / np.linalg.norm(direction, axis=0)
        weak = (length < floor) & np.array(_TISSUE)
        weights.append(np.where(weak, direction, weight).astype(np.float32))
    return weights[0], weights[1]


def mean_embedding(embeddings: Sequence[Embedding]) -> Embedding:
    """Return the mean of embeddings that were trained from the same initial one.

    Parameters
    ----------
    embeddings : sequence of Embedding
        With the same axes, because of their common initial embedding.

    Returns
    -------
    Embedding
        Mean weights in float32 precision (Wortsman et al., "Model soups", ICML 2022).
    """
    own, message = (
        np.mean([getattr(embedding, name) for embedding in embeddings], axis=0).astype(np.float32).astype(np.float64)
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
