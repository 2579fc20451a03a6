"""Ridge regressions of survival and stage, with the penalty chosen inside the training rows.

Survival: Cox's partial likelihood with Efron's ties by Newton's method, in the space of the rows where there are more
columns than rows. Stage: multinomial logistic regression. Penalties come from three inner folds of whole patients, so
that a rival is as strong as its training rows allow and knows nothing of the rows it is scored on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.splits import folds
from wsigraph.metrics.stage import stage_auc
from wsigraph.metrics.survival import c_index
from wsigraph.model.network import one_thread

Table = NDArray[np.float64]

PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties tried, per patient and on standardised columns."""
_INNER_FOLDS = 3
_NEWTON_STEPS = 30


def standardise(before: Table, after: Table) -> tuple[Table, Table]:
    """Return both tables in units of the first one's mean and spread, without columns that hardly vary in it."""
    mean, spread = before.mean(axis=0), before.std(axis=0)
    varies = spread > 1e-6 * np.maximum(np.abs(mean), 1e-3)
    scaled = (after - mean)[:, varies] / spread[varies]
    return (before - mean)[:, varies] / spread[varies], np.clip(scaled, -20.0, 20.0)


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
        kept = size > 1e-9 * size[0]
        return np.asarray(axes[kept].T @ cox_ridge(x @ axes[kept].T, time_days, event, penalty))
    order = np.argsort(-time_days, kind="stable")
    x, event, days = x[order], event[order], time_days[order]
    group = np.unique(-days, return_inverse=True)[1]
    last = np.flatnonzero(np.append(group[1:] != group[:-1], True))
    beta: Table = np.zeros(x.shape[1])
    n = len(x)
    value = np.inf
    step: Table = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        loss, gradient, hessian = _partial_likelihood(x, event, group, last, beta + step, penalty * n)
        if loss > value + 1e-12:
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
    share = rank / n_tied[of_event]
    denominator = at_risk[of_event] - share * tied[of_event]
    mean = (at_risk_x[of_event] - share[:, None] * tied_x[of_event]) / denominator[:, None]
    loss = float(-(eta[dying] - eta.max() - np.log(denominator)).sum() + 0.5 * ridge * beta @ beta)
    gradient = -(x[dying] - mean).sum(axis=0) + ridge * beta
    # every patient weighs in the risk sets of all events up to their own time, less Efron's share of their own day
    passed = np.bincount(of_event, weights=1.0 / denominator, minlength=n_groups)
    exposure = np.cumsum(passed[::-1])[::-1][group]
    own_day = np.bincount(of_event, weights=share / denominator, minlength=n_groups)[group]
    spread = weight * (exposure - own_day * event)
    hessian = (x * spread[:, None]).T @ x - mean.T @ mean
    hessian[np.diag_indices(len(beta))] += ridge
    return loss, gradient, hessian


@one_thread()
def cox_risk(
    x: Table,
    time_days: Table,
    event: NDArray[np.bool_],
    patient: NDArray[np.str_],
    train: NDArray[np.int64],
    *,
    seed: int,
) -> Table:
    """Return the risk that a ridge Cox regression fitted to some rows gives to all of them.

    Parameters
    ----------
    x : float64 (n, p)
        Covariates.
    time_days, event
        Follow-up of the n rows; NaN where unknown.
    patient : str (n,)
        Whose row it is.
    train : int64 (m,)
        Rows to fit on.
    seed : int
        Of the inner folds.

    Returns
    -------
    float64 (n,)
        Higher is worse; zeros where no training row has an event.
    """
    train = train[np.isfinite(time_days[train])]
    if not len(train) or not event[train].any():
        return np.zeros(len(x))

    def fit(rows: NDArray[np.int64], penalty: float) -> Table:
        before, everybody = standardise(x[rows], x)
        return np.asarray(everybody @ cox_ridge(before, time_days[rows], event[rows], penalty))

    inner = _inner_folds(patient[train], event[train].tolist(), seed)
    scores = np.zeros(len(PENALTIES))
    for number in np.unique(inner) if inner is not None else ():
        rows, out = train[inner != number], train[inner == number]
        for tried, penalty in enumerate(PENALTIES):
            found = c_index(fit(rows, penalty)[out], time_days[out], event[out])[0]
            scores[tried] += found if np.isfinite(found) else 0.5
    # of equals the strongest penalty
    return fit(train, PENALTIES[len(PENALTIES) - 1 - int(scores[::-1].argmax())])


