"""Ridge regression of survival by Cox's partial likelihood, with the penalty chosen inside the training rows.

Efron's ties and Newton's method, in the space of the rows where there are more columns than rows. lifelines fits the
same model, but takes seconds where this takes milliseconds, and every fit here tries eight penalties in three folds.
The penalty is chosen in inner folds, and their out-of-fold predictions are returned, because predictions of a fit for
its own training rows are too good. Not optimal where hazards are not proportional.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.nn.linear_offset import MAX_STANDARD_DEVIATIONS

Table = NDArray[np.float64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties tried, per patient and on standardised columns."""
INNER_FOLDS = 3
"""Folds in which penalties are chosen."""
_NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoxFit:
    """A ridge Cox regression fitted to some rows of a table.

    Attributes
    ----------
    centre, std : float64 (p,)
        Mean and standard deviation of the columns over the training rows.
    weight : float64 (p,)
        Coefficients of standardised columns; 0 for a nearly constant column.
    held_out : float64 (n,)
        Log hazard ratios: of training rows, out of fold at the chosen penalty (0 without inner folds); of other rows,
        by the whole fit.
    """

    centre: Table
    std: Table
    weight: Table
    held_out: Table

    def risk(self, x: Table) -> Table:
        """Return the log hazard ratios of rows (m, p), float64 (m,); 0 at the mean of the training rows."""
        return np.asarray(
            np.clip((x - self.centre) / self.std, -MAX_STANDARD_DEVIATIONS, MAX_STANDARD_DEVIATIONS) @ self.weight
        )


def units(x: Table) -> tuple[Table, Table, NDArray[np.bool_]]:
    """Return mean and standard deviation of every column, and which columns vary enough to be used."""
    mean, std = x.mean(axis=0), x.std(axis=0)
    return mean, std, std > 1e-6 * np.maximum(np.abs(mean), 1e-3)


def cox_ridge(x: Table, time_days: Table, event: NDArray[np.bool_], penalty: float) -> Table:
    """Return the coefficients of a ridge Cox regression.

    Parameters
    ----------
    x : float64 (n, p)
        Standardised covariates.
    time_days : float64 (n,)
        Follow-up.
    event : bool (n,)
        Whether it ended with the event.
    penalty : float
        Weight of half the squared coefficients against the mean log partial likelihood of the n patients.

    Returns
    -------
    float64 (p,)
        The minimum, to 1e-8; zeros where there is no event.

    References
    ----------
    Efron, "The efficiency of Cox's likelihood function for censored data", JASA 1977.
    """
    if not event.any() or not x.shape[1]:
        return np.zeros(x.shape[1])
    if x.shape[1] > len(x):
        _, size, axes = np.linalg.svd(x, full_matrices=False)
        axes = axes[size > 1e-9 * size[0]]
        return np.asarray(axes.T @ cox_ridge(x @ axes.T, time_days, event, penalty))
    order = np.argsort(-time_days, kind="stable")
    x, event, days = x[order], event[order], time_days[order]
    group = np.unique(-days, return_inverse=True)[1]
    last = np.flatnonzero(np.append(group[1:] != group[:-1], True))
    beta: Table = np.zeros(x.shape[1])
    n = len(x)
    value = np.inf
    step: Table = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            # a step that is far too long leaves a set at risk without weight; its loss is then not finite
            loss, gradient, hessian = _partial_likelihood(x, event, group, last, beta + step, penalty * n)
        if not np.isfinite(loss) or loss > value + 1e-12:
            step = np.asarray(0.5 * step)
            continue
        beta, value = np.asarray(beta + step), loss
        step = np.asarray(-np.linalg.solve(hessian, gradient), np.float64)
        if np.abs(step).max() < 1e-8:
            break
    return beta


def _partial_likelihood(
    x: Table,
    event: NDArray[np.bool_],
    group: NDArray[np.int64],
    last: NDArray[np.int64],
    beta: Table,
    ridge: float,
) -> tuple[float, Table, Table]:
    """Return value, gradient and curvature of the penalised negative log partial likelihood; rows by falling time."""
    eta = x @ beta
    weight = np.exp(eta - eta.max())
    at_risk, at_risk_x = np.cumsum(weight)[last], np.cumsum(weight[:, None] * x, axis=0)[last]
    dying = np.flatnonzero(event)
    of_event = group[dying]
    n_groups = len(last)
    tied = np.bincount(of_event, weights=weight[dying], minlength=n_groups)
    tied_x = np.zeros((n_groups, x.shape[1]))
    np.add.at(tied_x, of_event, weight[dying, None] * x[dying])
    n_tied = np.bincount(of_event, minlength=n_groups)
    rank = np.arange(len(dying)) - np.searchsorted(of_event, of_event)
    # Efron: the l-th of d tied events (l from 0) has the risk set minus l/d of those who die that day
    fraction = rank / n_tied[of_event]
    denominator = at_risk[of_event] - fraction * tied[of_event]
    mean = (at_risk_x[of_event] - fraction[:, None] * tied_x[of_event]) / denominator[:, None]
    loss = float(-(eta[dying] - eta.max() - np.log(denominator)).sum() + 0.5 * ridge * beta @ beta)
    gradient = -(x[dying] - mean).sum(axis=0) + ridge * beta
    # every patient is in the risk sets of all events up to their own time, minus Efron's fraction on their own day
    increments = np.bincount(of_event, weights=1.0 / denominator, minlength=n_groups)
    exposure = np.cumsum(increments[::-1])[::-1][group]
    own_day = np.bincount(of_event, weights=fraction / denominator, minlength=n_groups)[group]
    curvature = weight * (exposure - own_day * event)
    hessian = (x * curvature[:, None]).T @ x - mean.T @ mean
    hessian[np.diag_indices(len(beta))] += ridge
    return loss, gradient, hessian


