"""A linear answer that the network starts at: pooled features and products over edges, weighted by ridges.

Area-weighted means and spreads of the standardised features, means on a few principal axes, and products of neighbours'
scores on those axes averaged over edges by the shared boundary's length: what the pooled rivals of a network read
(``evaluation/pooled.py``), computed here in torch, so that gradients with respect to features and edge attributes pass.
The log hazard ratio begins at a weighted sum of these columns, and the graph layers learn what is left to say. The
weights are fitted, not trained (``stacked.py``). Not optimal where few regions of a large slide decide: a mean over the
slide does not see them, and the network has to find them as without a start.

References
----------
Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 2001: a model fitted to
what an earlier one left over.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsigraph.config import ModelConfig
from wsigraph.errors import ConfigError

N_AXES = 8
"""Principal axes of the features whose products over edges are taken."""
FARTHEST = 20.0
"""Columns are cut off at so many training standard deviations."""
_LEAST_VARIANCE = 1e-6
_LEAST_LENGTH = 1e-9


def check_start(config: ModelConfig) -> None:
    """Refuse settings under which a network cannot start at a linear answer.

    Parameters
    ----------
    config : ModelConfig
        Settings of the model.

    Raises
    ------
    ConfigError
        If ``linear_start`` is asked for and no log hazard ratio is learned, or the coarsening is learned too.
    """
    if not config.linear_start:
        return
    if config.task == "stage" or config.survival_head != "cox":
        raise ConfigError(
            f"model.linear_start is true with task {config.task!r} and survival_head {config.survival_head!r}; it is a "
            "start for a log hazard ratio: set model.survival_head=cox and a task with survival, or leave it out"
        )
    if config.train_coarsening:
        raise ConfigError(
            "model.linear_start and model.train_coarsening are both true; a start fitted to regions does not fit the "
            "regions of a later pass: choose one of the two"
        )


class LinearStart(nn.Module):
    """Log hazard ratios as a weighted sum of pooled columns.

    Parameters
    ----------
    n_features : int
        Columns of the node features, F.
    """

    axes: Tensor
    length_unit: Tensor
    centre: Tensor
    spread: Tensor
    weight: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        n_axes = min(N_AXES, n_features)
        self.n_pooled = 2 * n_features
        n_columns = self.n_pooled + n_axes + n_axes * (n_axes + 1) // 2
        self.register_buffer("axes", torch.zeros(n_features, n_axes))
        self.register_buffer("length_unit", torch.tensor([0.0, 1.0]))
        self.register_buffer("centre", torch.zeros(n_columns))
        self.register_buffer("spread", torch.ones(n_columns))
        self.register_buffer("weight", torch.zeros(n_columns))

    def columns(
        self, features: Tensor, edge_index: Tensor, edge_attribute: Tensor, area: Tensor, batch: Tensor, n_graphs: int
    ) -> Tensor:
        """Return the columns of every graph.

        Parameters
        ----------
        features, edge_index, edge_attribute, area, batch, n_graphs
            As in `GraphBatch`.

        Returns
        -------
        Tensor float32 (B, 2 F + A + A (A + 1) / 2)
            Means, spreads, means on A axes, and products on pairs of axes, 0 for a graph without edges.
        """
        share = (area / area.new_zeros(n_graphs).index_add(0, batch, area)[batch])[:, None]  # (N, 1)
        mean = _total(share * features, batch, n_graphs)  # (B, F)
        variance = _total(share * (features - mean[batch]).square(), batch, n_graphs)
        # the root of 0 has no gradient, and a slide of one kind of region is asked for one
        spread = (variance + _LEAST_VARIANCE).sqrt()
        return torch.cat(
            [mean, spread, mean @ self.axes, self._products(features, edge_index, edge_attribute, batch, n_graphs)],
            dim=1,
        )

    def _products(
        self, features: Tensor, edge_index: Tensor, edge_attribute: Tensor, batch: Tensor, n_graphs: int
    ) -> Tensor:
        """Return products over edges on pairs of axes, (B, A (A + 1) / 2)."""
        score = features @ self.axes  # (N, A)
        source, target = edge_index
        length = torch.expm1(edge_attribute[:, 0] * self.length_unit[1] + self.length_unit[0]) + _LEAST_LENGTH
        of_edge = batch[source]
        whole = features.new_zeros(n_graphs).index_add(0, of_edge, length)
        weight = length / whole[of_edge]
        heard = score[target] * weight[:, None]  # (E, A)
        # axis by axis: all pairs at once would be an array of A * A numbers an edge
        product = torch.stack(
            [_total(score[source, axis, None] * heard, of_edge, n_graphs) for axis in range(score.shape[1])], dim=1
        )  # (B, A, A)
        row, column = torch.triu_indices(score.shape[1], score.shape[1], device=score.device)
        return 0.5 * (product + product.transpose(1, 2))[:, row, column]

    def forward(
        self, features: Tensor, edge_index: Tensor, edge_attribute: Tensor, area: Tensor, batch: Tensor, n_graphs: int
    ) -> Tensor:
        """Return the log hazard ratio that every graph starts at, float32 (B,); arguments as in `GraphBatch`."""
        found = self.columns(features, edge_index, edge_attribute, area, batch, n_graphs)
        start: Tensor = ((found - self.centre) / self.spread).clamp(-FARTHEST, FARTHEST) @ self.weight
        return start


def _total(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return sums over the rows of every group."""
    return values.new_zeros((n_groups, values.shape[1])).index_add(0, group, values)