@one_thread()
def stage_ridge(
    x: Table, stage: NDArray[np.int64], patient: NDArray[np.str_], train: NDArray[np.int64], n_stages: int, *, seed: int
) -> Table:
    """Return the stage probabilities that a ridge logistic regression fitted to some rows gives to all of them.

    Parameters
    ----------
    x : float64 (n, p)
        Covariates.
    stage : int64 (n,)
        Stage, -1 where unknown.
    patient : str (n,)
        Whose row it is.
    train : int64 (m,)
        Rows to fit on.
    n_stages : int
        K.
    seed : int
        Of the inner folds.

    Returns
    -------
    float64 (n, K)
        Equal shares where the training rows hold fewer than two stages.
    """
    train = train[stage[train] >= 0]
    if len(np.unique(stage[train])) < 2 or not x.shape[1]:
        return np.full((len(x), n_stages), 1.0 / n_stages)

    def fit(rows: NDArray[np.int64], penalty: float) -> Table:
        return _logistic(x, stage, rows, n_stages, penalty)

    inner = _inner_folds(patient[train], stage[train].tolist(), seed)
    scores = np.zeros(len(PENALTIES))
    for number in np.unique(inner) if inner is not None else ():
        rows, out = train[inner != number], train[inner == number]
        for tried, penalty in enumerate(PENALTIES):
            found = stage_auc(fit(rows, penalty)[out], stage[out])[0]
            scores[tried] += found if np.isfinite(found) else 0.5
    return fit(train, PENALTIES[len(PENALTIES) - 1 - int(scores[::-1].argmax())])


@one_thread()
def mean_stage_ridge(
    tables: Sequence[Table],
    stage: NDArray[np.int64],
    train: NDArray[np.int64],
    n_stages: int,
    *,
    penalties: Sequence[float] = (0.01, 0.1, 1.0),
) -> Table:
    """Return the mean stage probabilities of ridges on several tables with several penalties, none of them chosen.

    With a dozen patients a choice inside the training rows is mostly chance, and folds that chose differently answer on
    different scales, which costs more than the best of them gains. A mean over all of them needs no choice.

    Parameters
    ----------
    tables : sequence of float64 (n, p)
        Covariates, at least one table.
    stage : int64 (n,)
        Stage, -1 where unknown.
    train : int64 (m,)
        Rows to fit on.
    n_stages : int
        K.
    penalties : sequence of float
        Per patient and on standardised columns.

    Returns
    -------
    float64 (n, K)
        Equal shares where the training rows hold fewer than two stages.
    """
    train = train[stage[train] >= 0]
    if len(np.unique(stage[train])) < 2:
        return np.full((len(stage), n_stages), 1.0 / n_stages)
    found = [_logistic(x, stage, train, n_stages, penalty) for x in tables for penalty in penalties]
    return np.asarray(np.mean(found, axis=0))


def _logistic(x: Table, stage: NDArray[np.int64], rows: NDArray[np.int64], n_stages: int, penalty: float) -> Table:
    from sklearn.linear_model import LogisticRegression

    before, everybody = standardise(x[rows], x)
    found = np.zeros((len(x), n_stages))
    if not before.shape[1] or len(np.unique(stage[rows])) < 2:
        return found + 1.0 / n_stages
    model = LogisticRegression(C=1.0 / (penalty * len(rows)), max_iter=1000, tol=1e-6)
    model.fit(before, stage[rows])
    found[:, model.classes_] = model.predict_proba(everybody)
    return found


def _inner_folds(patient: NDArray[np.str_], balance: list[int] | list[bool], seed: int) -> NDArray[np.int64] | None:
    if len(np.unique(patient)) < 2 * _INNER_FOLDS:
        return None
    # a patient of several rows may differ in them (a benign and a malignant image), so the first one balances
    first = dict(reversed(list(zip(patient.tolist(), balance, strict=True))))
    named = [str(first[name]) for name in patient.tolist()]
    return folds(patient.tolist(), n_folds=_INNER_FOLDS, stage=named, seed=seed)
