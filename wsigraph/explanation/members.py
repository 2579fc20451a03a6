"""The networks of a bundle as functions from numbers to numbers, which is all that an explanation needs of a model.

A member reads a graph in its own units: its scaler turns features into what its network was trained on, and its
temperature and intervals say what its logits mean beside those of the others. A slide of fixed shape, with its edges in
place, is read for many versions of its features at once: the versions become one disjoint union of graphs. This module
alone knows how bundles hold their networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsigraph.model.bundle import ModelBundle, slide_digest
from wsigraph.model.inputs import GraphInput, Scaler, Standardised
from wsigraph.model.nn.inference import compile_for_inference
from wsigraph.model.nn.network import GraphNetwork

Logits = tuple[Tensor, Tensor]
"""What a member answers for S versions of a slide: cumulative logits of stage (S, K - 1), logits of hazard (S, T)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedMember:
    """One network with the units it reads in.

    Attributes
    ----------
    network : GraphNetwork
        In evaluation mode, without gradients of its weights.
    scaler : Scaler
        From features in their own units to the network's.
    ends_days : float64 (T,)
        Right ends of its time intervals, days.
    temperature : float
        What its stage logits are divided by.
    risk_days : float
        Day at which the model states risk, the same for all members; the last of its intervals where that is earlier.
    """

    network: GraphNetwork
    scaler: Scaler
    ends_days: NDArray[np.float64]
    temperature: float = 1.0
    risk_days: float = np.inf

    def scaled(self, raw: GraphInput) -> Standardised:
        """Return a graph in the network's units."""
        return self.scaler.standardise(raw)


def members(bundle: ModelBundle, sha256: str | None = None) -> tuple[ExplainedMember, ...]:
    """Return the networks of a bundle that answer for a slide.

    Parameters
    ----------
    bundle : ModelBundle
        An ensemble, or a single network.
    sha256 : str, optional
        Digest of the slide's bytes; where the model was trained on it, the one member that never saw it answers, as in
        the prediction.

    Returns
    -------
    tuple of ExplainedMember
        At least one.

    Raises
    ------
    ModelError
        If weights do not fit the architecture on the card.
    """
    held_by = -1 if sha256 is None else bundle.card.seen.slides.get(slide_digest(sha256), -1)
    chosen = bundle.members if held_by < 0 else bundle.members[held_by : held_by + 1]
    risk_days = max(bundle.card.time_days, default=np.inf)
    return tuple(
        ExplainedMember(
            network=compile_for_inference(each.network()),
            scaler=each.scaler,
            ends_days=np.asarray(each.ends_days, np.float64),
            temperature=each.temperature,
            risk_days=risk_days,
        )
        for each in chosen
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """What stays of a slide while its features vary: its edges and the areas of its regions.

    Attributes
    ----------
    edge_index : Tensor int64 (2, E)
        Directed edges.
    area : Tensor float32 (N,)
        Share of the slide's area.
    """

    edge_index: Tensor
    area: Tensor
    _unions: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Standardised) -> Shape:
        """Return the shape of a graph."""
        return cls(edge_index=torch.from_numpy(graph.edge_index), area=torch.from_numpy(graph.area))

    def union(self, n_versions: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return edges, areas and graph numbers of a disjoint union of copies, kept for the next call."""
        if n_versions not in self._unions:
            n_nodes = len(self.area)
            offset = n_nodes * torch.arange(n_versions)
            edges = (self.edge_index[:, None, :] + offset[None, :, None]).reshape(2, -1)
            batch = torch.arange(n_versions).repeat_interleave(n_nodes)
            self._unions.clear()  # one size is in use at a time, and large ones are large
            self._unions[n_versions] = edges, self.area.repeat(n_versions), batch
        return self._unions[n_versions]


def read(network: Any, shape: Shape, features: Tensor, edge_attribute: Tensor) -> Logits:
    """Return the logits of several versions of one slide.

    Parameters
    ----------
    network : callable
        As `GraphNetwork`.
    shape : Shape
        Edges and areas, the same for all versions.
    features : Tensor float32 (S, N, F)
        Node features of every version, in the network's units.
    edge_attribute : Tensor float32 (S, E, A)
        Edge attributes of every version.

    Returns
    -------
    stage_logits : Tensor (S, K - 1)
        Cumulative logits.
    hazard_logits : Tensor (S, T)
        Hazard logits.
    """
    n_versions = len(features)
    edge_index, area, batch = shape.union(n_versions)
    stage_logits, hazard_logits = network(
        features.flatten(0, 1), edge_index, edge_attribute.flatten(0, 1), batch, area, n_versions
    )
    return stage_logits, hazard_logits
