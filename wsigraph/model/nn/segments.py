"""Sums and softmax over groups of rows, such as the regions of a slide or the edges that enter a region.

They equal torch_geometric's ``scatter`` and ``softmax`` bit for bit, forward and backward, on a CPU. They are written
here in torch alone because prediction would otherwise import all of torch_geometric for them.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-16


def segment_sum(values: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the sum of the rows of every group, in the order of the rows.

    Parameters
    ----------
    values : Tensor float (n, ...)
        One row each.
    group : Tensor int64 (n,)
        Group of every row, below `n_groups`.
    n_groups : int
        Number of groups; a group without rows has the sum 0.

    Returns
    -------
    Tensor float (n_groups, ...)
        Sums.
    """
    index = group.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return values.new_zeros((n_groups, *values.shape[1:])).scatter_add_(0, index, values)


def segment_softmax(score: Tensor, group: Tensor, n_groups: int) -> Tensor:
    """Return the softmax of scores within every group.

    Parameters
    ----------
    score : Tensor float (n, ...)
        One row each; columns are separate.
    group : Tensor int64 (n,)
        Group of every row.
    n_groups : int
        Number of groups.

    Returns
    -------
    Tensor float (n, ...)
        Weights that sum to one in every group.
    """
    fixed = score.detach()
    index = group.view(-1, *[1] * (score.dim() - 1)).expand_as(score)
    largest = fixed.new_zeros((n_groups, *score.shape[1:]))
    largest = largest.scatter_reduce_(0, index, fixed, reduce="amax", include_self=False)
    weight = (score - largest.index_select(0, group)).exp()
    total: Tensor = segment_sum(weight, group, n_groups) + _TINY
    return weight / torch.index_select(total, 0, group)
