"""The network: regions talk to their neighbours, the slide listens to its regions, two heads answer.

A linear map, a few GATv2 blocks with edge attributes, pooling by gated attention and by area, a small trunk, and the
ordinal stage and discrete-time hazard heads; a log hazard ratio can be added to a linear start (``start.py``). It takes
plain tensors, so that gradients with respect to node features and edge attributes can be asked for, and any number of
graphs as one disjoint union.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.inputs import EDGE_ATTRIBUTES, Standardised
from wsigraph.model.nn.heads import CoxHead, HazardHead, OrdinalHead
from wsigraph.model.nn.layers import AttentionBlock, AttentionPooling
from wsigraph.model.nn.linear_offset import LinearStart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphBatch:
    """Graphs as one disjoint union.

    Attributes
    ----------
    features : Tensor float32 (N, F)
        Standardised features of all regions.
    edge_index : Tensor int64 (2, E)
        Directed edges, numbered through all graphs.
    edge_attribute : Tensor float32 (E, 3)
        Standardised edge attributes.
    area : Tensor float32 (N,)
        Share of its slide's area.
    batch : Tensor int64 (N,)
        Graph of every region, rising.
    n_graphs : int
        B.
    """

    features: Tensor
    edge_index: Tensor
    edge_attribute: Tensor
    area: Tensor
    batch: Tensor
    n_graphs: int

    def to(self, device: str) -> GraphBatch:
        """Return the batch on a device, e.g. ``"cuda"``."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return GraphBatch(**moved, n_graphs=self.n_graphs)


_TENSORS = ("features", "edge_index", "edge_attribute", "area", "batch")


def collate(graphs: Sequence[Standardised]) -> GraphBatch:
    """Return graphs as one disjoint union.

    Parameters
    ----------
    graphs : sequence of Standardised
        At least one.

    Returns
    -------
    GraphBatch
        Regions and edges in the order of the graphs.
    """
    sizes = [len(each.features) for each in graphs]
    first = np.cumsum([0, *sizes[:-1]])
    edges = [each.edge_index + offset for each, offset in zip(graphs, first, strict=True)]
    return GraphBatch(
        features=torch.from_numpy(np.concatenate([each.features for each in graphs])),
        edge_index=torch.from_numpy(np.concatenate(edges, axis=1)),
        edge_attribute=torch.from_numpy(np.concatenate([each.edge_attribute for each in graphs])),
        area=torch.from_numpy(np.concatenate([each.area for each in graphs])),
        batch=torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
        n_graphs=len(graphs),
    )


class GraphNetwork(nn.Module):
    """Stage and hazard logits of tissue graphs.

    Parameters
    ----------
    config : ModelConfig
        Layers, heads, channels, dropout and stage names.
    n_features : int
        Columns of the node features, F.
    n_intervals : int
        Intervals of the hazard, T.
    """

    def __init__(self, config: ModelConfig, *, n_features: int, n_intervals: int) -> None:
        super().__init__()
        width = config.heads * config.channels
        self.embed = nn.Linear(n_features, width)
        self.blocks = nn.ModuleList(
            AttentionBlock(config.heads, config.channels, len(EDGE_ATTRIBUTES), config.dropout)
            for _ in range(config.layers)
        )
        self.pooling = AttentionPooling(width)
        self.trunk = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Dropout(config.dropout))
        self.stage = OrdinalHead(width, len(config.stage_names)) if config.task != "survival" else None
        self.hazard: HazardHead | CoxHead | None = None
        if config.task != "stage":
            head = CoxHead if config.survival_head == "cox" else HazardHead
            self.hazard = head(width, n_intervals)
        self.start = LinearStart(n_features) if config.linear_start else None
        if self.start is not None and isinstance(self.hazard, CoxHead):
            self.hazard.start_from_zero()

    def forward(
        self, features: Tensor, edge_index: Tensor, edge_attribute: Tensor, area: Tensor, batch: Tensor, n_graphs: int
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of every graph.

        Parameters
        ----------
        features, edge_index, edge_attribute, area, batch, n_graphs
            As in `GraphBatch`.

        Returns
        -------
        stage_logits : Tensor float32 (B, K - 1)
            Cumulative logits; no column where stage is not learned.
        hazard_logits : Tensor float32 (B, T)
            Hazard logits; no column where survival is not learned.
        """
        graphs = (features, edge_index, edge_attribute, area, batch, n_graphs)
        g = self.slide_vectors(*graphs)
        stage = hazard = g.new_zeros((len(g), 0))
        if self.stage is not None:
            stage = self.stage(g)
        if isinstance(self.hazard, CoxHead) and self.start is not None:
            hazard = self.hazard(g, self.start(*graphs))
        elif self.hazard is not None:
            hazard = self.hazard(g)
        return stage, hazard

    def slide_vectors(
        self, features: Tensor, edge_index: Tensor, edge_attribute: Tensor, area: Tensor, batch: Tensor, n_graphs: int
    ) -> Tensor:
        """Return one vector a graph, float32 (B, width), which both heads read; arguments as in `GraphBatch`."""
        h = self.embed(features)  # (N, width)
        for block in self.blocks:
            h = block(h, edge_index, edge_attribute)
        g: Tensor = self.trunk(self.pooling(h, area, batch, n_graphs))
        return g

    def read(self, graphs: GraphBatch) -> tuple[Tensor, Tensor]:
        """Return the logits of a batch, as `forward` does."""
        logits: tuple[Tensor, Tensor] = self(
            graphs.features, graphs.edge_index, graphs.edge_attribute, graphs.area, graphs.batch, graphs.n_graphs
        )
        return logits

    def vectors_of(self, graphs: GraphBatch) -> Tensor:
        """Return one vector a graph of a batch, as `slide_vectors` does."""
        return self.slide_vectors(
            graphs.features, graphs.edge_index, graphs.edge_attribute, graphs.area, graphs.batch, graphs.n_graphs
        )

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters by name, copied."""
        return {name: value.detach().cpu().numpy().copy() for name, value in self.state_dict().items()}

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Set every parameter.

        Parameters
        ----------
        arrays : dict of str to float32 array
            Parameters by name.

        Raises
        ------
        ModelError
            If a parameter is missing, unknown or of another shape.
        """
        expected = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        met = {name: value.shape for name, value in arrays.items()}
        wrong = sorted(name for name in expected.keys() | met.keys() if expected.get(name) != met.get(name))
        if wrong:
            shown = ", ".join(
                f"{name} {met.get(name, 'missing')}, expected {expected.get(name, 'none')}" for name in wrong[:3]
            )
            raise ModelError(
                f"{len(wrong)} weights do not fit the architecture on the card ({shown}); "
                "fetch or train the model again"
            )
        self.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()})


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and numpy's linear algebra with one thread inside the block, and restore the numbers afterwards.

    Sums then have one order, so results are bit-identical whatever the machine's number of cores; arrays of this size
    gain nothing from more threads, and threads that wait for one another on a busy machine cost thirty times the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
