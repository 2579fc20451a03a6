"""A fixed linear offset and the correction that graph networks earned over it, as one module.

The offset reads the composition of a slide: area-weighted means of its features, and attention over regions without
edges. Its ridges have fixed penalties and fixed weights (``training/fixed_offset.py``). The
correction reads the arrangement: the mean of several small graph networks, times the fraction that it earned on parts
of the training patients that its networks had not seen (``training/earned_fraction.py``). A fraction of 0 leaves the
offset alone, and then no correction is stored. With r the log hazard ratio and l_k the cumulative stage logits,

    r   = offset + fraction * mean of corrections
    l_k = score - (1 - fraction) * threshold_k + fraction * mean of (SLOPE * correction - own threshold_k)

so the stage logits stay ordered. The sum is differentiable in node features and edge attributes, so attributions of
composition and arrangement add up to those of the prediction.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsigraph.config import ModelConfig
from wsigraph.model.nn.heads import CoxHead, proportional_hazard_logits
from wsigraph.model.nn.linear_offset import MAX_STANDARD_DEVIATIONS, LinearOffset
from wsigraph.model.nn.network import GraphNetwork, load_named_arrays

_LISTS = ("attention", "survival_networks", "stage_networks")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCounts:
    """How many networks a corrected network has of each kind.

    Attributes
    ----------
    attention : int
        Attention over regions without edges, part of the offset of survival.
    survival_networks, stage_networks : int
        Graph networks of the corrections; 0 where no correction was earned.
    """

    attention: int = 0
    survival_networks: int = 0
    stage_networks: int = 0

    @classmethod
    def of(cls, names: Collection[str]) -> NetworkCounts:
        """Return the counts that the names of stored weights show."""
        matches = [re.match(rf"({'|'.join(_LISTS)})\.(\d+)\.", name) for name in names]
        numbers = [(match[1], int(match[2])) for match in matches if match]
        return cls(**{name: max((k + 1 for kind, k in numbers if kind == name), default=0) for name in _LISTS})


class PredictionParts(NamedTuple):
    """Composition and arrangement of B slides.

    Attributes
    ----------
    composition, arrangement : Tensor float32 (B,)
        Parts of the log hazard ratio; 0 where survival is not learned.
    stage_score, stage_shift : Tensor float32 (B, K - 1)
        Offset of the cumulative stage logits, and what the correction adds.
    """

    composition: Tensor
    arrangement: Tensor
    stage_score: Tensor
    stage_shift: Tensor


def part_config(config: ModelConfig, task: str, *, layers: int | None = None) -> ModelConfig:
    """Return the settings of one network of the offset's attention or of a correction."""
    changes = {"task": task, "survival_head": "cox", "linear_offset": False, "train_coarsening": False}
    return config.model_copy(update={**changes, "layers": config.layers if layers is None else layers})


