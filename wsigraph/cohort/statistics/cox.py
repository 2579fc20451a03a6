"""Cox proportional hazards models on patients outside the training data, and a test of their assumption.

Cox models are stratified by fold, because risk scores from different folds are on different scales; the risk is in
standard deviations within its fold. With fewer than `LEAST_EVENTS` events no model is fitted, because it would fit
noise. Proportional hazards are tested on scaled Schoenfeld residuals against the rank of time (Grambsch and Therneau,
Biometrika 1994). lifelines fits the model.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wsigraph.cohort.statistics.external_only import followed, standardised_risk
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)
LEAST_EVENTS = 20
"""Events below which no Cox model is fitted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoxFit:
    """A Cox model, or why there is none.

    Attributes
    ----------
    n_patients, n_events, n_left_out : int
        Patients with every covariate, their events, and patients left out because one is missing.
    table : pandas.DataFrame
        One row per covariate: ``hazard_ratio``, ``low``, ``high`` (95 %), ``p`` (Wald); no rows if nothing was fitted.
    log_likelihood : float
        Partial; NaN where nothing was fitted.
    note : str
        Caveats for reading the table.
    design : pandas.DataFrame
        The fitted data: covariates as numbers, strata, ``time_days``, ``event``.
    fitter : lifelines.CoxPHFitter or None
        The lifelines fit.
    """

    n_patients: int
    n_events: int
    n_left_out: int
    table: pd.DataFrame
    log_likelihood: float
    note: str
    design: pd.DataFrame
    fitter: Any

    @property
    def is_fitted(self) -> bool:
        """Whether a model was fitted."""
        return self.fitter is not None


def design(frame: pd.DataFrame, covariates: Sequence[str]) -> pd.DataFrame:
    """Return covariates as numbers.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`.
    covariates : sequence of str
        Columns. An ordered categorical (``stage``) counts its steps; text becomes a column for every level but the
        most frequent; ``risk`` is in standard deviations within its fold.

    Returns
    -------
    pandas.DataFrame
        float64; a row with a missing covariate is NaN there.

    Raises
    ------
    CohortError
        If a column is not there.
    """
    import pandas as pd

    absent = [name for name in covariates if name not in frame.columns]
    if absent:
        raise CohortError(f"no column {', '.join(absent)}; there are {', '.join(map(str, frame.columns))}")
    columns: dict[str, Any] = {}
    for name in covariates:
        values = frame[name]
        if name == "risk":
            columns["risk (per SD)"] = standardised_risk(frame)
        elif isinstance(values.dtype, pd.CategoricalDtype):
            columns[f"{name} (per step)"] = values.cat.codes.where(values.notna()).astype(float)
        elif pd.api.types.is_numeric_dtype(values):
            columns[name] = values.astype(float)
        else:
            levels = values.value_counts().index[1:]
            columns |= {f"{name}: {level}": (values == level).where(values.notna()).astype(float) for level in levels}
    return pd.DataFrame(columns, index=frame.index)