@one_thread()
def fit_cox(
    x: Table,
    time_days: Table,
    event: NDArray[np.bool_],
    train: NDArray[np.int64],
    inner: NDArray[np.int64],
) -> CoxFit:
    """Return a ridge Cox regression fitted to some rows.

    Parameters
    ----------
    x : float64 (n, p)
        Covariates.
    time_days, event
        Follow-up of the n rows; NaN where unknown.
    train : int64 (m,)
        Rows to fit on; outcomes of other rows are not used.
    inner : int64 (n,)
        Inner fold of every row, e.g. from `inner_folds`; with one fold, the strongest penalty is used.

    Returns
    -------
    CoxFit
        With zero weights where no training row has an event.
    """
    train = train[np.isfinite(time_days[train])]
    if not len(train) or not event[train].any():
        zeros = np.zeros(x.shape[1])
        return CoxFit(centre=zeros, std=np.ones(x.shape[1]), weight=zeros, held_out=np.zeros(len(x)))

    def fit(rows: NDArray[np.int64], penalty: float) -> CoxFit:
        centre, std, varies = units(x[rows])
        weight = np.zeros(x.shape[1])
        scaled = (x[rows] - centre)[:, varies] / std[varies]
        weight[varies] = cox_ridge(scaled, time_days[rows], event[rows], penalty)
        return CoxFit(centre=centre, std=np.where(varies, std, 1.0), weight=weight, held_out=np.zeros(len(x)))

    scores, held_out = np.zeros(len(PENALTIES)), np.zeros((len(PENALTIES), len(x)))
    numbers = np.unique(inner[train])
    for number in numbers if len(numbers) > 1 else ():
        rows, out = train[inner[train] != number], train[inner[train] == number]
        for tried, penalty in enumerate(PENALTIES):
            held_out[tried, out] = fit(rows, penalty).risk(x[out])
            score = c_index(held_out[tried, out], time_days[out], event[out])[0]
            scores[tried] += score if np.isfinite(score) else 0.5
    # the strongest of equally good penalties
    best = len(PENALTIES) - 1 - int(scores[::-1].argmax())
    whole = fit(train, PENALTIES[best])
    predicted = whole.risk(x)
    predicted[train] = held_out[best, train]
    return replace(whole, held_out=predicted)


def cox_risk(
    x: Table,
    time_days: Table,
    event: NDArray[np.bool_],
    patient: NDArray[np.str_],
    train: NDArray[np.int64],
    *,
    seed: int,
) -> Table:
    """Return the risks of all rows by a ridge Cox regression fitted to some of them.

    Parameters
    ----------
    x, time_days, event
        See `fit_cox`.
    patient : str (n,)
        Patient of every row.
    train
        See `fit_cox`.
    seed : int
        Of the inner folds.

    Returns
    -------
    float64 (n,)
        Higher is worse; zeros where no training row has an event.
    """
    known, inner = train[np.isfinite(time_days[train])], np.zeros(len(x), np.int64)
    inner[known] = inner_folds(patient[known], event[known].tolist(), seed)
    return fit_cox(x, time_days, event, train, inner).risk(x)


def inner_folds(patient: NDArray[np.str_], balance: list[int] | list[bool], seed: int) -> NDArray[np.int64]:
    """Return three folds of whole patients, int64 (n,), balanced in `balance`; one fold where patients are too few."""
    if len(np.unique(patient)) < 2 * INNER_FOLDS:
        return np.zeros(len(patient), np.int64)
    # rows of a patient may differ (a benign and a malignant image): the first one counts
    first = dict(reversed(list(zip(patient.tolist(), balance, strict=True))))
    named = [str(first[name]) for name in patient.tolist()]
    return folds(patient.tolist(), n_folds=INNER_FOLDS, stage=named, seed=seed)
