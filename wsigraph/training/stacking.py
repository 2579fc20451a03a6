"""Cox ridges on pooled features and on products over edges, stacked into the linear offset of a network.

Both ridges (``cox_ridge.py``) are fitted on the columns of `LinearOffset`. How much each counts is decided by its
predictions for patients that its inner folds left out (Wolpert; non-negative weights: Breiman), so a ridge that only
fits its own training rows better gets no credit for it. The network then learns the residual of those same out-of-fold
predictions: predictions for a ridge's own training patients would leave too little to learn. No other rows than those
given are used.

References
----------
Wolpert, "Stacked generalization", Neural Networks 1992; Breiman, "Stacked regressions", Machine Learning 1996.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.nn.linear_offset import LinearOffset
from wsigraph.model.nn.network import disjoint_union
from wsigraph.training.cox_ridge import INNER_FOLDS, Table, cox_ridge, fit_cox, inner_folds
from wsigraph.training.dataset import Cohort

MIN_SITES = 6
"""Number of sites from which inner folds leave out whole sites."""
_BATCH_SIZE = 64
_STACKING_PENALTY = 1e-3


@one_thread()
def fit_linear_offset(
    offset: LinearOffset, cohort: Cohort, rows: NDArray[np.int64], scaler: Scaler, *, seed: int
) -> NDArray[np.float32]:
    """Fit a linear offset to some rows of a cohort, in place.

    Parameters
    ----------
    offset : LinearOffset
        For the scaler's features.
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows to fit to.
    scaler : Scaler
        Units of the network.
    seed : int
        Of the inner folds.

    Returns
    -------
    float32 (n,)
        Out-of-fold offset of every row. Zeros, and an offset of zero weights, where the rows hold no event or are too
        few for inner folds.

    Raises
    ------
    ModelError
        If a graph has another number of features than the scaler.
    """
    graphs = [scaler.standardise(cohort.inputs[row]) for row in rows]
    nodes = np.concatenate([graph.features for graph in graphs]).astype(np.float64)  # (all nodes, F)
    _, vectors = np.linalg.eigh(nodes.T @ nodes / len(nodes))
    n_axes = offset.axes.shape[1]
    set_offset(
        offset, axes=vectors[:, ::-1][:, :n_axes], length_unit=np.array([scaler.edge_mean[0], scaler.edge_scale[0]])
    )
    x = pooled_columns(offset, graphs)
    time, event = cohort.time_days[rows], cohort.event[rows]
    blocks = (slice(0, offset.n_pooled), slice(offset.n_pooled, None))
    inner = left_out_folds(cohort, rows, seed=seed)
    fits = [fit_cox(x[:, block], time, event, np.arange(len(rows)), inner) for block in blocks]
    held_out = np.stack([cox_fit.held_out for cox_fit in fits], axis=1)  # (n, 2)
    factors = stacking_weights(held_out, time, event)
    set_offset(
        offset,
        centre=np.concatenate([cox_fit.centre for cox_fit in fits]),
        std=np.concatenate([cox_fit.std for cox_fit in fits]),
        weight=np.concatenate([factor * cox_fit.weight for factor, cox_fit in zip(factors, fits, strict=True)]),
    )
    return np.asarray(held_out @ factors, np.float32)


def left_out_folds(cohort: Cohort, rows: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return the inner folds in which ridges predict rows that they were not fitted to.

    Parameters
    ----------
    cohort : Cohort
        Patients, sites and events.
    rows : int64 (n,)
        Rows to divide.
    seed : int
        Of the division.

    Returns
    -------
    int64 (n,)
        Three folds. They keep whole sites together where every patient has one and there are six or more, so that a
        ridge counts by its predictions for hospitals it was not fitted to; else whole patients. A single fold where
        those are too few.
    """
    patient, site, event = cohort.patient[rows], cohort.site[rows], cohort.event[rows].tolist()
    pairs = set(zip(patient.tolist(), site.tolist(), strict=True))
    if (site != "").all() and len(np.unique(site)) >= MIN_SITES and len(pairs) == len(np.unique(patient)):
        return folds(patient.tolist(), n_folds=INNER_FOLDS, event=event, site=site.tolist(), group="site", seed=seed)
    return inner_folds(patient, event, seed)


def stacking_weights(held_out: Table, time_days: Table, event: NDArray[np.bool_]) -> Table:
    """Return how much each of several risks counts in their sum.

    Parameters
    ----------
    held_out : float64 (n, m)
        Out-of-fold log hazard ratios.
    time_days, event
        Follow-up; NaN where unknown.

    Returns
    -------
    float64 (m,)
        Cox coefficients. A risk with a negative one gets 0, and the others are fitted again.
    """
    known = np.isfinite(time_days)
    weight, positive = np.zeros(held_out.shape[1]), np.flatnonzero(held_out[known].std(axis=0) > 0)
    while len(positive):
        coefficients = cox_ridge(held_out[known][:, positive], time_days[known], event[known], _STACKING_PENALTY)
        if (coefficients > 0).all():
            weight[positive] = coefficients
            break
        positive = positive[coefficients > 0]
    return weight


def pooled_columns(offset: LinearOffset, graphs: Sequence[Standardised]) -> Table:
    """Return the columns of a linear offset for graphs, float64 (n, p)."""
    return _evaluate(offset.columns, graphs, offset.axes.device)


@one_thread()
def evaluate_linear_offset(offset: LinearOffset, graphs: Sequence[Standardised]) -> Table:
    """Return the linear offset of graphs, float64 (n,)."""
    return _evaluate(offset, graphs, offset.axes.device)


def _evaluate(function: Callable[..., torch.Tensor], graphs: Sequence[Standardised], device: torch.device) -> Table:
    values = []
    with torch.inference_mode():
        for first in range(0, len(graphs), _BATCH_SIZE):
            *arguments, batch_size = disjoint_union(graphs[first : first + _BATCH_SIZE])
            moved = [argument.to(device) for argument in arguments if isinstance(argument, torch.Tensor)]
            values.append(function(*moved, batch_size).cpu().double().numpy())
    return np.concatenate(values)


def set_offset(offset: LinearOffset, **arrays: Table) -> None:
    """Set buffers of a linear offset by name."""
    for name, value in arrays.items():
        getattr(offset, name).copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
