"""Random forests (Breiman, Machine Learning 2001) for survival and stage on a row of numbers.

Survival is a regression on the martingale residuals of the null model (Therneau, Grambsch and Fleming, Biometrika
1990): events observed less events expected by the Nelson-Aalen estimate, so that higher is worse.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]

_TREES = 300
_LEAF = 5


def martingale_residuals(time_days: Table, event: NDArray[np.bool_]) -> Table:
    """Return event minus cumulative hazard at the end of follow-up, by Nelson and Aalen.

    Parameters
    ----------
    time_days : float64 (n,)
        Follow-up.
    event : bool (n,)
        Whether it ended with the event.

    Returns
    -------
    float64 (n,)
        Sums to 0.
    """
    index = np.unique(time_days, return_inverse=True)[1]
    died = np.bincount(index, weights=event)
    at_risk = np.cumsum(np.bincount(index)[::-1])[::-1]
    return np.asarray(event - np.cumsum(died / at_risk)[index])


def forest_risk(x: Table, time_days: Table, event: NDArray[np.bool_], train: NDArray[np.int64], *, seed: int) -> Table:
    """Return the risk of all rows by a forest fitted to some of them, float64 (n,); higher is worse."""
    from sklearn.ensemble import RandomForestRegressor

    train = train[np.isfinite(time_days[train])]
    if not len(train) or not event[train].any():
        return np.zeros(len(x))
    forest = RandomForestRegressor(_TREES, min_samples_leaf=_LEAF, max_features=1 / 3, n_jobs=1, random_state=seed)
    return np.asarray(forest.fit(x[train], martingale_residuals(time_days[train], event[train])).predict(x))


def forest_stage(x: Table, stage: NDArray[np.int64], train: NDArray[np.int64], n_stages: int, *, seed: int) -> Table:
    """Return the stage probabilities of all rows by a forest fitted to some of them, float64 (n, K)."""
    from sklearn.ensemble import RandomForestClassifier

    train = train[stage[train] >= 0]
    probability = np.full((len(x), n_stages), 1.0 / n_stages)
    if len(np.unique(stage[train])) < 2:
        return probability
    forest = RandomForestClassifier(_TREES, min_samples_leaf=_LEAF, n_jobs=1, random_state=seed)
    forest.fit(x[train], stage[train])
    probability[:] = 0.0
    probability[:, forest.classes_] = forest.predict_proba(x)
    return probability