def fit_cox(frame: pd.DataFrame, covariates: Sequence[str], *, strata: Sequence[str] = ("fold",)) -> CoxFit:
    """Fit a Cox model to patients outside the training data.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, a row a patient.
    covariates : sequence of str
        Columns, as for `design`.
    strata : sequence of str
        Columns; every combination of their values has its own baseline hazard. Move a covariate here if its hazards
        are not proportional.

    Returns
    -------
    CoxFit
        With fewer than `LEAST_EVENTS` events nothing is fitted: a warning is logged, and `CoxFit.note` says so.

    Raises
    ------
    CohortError
        If the frame holds patients that were trained on, or a column is missing, or the fit does not converge.

    Notes
    -----
    Patients with a missing covariate are left out and counted. Below ten events a covariate the note warns.
    """
    known = followed(frame)
    table = design(known, covariates)
    whole = table.notna().all(axis=1) & known[list(strata)].notna().all(axis=1)
    table = table[whole].assign(
        # a categorical would bring its empty levels, a stratum each
        **{name: known.loc[whole, name].astype(str) for name in strata},
        time_days=known.loc[whole, "time_days"],
        event=known.loc[whole, "event"],
    )
    n_events = int(table["event"].sum())
    counts = {"n_patients": len(table), "n_events": n_events, "n_left_out": int((~whole).sum())}
    if n_events < LEAST_EVENTS:
        note = f"{n_events} events, {LEAST_EVENTS} needed: no Cox model is fitted"
        # an empty table alone would look like a result
        _log.warning(note)
        return CoxFit(**counts, table=_table(None), log_likelihood=float("nan"), note=note, design=table, fitter=None)
    fitter = fit_design(table, strata)
    n_terms = len(fitter.params_)
    note = f"{n_events} events of {len(table)} patients, {n_terms} {'covariate' if n_terms == 1 else 'covariates'}"
    if n_events < 10 * n_terms:
        note += f"; only {n_events / n_terms:.1f} events per covariate, ten are customary: ratios are unstable"
    if counts["n_left_out"]:
        note += f"; {counts['n_left_out']} left out for a missing covariate"
    return CoxFit(
        **counts,
        table=_table(fitter),
        log_likelihood=float(fitter.log_likelihood_),
        note=note,
        design=table,
        fitter=fitter,
    )


def fit_design(table: pd.DataFrame, strata: Sequence[str]) -> Any:
    """Return lifelines' fit of a design.

    Parameters
    ----------
    table : pandas.DataFrame
        Covariates, strata, ``time_days``, ``event``.
    strata : sequence of str
        Columns; every combination has its own baseline hazard.

    Returns
    -------
    lifelines.CoxPHFitter
        Fitted without penalty.

    Raises
    ------
    CohortError
        If the fit does not converge.
    """
    from lifelines import CoxPHFitter
    from lifelines.exceptions import ConvergenceError, ConvergenceWarning

    fitter = CoxPHFitter()
    try:
        with warnings.catch_warnings():
            # a fit with a convergence warning is not used
            warnings.simplefilter("error", ConvergenceWarning)
            fitter.fit(table, "time_days", "event", strata=list(strata) or None)
    except (ConvergenceError, ConvergenceWarning, ValueError, np.linalg.LinAlgError) as error:
        names = [name for name in table.columns if name not in {*strata, "time_days", "event"}]
        raise CohortError(
            f"a Cox model of {', '.join(names)} cannot be fitted ({str(error).split('. ')[0]}); leave out covariates "
            "that repeat one another or the strata, are constant or nearly so, or decide the event alone"
        ) from error
    return fitter


def _table(fitter: Any) -> pd.DataFrame:
    import pandas as pd

    names = {"exp(coef)": "hazard_ratio", "exp(coef) lower 95%": "low", "exp(coef) upper 95%": "high", "p": "p"}
    if fitter is None:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in names.values()})
    return fitter.summary[list(names)].rename(columns=names).rename_axis("covariate").rename_axis(None, axis=1)


def check_proportional(fit: CoxFit) -> pd.DataFrame:
    """Return whether hazard ratios change over time.

    Parameters
    ----------
    fit : CoxFit
        From `fit_cox`.

    Returns
    -------
    pandas.DataFrame
        One row per covariate: ``statistic`` (chi-squared, one degree of freedom), ``p``. A small p means that the ratio
        is an average over time: stratify by the covariate, or fit early and late follow-up separately
        (`split_follow_up`). No rows if nothing was fitted.
    """
    import pandas as pd

    if not fit.is_fitted:
        return pd.DataFrame({"statistic": pd.Series(dtype=float), "p": pd.Series(dtype=float)})
    from lifelines.statistics import proportional_hazard_test

    test = proportional_hazard_test(fit.fitter, fit.design, time_transform="rank").summary
    return test[["test_statistic", "p"]].rename(columns={"test_statistic": "statistic"}).rename_axis("covariate")
