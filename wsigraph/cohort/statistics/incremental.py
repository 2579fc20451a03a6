"""Added value of a model's risk over clinical covariates.

The likelihood-ratio test of nested Cox models tests whether the risk explains anything that the covariates do not. The
risk is cross-fitted, because every patient was predicted by a member not trained on them. The difference of C-indices
measures how much the ranking of patients improves. There the coefficients are cross-fitted too: a fold is scored with
coefficients from the other folds. Its confidence interval is a paired bootstrap over patients with fixed coefficients,
so it holds for new patients under this fit and is a little too narrow for new fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, Estimate, draw_weights, estimate
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.cohort.statistics.cox import LEAST_EVENTS, CoxFit, design, fit_cox, fit_design
from wsigraph.cohort.statistics.external_only import followed

if TYPE_CHECKING:
    import pandas as pd

_N_FOLDS = 5
_NONE = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AddedValue:
    """Added value of the risk over covariates.

    Attributes
    ----------
    n_patients, n_events : int
        Patients with every covariate, and their events.
    statistic, p : float
        Likelihood-ratio test of the nested models, one degree of freedom; NaN where nothing was fitted.
    c_covariates, c_both, difference : Estimate
        C-index of the covariates, of the covariates with the risk, and the difference.
    note : str
        Caveats for reading the numbers.
    """

    n_patients: int
    n_events: int
    statistic: float
    p: float
    c_covariates: Estimate
    c_both: Estimate
    difference: Estimate
    note: str


def added_value(
    frame: pd.DataFrame, covariates: Sequence[str], *, n_draws: int = N_DRAWS, rng: np.random.Generator
) -> AddedValue:
    """Return the added value of the model's risk over covariates.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    covariates : sequence of str
        Columns, as for `wsigraph.cohort.statistics.cox.design`; without ``risk``.
    n_draws : int
        Draws of the intervals.
    rng : numpy.random.Generator
        Source of the draws, and of folds if the model's own do not divide the patients.

    Returns
    -------
    AddedValue
        Without numbers if there are fewer than `LEAST_EVENTS` events; its note says so.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.cox.fit_cox`.
    """
    known = followed(frame)
    known = known[design(known, covariates).notna().all(axis=1)]
    before, after = fit_cox(known, covariates), fit_cox(known, [*covariates, "risk"])
    if not after.is_fitted:
        return _not_fitted(after, after.note)
    statistic = max(0.0, 2.0 * (after.log_likelihood - before.log_likelihood))
    p = float(chi2.sf(statistic, 1))
    fold = _folds(known, rng)
    n_left = [int(known.loc[fold != number, "event"].sum()) for number in np.unique(fold)]
    if min(n_left) < LEAST_EVENTS:
        note = f"{after.note}; only {min(n_left)} events outside a fold: no C-index is cross-fitted"
        return _not_fitted(after, note, statistic, p)
    stratum = known["fold"].to_numpy(np.int64) * (int(fold.max()) + 1) + fold
    weights = draw_weights(stratum, n_draws=n_draws, rng=rng)
    days, event = known["time_days"].to_numpy(float), known["event"].to_numpy(bool)
    c_draws = [
        c_index(cross_fitted(known, names, fold), days, event, stratum=stratum, weights=weights)
        for names in (list(covariates), [*covariates, "risk"])
    ]
    return AddedValue(
        n_patients=after.n_patients,
        n_events=after.n_events,
        statistic=statistic,
        p=p,
        c_covariates=estimate(c_draws[0]),
        c_both=estimate(c_draws[1]),
        difference=estimate(c_draws[1] - c_draws[0]),
        note=after.note,
    )


def _not_fitted(fit: CoxFit, note: str, statistic: float = float("nan"), p: float = float("nan")) -> AddedValue:
    return AddedValue(
        n_patients=fit.n_patients,
        n_events=fit.n_events,
        statistic=statistic,
        p=p,
        c_covariates=_NONE,
        c_both=_NONE,
        difference=_NONE,
        note=note,
    )


def _folds(known: pd.DataFrame, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the model's folds, or folds of our own where it answered everybody with every member."""
    fold = known["fold"].to_numpy(np.int64)
    if len(np.unique(fold)) > 1:
        return np.unique(fold, return_inverse=True)[1].astype(np.int64)
    return np.asarray(rng.permutation(np.arange(len(fold)) % _N_FOLDS), np.int64)


def cross_fitted(known: pd.DataFrame, covariates: Sequence[str], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a Cox model's log hazard for every patient, by coefficients fitted without their fold.

    Parameters
    ----------
    known : pandas.DataFrame
        Patients with every covariate.
    covariates : sequence of str
        Columns, as for `wsigraph.cohort.statistics.cox.design`.
    fold : int64 (n,)
        Fold of every patient.

    Returns
    -------
    float64 (n,)
        Comparable within a fold alone.

    Raises
    ------
    CohortError
        If a fit does not converge.
    """
    table = design(known, covariates)
    # a level that one fold alone has cannot be fitted without it
    outcome = known[["fold", "time_days", "event"]]
    scores = np.zeros(len(known))
    for number in np.unique(fold):
        outside = fold != number
        varying = [name for name in table.columns if table.loc[outside, name].nunique() > 1]
        fitter = fit_design(table.loc[outside, varying].join(outcome[outside]), ["fold"])
        inside = table.loc[~outside, list(fitter.params_.index)].to_numpy(float)
        scores[~outside] = inside @ fitter.params_.to_numpy(float)
    return scores
