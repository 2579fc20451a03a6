"""Ridges fitted to pooled features and to products over edges, and stacked into the answer a network starts at.

Both are Cox ridges (``ridge.py``) on the columns of ``start.py``. How much each counts is decided by what they say of
patients that their inner folds left out (Wolpert; weights that may not be negative: Breiman), so that the ridge which
only fits its own training rows better gets no credit for it. The network then learns what is left over from those same
left-out answers: from answers fitted to its own patients there would be too little left to learn.
Nothing outside the rows given is looked at.

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
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.nn.linear_offset import LinearStart
from wsigraph.model.nn.network import collate, one_thread
from wsigraph.training.cox_ridge import INNER_FOLDS, Table, cox_ridge, fit_cox, inner_folds
from wsigraph.training.dataset import Cohort

LEAST_SITES = 6
"""Sites from which on whole sites are left out in stacking."""
_READ_GRAPHS = 64
_STACKING_PENALTY = 1e-3


@one_thread()
def fit_start(
    start: LinearStart, cohort: Cohort, rows: NDArray[np.int64], scaler: Scaler, *, seed: int
) -> NDArray[np.float32]:
    """Fit a linear start to some rows of a cohort, in place.

    Parameters
    ----------
    start : LinearStart
        Of the scaler's features.
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        What may be seen.
    scaler : Scaler
        Units of the network.
    seed : int
        Of the inner folds.

    Returns
    -------
    float32 (n,)
        What stacked fits that left each row out say of it; zeros, and a start of zeros, where the rows hold no event or
        are too few for inner folds.

    Raises
    ------
    ModelError
        If a graph has another number of features than the scaler.
    """
    graphs = [scaler.standardise(cohort.inputs[row]) for row in rows]
    stacked = np.concatenate([each.features for each in graphs]).astype(np.float64)
    _, vectors = np.linalg.eigh(stacked.T @ stacked / len(stacked))
    n_axes = start.axes.shape[1]
    _set(start, axes=vectors[:, ::-1][:, :n_axes], length_unit=np.array([scaler.edge_mean[0], scaler.edge_scale[0]]))
    x = columns_of(start, graphs)
    time, event = cohort.time_days[rows], cohort.event[rows]
    parts = (slice(0, start.n_pooled), slice(start.n_pooled, None))
    inner = left_out_folds(cohort, rows, seed=seed)
    fits = [fit_cox(x[:, part], time, event, np.arange(len(rows)), inner) for part in parts]
    held_out = np.stack([each.held_out for each in fits], axis=1)
    share = stacking_weights(held_out, time, event)
    _set(
        start,
        centre=np.concatenate([each.centre for each in fits]),
        spread=np.concatenate([each.spread for each in fits]),
        weight=np.concatenate([factor * each.weight for factor, each in zip(share, fits, strict=True)]),
    )
    return np.asarray(held_out @ share, np.float32)


def left_out_folds(cohort: Cohort, rows: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return what is left out together where ridges are asked for what they did not see.

    Parameters
    ----------
    cohort : Cohort
        Patients, sites and events.
    rows : int64 (n,)
        Rows that are divided.
    seed : int
        Of the division.

    Returns
    -------
    int64 (n,)
        Three folds: of whole sites where every patient has one and there are six or more, for a ridge should count by
        what it says of a hospital that it did not see; else of whole patients. One where those are too few.
    """
    patient, site, event = cohort.patient[rows], cohort.site[rows], cohort.event[rows].tolist()
    pairs = set(zip(patient.tolist(), site.tolist(), strict=True))
    if (site != "").all() and len(np.unique(site)) >= LEAST_SITES and len(pairs) == len(np.unique(patient)):
        return folds(patient.tolist(), n_folds=INNER_FOLDS, event=event, site=site.tolist(), group="site", seed=seed)
    return inner_folds(patient, event, seed)


def stacking_weights(held_out: Table, time_days: Table, event: NDArray[np.bool_]) -> Table:
    """Return how much each of several risks counts beside the others.

    Parameters
    ----------
    held_out : float64 (n, m)
        Log hazard ratios of patients that the fits behind them left out.
    time_days, event
        Follow-up; NaN where unknown.

    Returns
    -------
    float64 (m,)
        Cox's coefficients; a risk that would count negatively counts as nothing, and the others are weighed anew.
    """
    known = np.isfinite(time_days)
    weight, kept = np.zeros(held_out.shape[1]), np.flatnonzero(held_out[known].std(axis=0) > 0)
    while len(kept):
        found = cox_ridge(held_out[known][:, kept], time_days[known], event[known], _STACKING_PENALTY)
        if (found > 0).all():
            weight[kept] = found
            break
        kept = kept[found > 0]
    return weight


def columns_of(start: LinearStart, graphs: Sequence[Standardised]) -> Table:
    """Return the columns that a start reads of graphs, float64 (n, p)."""
    return _read(start.columns, graphs, start.axes.device)


@one_thread()
def start_of(start: LinearStart, graphs: Sequence[Standardised]) -> Table:
    """Return the log hazard ratios that graphs start at, float64 (n,)."""
    return _read(start, graphs, start.axes.device)


def _read(asked: Callable[..., torch.Tensor], graphs: Sequence[Standardised], device: torch.device) -> Table:
    found = []
    with torch.inference_mode():
        for first in range(0, len(graphs), _READ_GRAPHS):
            batch = collate(graphs[first : first + _READ_GRAPHS]).to(str(device))
            told = asked(
                batch.features, batch.edge_index, batch.edge_attribute, batch.area, batch.batch, batch.n_graphs
            )
            found.append(told.cpu().double().numpy())
    return np.concatenate(found)


def _set(start: LinearStart, **arrays: Table) -> None:
    for name, value in arrays.items():
        getattr(start, name).copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))