class CorrectedNetwork(nn.Module):
    """Offset and earned correction; called like `wsigraph.model.nn.network.GraphNetwork`.

    Its networks are trained before (``training/part_networks.py``); here their weights are loaded.

    Parameters
    ----------
    config : ModelConfig
        Task, stage names and the size of the networks.
    n_features : int
        Columns of the node features, F.
    n_intervals : int
        Intervals of the hazard, T.
    n_network_features : int
        Columns that the networks read; below F, a fixed projection comes before them.
    counts : NetworkCounts
        How many networks there are.
    """

    stage_weight: Tensor
    stage_threshold: Tensor
    attention_weight: Tensor
    survival_fraction: Tensor
    stage_fraction: Tensor
    log_increment: Tensor

    def __init__(
        self,
        config: ModelConfig,
        *,
        n_features: int,
        n_intervals: int,
        n_network_features: int | None = None,
        counts: NetworkCounts | None = None,
    ) -> None:
        super().__init__()
        counts = counts or NetworkCounts()
        width = n_features if n_network_features is None else n_network_features
        n_thresholds = 0 if config.task == "survival" else len(config.stage_names) - 1
        self.offset = LinearOffset(n_features)
        self.register_buffer("stage_weight", torch.zeros(len(self.offset.weight)))
        self.register_buffer("stage_threshold", torch.zeros(n_thresholds))
        self.register_buffer("attention_weight", torch.zeros(1))
        self.register_buffer("survival_fraction", torch.zeros(1))
        self.register_buffer("stage_fraction", torch.zeros(1))
        self.register_buffer("log_increment", torch.zeros(n_intervals))
        if width < n_features:
            self.register_buffer("projection", torch.zeros(n_features, width))
        else:
            self.projection = None

        def networks(task: str, n_networks: int, layers: int | None = None) -> nn.ModuleList:
            chosen = part_config(config, task, layers=layers)
            return nn.ModuleList(
                GraphNetwork(chosen, n_features=width, n_intervals=1, for_training=False) for _ in range(n_networks)
            )

        self.attention = networks("survival", counts.attention, 0)
        self.survival_networks = networks("survival", counts.survival_networks)
        self.stage_networks = networks("stage", counts.stage_networks)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of every graph; arguments and results as for `GraphNetwork`."""
        parts = self.parts(x, edge_index, edge_attr, batch, area, batch_size)
        hazard = proportional_hazard_logits(parts.composition + parts.arrangement, self.log_increment)
        return parts.stage_score + parts.stage_shift, hazard

    def parts(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> PredictionParts:
        """Return composition and arrangement of every graph; arguments as for `GraphNetwork`."""
        columns = self.offset.columns(x, edge_index, edge_attr, batch, area, batch_size)
        limit = MAX_STANDARD_DEVIATIONS
        standard = ((columns - self.offset.centre) / self.offset.std).clamp(-limit, limit)  # (B, p)
        narrow = x if self.projection is None else x @ self.projection
        arguments = (narrow, edge_index, edge_attr, batch, area, batch_size)
        composition = standard @ self.offset.weight
        if len(self.attention):
            composition = composition + self.attention_weight * _mean_log_ratio(self.attention, arguments)
        arrangement = torch.zeros_like(composition)
        if len(self.survival_networks):
            arrangement = self.survival_fraction * _mean_log_ratio(self.survival_networks, arguments)
        stage_score = (standard @ self.stage_weight)[:, None] - self.stage_threshold
        stage_shift = torch.zeros_like(stage_score)
        if len(self.stage_networks):
            logits = torch.stack([_stage_logits(network, arguments) for network in self.stage_networks]).mean(dim=0)
            stage_shift = self.stage_fraction * (logits + self.stage_threshold)
        return PredictionParts(composition, arrangement, stage_score, stage_shift)

    def reset_parameters(self) -> None:
        """Replace the weights of the ridges by random numbers of the same size, for sanity checks of attributions."""
        for weight in (self.offset.weight, self.stage_weight):
            weight.normal_(std=max(float(weight.std()), 1e-6))

    def set_fractions(self, survival: float, stage: float) -> None:
        """Set how much of each correction counts."""
        with torch.no_grad():
            self.survival_fraction.fill_(survival)
            self.stage_fraction.fill_(stage)

    def pooling_weights(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> Tensor:
        """Return how much each node counts: the mean of the networks' attention, or the area without networks."""
        narrow = x if self.projection is None else x @ self.projection
        networks = [*self.survival_networks, *self.stage_networks] or [*self.attention]
        if not networks:
            return area / area.new_zeros(batch_size).index_add(0, batch, area)[batch]
        arguments = (narrow, edge_index, edge_attr, batch, area, batch_size)
        return torch.stack([cast(GraphNetwork, network).pooling_weights(*arguments) for network in networks]).mean(0)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters and buffers by name, copied."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    def load_arrays(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Set every parameter and buffer.

        Parameters
        ----------
        arrays : mapping of str to float32 array
            By name.

        Raises
        ------
        ModelError
            If one is missing, unknown or of another shape.
        """
        load_named_arrays(self, arrays)


def _mean_log_ratio(networks: nn.ModuleList, arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]) -> Tensor:
    """Return the mean log hazard ratio of networks, (B,)."""
    ratios = []
    for network in networks:
        embedding = cast(GraphNetwork, network).encode_graphs(*arguments)
        ratios.append(cast(CoxHead, network.hazard).log_hazard_ratio(embedding))
    return torch.stack(ratios).mean(dim=0)


def _stage_logits(network: nn.Module, arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]) -> Tensor:
    logits: Tensor = cast(nn.Module, network.stage)(cast(GraphNetwork, network).encode_graphs(*arguments))
    return logits
