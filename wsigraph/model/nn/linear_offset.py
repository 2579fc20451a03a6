"""A linear predictor that is added to the network's log hazard ratio: pooled features weighted by ridge regressions.

The columns are area-weighted means and standard deviations of the standardised features, means on a few principal axes,
and products of neighbours' scores on those axes, averaged over edges by the length of the shared boundary. The baseline
models of an evaluation read the same (``training/evaluation/pooled.py``). Here they are computed in torch, so that
gradients with respect to node features and edge attributes pass. The network then learns the residual. The weights are
fitted, not trained (``training/stacking.py``). A linear offset does not help where few regions of a large slide decide:
a mean over the slide hides them, and the network has to find them on its own.

References
----------
Friedman, "Greedy function approximation: a gradient boosting machine", Annals of Statistics 2001: a model fitted to the
residual of an earlier one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsigraph.config import ModelConfig
from wsigraph.errors import ConfigError

N_AXES = 8
"""Principal axes of the features whose products over edges are taken."""
MAX_STANDARD_DEVIATIONS = 20.0
"""Columns are clipped at this many training standard deviations."""
_MIN_VARIANCE = 1e-6
_MIN_LENGTH = 1e-9


def check_linear_offset(config: ModelConfig) -> None:
    """Refuse settings under which a network cannot have a linear offset.

    Parameters
    ----------
    config : ModelConfig
        Settings of the model.

    Raises
    ------
    ConfigError
        If ``linear_offset`` is true and no log hazard ratio is learned, or the coarsening is learned too.
    """
    if not config.linear_offset:
        return
    if config.task == "stage" or config.survival_head != "cox":
        raise ConfigError(
            f"model.linear_offset is true with task {config.task!r} and survival_head {config.survival_head!r}; it is "
            "added to a log hazard ratio: set model.survival_head=cox and a task with survival, or set it to false"
        )
    if config.train_coarsening:
        raise ConfigError(
            "model.linear_offset and model.train_coarsening are both true; an offset fitted to the regions of one "
            "epoch does not fit those of a later one: choose one of the two"
        )


class LinearOffset(nn.Module):
    """Log hazard ratios as a weighted sum of pooled columns.

    Parameters
    ----------
    n_features : int
        Columns of the node features, F.
    """

    axes: Tensor
    length_unit: Tensor
    centre: Tensor
    std: Tensor
    weight: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        n_axes = min(N_AXES, n_features)
        self.n_pooled = 2 * n_features
        n_columns = self.n_pooled + n_axes + n_axes * (n_axes + 1) // 2
        self.register_buffer("axes", torch.zeros(n_features, n_axes))
        self.register_buffer("length_unit", torch.tensor([0.0, 1.0]))
        self.register_buffer("centre", torch.zeros(n_columns))
        self.register_buffer("std", torch.ones(n_columns))
        self.register_buffer("weight", torch.zeros(n_columns))

    def columns(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> Tensor:
        """Return the columns of every graph.

        Parameters
        ----------
        x, edge_index, edge_attr, batch, area, batch_size
            The arguments of `wsigraph.model.nn.network.GraphNetwork`.

        Returns
        -------
        Tensor float32 (B, 2 F + A + A (A + 1) / 2)
            Means, standard deviations, means on A axes, and products on pairs of axes, 0 for a graph without edges.
        """
        fraction = (area / area.new_zeros(batch_size).index_add(0, batch, area)[batch])[:, None]  # (N, 1)
        mean = _sum_by_group(fraction * x, batch, batch_size)  # (B, F)
        variance = _sum_by_group(fraction * (x - mean[batch]).square(), batch, batch_size)  # (B, F)
        # the root of 0 has no gradient, and an explanation of a slide with one kind of region needs one
        std = (variance + _MIN_VARIANCE).sqrt()
        products = self._edge_products(x, edge_index, edge_attr, batch, batch_size)
        return torch.cat([mean, std, mean @ self.axes, products], dim=1)

    def _edge_products(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, batch_size: int
    ) -> Tensor:
        """Return products over edges on pairs of axes, (B, A (A + 1) / 2)."""
        score = x @ self.axes  # (N, A)
        source, target = edge_index
        # back from standardised log(1 + um) to um
        length = torch.expm1(edge_attr[:, 0] * self.length_unit[1] + self.length_unit[0]) + _MIN_LENGTH  # (E,)
        edge_batch = batch[source]
        total_length = x.new_zeros(batch_size).index_add(0, edge_batch, length)
        weight = length / total_length[edge_batch]
        weighted = score[target] * weight[:, None]  # (E, A)
        # axis by axis: all pairs at once would be an array of A * A numbers an edge
        product = torch.stack(
            [
                _sum_by_group(score[source, axis, None] * weighted, edge_batch, batch_size)
                for axis in range(score.shape[1])
            ],
            dim=1,
        )  # (B, A, A)
        row, column = torch.triu_indices(score.shape[1], score.shape[1], device=score.device)
        return 0.5 * (product + product.transpose(1, 2))[:, row, column]

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, area: Tensor, batch_size: int
    ) -> Tensor:
        """Return the offset of every graph, float32 (B,); arguments as for `columns`."""
        columns = self.columns(x, edge_index, edge_attr, batch, area, batch_size)
        limit = MAX_STANDARD_DEVIATIONS
        offset: Tensor = ((columns - self.centre) / self.std).clamp(-limit, limit) @ self.weight
        return offset


def _sum_by_group(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the sums of the rows of every group."""
    return values.new_zeros((n_groups, values.shape[1])).index_add(0, group, values)
