"""The network: message passing between regions, pooling to a slide embedding, and two heads.

A linear map, a few GATv2 blocks with edge attributes, a pooling (gated attention by default), a small trunk, and the
ordinal stage and survival heads. A linear offset can be added to the log hazard ratio (``linear_offset.py``). All
modules take plain tensors with torch_geometric's names and conventions: several graphs are one disjoint union, and
``batch`` holds the graph of every node. So gradients with respect to node features and edge attributes can be taken.
Prediction builds no `torch_geometric.data.Batch`, which costs more than reading a small slide; training does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.inputs import EDGE_ATTRIBUTES, Standardised
from wsigraph.model.nn.heads import CoxHead, OrdinalHead, SurvivalHead, make_survival_head
from wsigraph.model.nn.layers import GATv2Block
from wsigraph.model.nn.linear_offset import LinearOffset
from wsigraph.model.nn.pooling import Pooling, make_pooling

_RENAMED_WEIGHTS = {"start.spread": "linear_offset.std"}
_RENAMED_PREFIXES = {"start.": "linear_offset."}


class GraphTensors(NamedTuple):
    """Graphs as one disjoint union: the arguments of `GraphNetwork` in their order.

    Attributes
    ----------
    x : Tensor float32 (N, F)
        Standardised node features.
    edge_index : Tensor int64 (2, E)
        Directed edges, numbered through all graphs.
    edge_attr : Tensor float32 (E, 3)
        Standardised edge attributes.
    batch : Tensor int64 (N,)
        Graph of every node, rising.
    area : Tensor float32 (N,)
        Fraction of its slide's tissue area.
    batch_size : int
        Number of graphs, B.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    area: Tensor
    batch_size: int


def disjoint_union(graphs: Sequence[Standardised]) -> GraphTensors:
    """Return graphs as one disjoint union, nodes and edges in the order of the graphs.

    Parameters
    ----------
    graphs : sequence of Standardised
        At least one.

    Returns
    -------
    GraphTensors
        The tensors of `torch_geometric.data.Batch.from_data_list`, without its objects.
    """
    sizes = [len(graph.features) for graph in graphs]
    first = np.cumsum([0, *sizes[:-1]])
    edges = [graph.edge_index + offset for graph, offset in zip(graphs, first, strict=True)]
    return GraphTensors(
        x=torch.from_numpy(np.concatenate([graph.features for graph in graphs])),
        edge_index=torch.from_numpy(np.concatenate(edges, axis=1)),
        edge_attr=torch.from_numpy(np.concatenate([graph.edge_attribute for graph in graphs])),
        batch=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        area=torch.from_numpy(np.concatenate([graph.area for graph in graphs])),
        batch_size=len(graphs),
    )


class GraphNetwork(nn.Module):
    """Stage and hazard logits of tissue graphs.

    Parameters
    ----------
    config : ModelConfig
        Layers, heads, channels, dropout, pooling, survival head and stage names.
    n_features : int
        Columns of the node features, F.
    n_intervals : int
        Intervals of the hazard, T.
    for_training : bool
        Whether it will be trained; else its weights are to be loaded, and torch_geometric is not imported.

    Raises
    ------
    PluginError
        If there is no pooling or survival head of the name in `config`.
    """

    def __init__(self, config: ModelConfig, *, n_features: int, n_intervals: int, for_training: bool = True) -> None:
        super().__init__()
        width = config.heads * config.channels
        self.embed = nn.Linear(n_features, width)
        self.blocks = nn.ModuleList(
            GATv2Block(config.heads, config.channels, len(EDGE_ATTRIBUTES), config.dropout, for_training=for_training)
            for _ in range(config.layers)
        )
        self.pooling = make_pooling(config.pooling, width)
        pooled_width = cast(Pooling, self.pooling).out_channels
        self.trunk = nn.Sequential(nn.Linear(pooled_width, width), nn.GELU(), nn.Dropout(config.dropout))
        self.stage = OrdinalHead(width, len(config.stage_names)) if config.task != "survival" else None
        self.hazard = make_survival_head(config.survival_head, width, n_intervals) if config.task != "stage" else None
        self.linear_offset = LinearOffset(n_features) if config.linear_offset else None
        if self.linear_offset is not None and isinstance(self.hazard, CoxHead):
            # before training, the offset alone is the log hazard ratio
            nn.init.zeros_(self.hazard.score.weight)

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of every graph.

        Parameters
        ----------
        x, edge_index, edge_attr, batch, area, batch_size
            The fields of `GraphTensors`.

        Returns
        -------
        stage_logits : Tensor float32 (B, K - 1)
            Cumulative logits; no column where stage is not learned.
        hazard_logits : Tensor float32 (B, T)
            Hazard logits; no column where survival is not learned.
        """
        embedding = self.encode_graphs(x, edge_index, edge_attr, batch, area, batch_size)
        stage = hazard = embedding.new_zeros((len(embedding), 0))
        if self.stage is not None:
            stage = self.stage(embedding)
        if self.hazard is not None:
            offset = None
            if self.linear_offset is not None:
                offset = self.linear_offset(x, edge_index, edge_attr, batch, area, batch_size)
            hazard = self.hazard(embedding, offset)
        return stage, hazard

    def encode_graphs(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> Tensor:
        """Return the slide embedding of every graph, which both heads read, float32 (B, width)."""
        nodes = self.encode_nodes(x, edge_index, edge_attr)
        embedding: Tensor = self.trunk(self.pooling(nodes, batch, area, batch_size))
        return embedding

    def encode_nodes(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Return node features after the last block, float32 (N, width)."""
        nodes: Tensor = self.embed(x)
        for block in self.blocks:
            nodes = block(nodes, edge_index, edge_attr)
        return nodes

    def pooling_weights(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> Tensor:
        """Return how much each node counts in its graph's embedding, by the pooling, float32 (N,)."""
        nodes = self.encode_nodes(x, edge_index, edge_attr)
        return cast(Pooling, self.pooling).weights(nodes, batch, area, batch_size)

    @property
    def survival_head(self) -> SurvivalHead | None:
        """The survival head; None where survival is not learned."""
        return cast("SurvivalHead | None", self.hazard)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters and buffers by name, copied."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    def load_arrays(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Set every parameter and buffer.

        Parameters
        ----------
        arrays : mapping of str to float32 array
            By name; names of the version before are read too.

        Raises
        ------
        ModelError
            If one is missing, unknown or of another shape.
        """
        load_named_arrays(self, {_current_name(name): value for name, value in arrays.items()})


def load_named_arrays(module: nn.Module, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Set every parameter and buffer of a module.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    arrays : mapping of str to float32 array
        By name.

    Raises
    ------
    ModelError
        If one is missing, unknown or of another shape.
    """
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: value.shape for name, value in arrays.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        examples = ", ".join(
            f"{name} {given.get(name, 'missing')}, expected {expected.get(name, 'none')}" for name in wrong[:3]
        )
        raise ModelError(
            f"{len(wrong)} weights do not fit the architecture on the card ({examples}); fetch or train the model again"
        )
    module.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()})


def _current_name(name: str) -> str:
    """Return the name that a weight has now; bundles of the version before have the linear offset under ``start.``."""
    if name in _RENAMED_WEIGHTS:
        return _RENAMED_WEIGHTS[name]
    for old, new in _RENAMED_PREFIXES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
