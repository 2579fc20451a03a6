"""The ensemble members of a bundle as functions from features to logits.

Each member has a scaler, which standardises features as in its training, and a temperature and time intervals, which
make its logits comparable with those of the other members. A slide with fixed edges is evaluated for many versions of
its features at once: the versions become one disjoint union of graphs. Only this module knows how bundles hold their
networks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsigraph.model.bundle import ModelBundle, slide_digest
from wsigraph.model.inputs import GraphInput, Scaler, Standardised
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.inference import compile_for_inference
from wsigraph.model.nn.on_device import OnDevice

Logits = tuple[Tensor, Tensor]
"""Output of a member for S versions of a slide: cumulative stage logits (S, K - 1) and hazard logits (S, T)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplainedMember:
    """One ensemble member, ready to be explained.

    Attributes
    ----------
    network : torch.nn.Module
        Called like `GraphNetwork`; in evaluation mode, without gradients of its weights.
    scaler : Scaler
        Standardises features.
    ends_days : float64 (T,)
        Right ends of the time intervals, days.
    temperature : float
        Divisor of the stage logits.
    risk_days : float
        Day at which the model states risk, the same for all members; the end of the last interval if that is earlier.
    """

    network: nn.Module
    scaler: Scaler
    ends_days: NDArray[np.float64]
    temperature: float = 1.0
    risk_days: float = np.inf

    def scaled(self, raw: GraphInput) -> Standardised:
        """Return a graph with standardised features and edge attributes."""
        return self.scaler.standardise(raw)


def explained_members(
    bundle: ModelBundle, sha256: str | None = None, device: str = "cpu"
) -> tuple[ExplainedMember, ...]:
    """Return the members of a bundle that predict a slide.

    Parameters
    ----------
    bundle : ModelBundle
        An ensemble, or a single network.
    sha256 : str, optional
        Digest of the slide's bytes. If the model was trained on this slide, only the member that was not is returned,
        as in the prediction.
    device : str
        Where the networks run, as `wsigraph.graph.device.find_device` returns it.

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
            network=_prepared(member, device),
            scaler=member.scaler,
            ends_days=np.asarray(member.ends_days, np.float64),
            temperature=member.temperature,
            risk_days=risk_days,
        )
        for member in chosen
    )


def _prepared(member: EnsembleMember, device: str) -> nn.Module:
    """Return the network of a member: fused on the processor, torch's own layers on a GPU."""
    if device == "cpu":
        return compile_for_inference(member.network())
    return OnDevice(member.network().eval().requires_grad_(False), device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """The fixed part of a slide while its features vary: its edges and the areas of its regions.

    Attributes
    ----------
    edge_index : Tensor int64 (2, E)
        Directed edges.
    area : Tensor float32 (N,)
        Fraction of the slide's area.
    """

    edge_index: Tensor
    area: Tensor
    _unions: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Standardised) -> Shape:
        """Return the shape of a graph."""
        return cls(edge_index=torch.from_numpy(graph.edge_index), area=torch.from_numpy(graph.area))

    def union(self, n_versions: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return edges, areas and graph numbers of a disjoint union of copies; cached for the next call."""
        if n_versions not in self._unions:
            n_nodes = len(self.area)
            offset = n_nodes * torch.arange(n_versions)
            edges = (self.edge_index[:, None, :] + offset[None, :, None]).reshape(2, -1)
            batch = torch.arange(n_versions).repeat_interleave(n_nodes)
            self._unions.clear()  # only one size is in use at a time, and a large one takes much memory
            self._unions[n_versions] = edges, self.area.repeat(n_versions), batch
        return self._unions[n_versions]


def read(network: Any, shape: Shape, features: Tensor, edge_attribute: Tensor) -> Logits:
    """Return the logits of several versions of one slide.

    Parameters
    ----------
    network : callable
        Called like `GraphNetwork`.
    shape : Shape
        Edges and areas, the same for all versions.
    features : Tensor float32 (S, N, F)
        Standardised node features of every version.
    edge_attribute : Tensor float32 (S, E, A)
        Standardised edge attributes of every version.


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
