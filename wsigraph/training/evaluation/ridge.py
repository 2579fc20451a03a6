"""Ridge regressions of stage: multinomial logistic, with the penalty chosen inside the training rows.

Penalties come from three inner folds of whole patients, so that a baseline is as strong as its training rows allow and
nothing of the rows it is scored on leaks into it. Ridges for survival are in ``wsigraph/training/cox_ridge.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.stage import stage_auc
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.nn.linear_offset import MAX_STANDARD_DEVIATIONS
from wsigraph.training.cox_ridge import PENALTIES, Table, inner_folds, units


def standardise(before: Table, after: Table) -> tuple[Table, Table]:
    """Return both tables standardised by the first, without columns that are nearly constant in it."""
    mean, std, varies = units(before)
    scaled = (after - mean)[:, varies] / std[varies]
    return (before - mean)[:, varies] / std[varies], np.clip(scaled, -MAX_STANDARD_DEVIATIONS, MAX_STANDARD_DEVIATIONS)


@one_thread()
def stage_ridge(
    x: Table, stage: NDArray[np.int64], patient: NDArray[np.str_], train: NDArray[np.int64], n_stages: int, *, seed: int
) -> Table:
    """Return the stage probabilities of all rows by a ridge logistic regression fitted to some of them.

    Parameters
    ----------
    x : float64 (n, p)
        Covariates.
    stage : int64 (n,)
        Stage, -1 where unknown.
    patient : str (n,)
        Patient of every row.
    train : int64 (m,)
        Rows to fit on.
    n_stages : int
        K.
    seed : int
        Of the inner folds.

    Returns
    -------
    float64 (n, K)
        Equal probabilities where the training rows have fewer than two stages.
    """
    train = train[stage[train] >= 0]
    if len(np.unique(stage[train])) < 2 or not x.shape[1]:
        return np.full((len(x), n_stages), 1.0 / n_stages)

    def fit(rows: NDArray[np.int64], penalty: float) -> Table:
        return _logistic(x, stage, rows, n_stages, penalty)

    inner = inner_folds(patient[train], stage[train].tolist(), seed)
    scores = np.zeros(len(PENALTIES))
    numbers = np.unique(inner)
    for number in numbers if len(numbers) > 1 else ():
        rows, out = train[inner != number], train[inner == number]
        for tried, penalty in enumerate(PENALTIES):
            auc = stage_auc(fit(rows, penalty)[out], stage[out])[0]
            scores[tried] += auc if np.isfinite(auc) else 0.5
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

    With a dozen patients, choosing inside the training rows is mostly chance, and folds with different choices predict
    on different scales, which costs more than the best choice gains. A mean over all of them needs no choice.

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
        Equal probabilities where the training rows have fewer than two stages.
    """
    train = train[stage[train] >= 0]
    if len(np.unique(stage[train])) < 2:
        return np.full((len(stage), n_stages), 1.0 / n_stages)
    probabilities = [_logistic(x, stage, train, n_stages, penalty) for x in tables for penalty in penalties]
    return np.asarray(np.mean(probabilities, axis=0))


def _logistic(x: Table, stage: NDArray[np.int64], rows: NDArray[np.int64], n_stages: int, penalty: float) -> Table:
    from sklearn.linear_model import LogisticRegression

    train, everything = standardise(x[rows], x)
    probability = np.zeros((len(x), n_stages))
    if not train.shape[1] or len(np.unique(stage[rows])) < 2:
        return probability + 1.0 / n_stages
    model = LogisticRegression(C=1.0 / (penalty * len(rows)), max_iter=1000, tol=1e-6)
    model.fit(train, stage[rows])
    probability[:, model.classes_] = model.predict_proba(everything)
    return probability
