"""Restricts statistics to patients that the model was not trained on, one row per patient.

A model's risk for its training patients is too good, so every curve, ratio and p-value from them is biased. All
statistics of this package call `refuse_in_training` first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.statistics.frame import EXTERNAL, IN_TRAINING, OUT_OF_FOLD
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd


def refuse_in_training(frame: pd.DataFrame) -> None:
    """Refuse a frame that holds patients the model was trained on, or a patient twice.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`.

    Raises
    ------
    CohortError
        If a row's relation is ``in_training``, or is none of the three, or a patient has several rows.
    """
    unknown = set(frame["relation"]) - {OUT_OF_FOLD, EXTERNAL, IN_TRAINING}
    if unknown:
        raise CohortError(f"relation is {sorted(unknown)}, expected out_of_fold, external or in_training")
    n_trained = int((frame["relation"] == IN_TRAINING).sum())
    if n_trained:
        raise CohortError(
            f"{n_trained} of {len(frame)} rows are of patients that the model was trained on, whose risk is biased; "
            "leave them out: frame[frame.relation != 'in_training']"
        )
    n_double = int(frame["patient_id"].duplicated().sum())
    if n_double:
        raise CohortError(
            f"{n_double} rows are further slides of a patient, expected one row per patient; join them with "
            "wsigraph.cohort.by_patient(frame)"
        )


def followed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of patients outside the training data with a follow-up above 0 days and a risk.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.

    Returns
    -------
    pandas.DataFrame
        A copy; its ``attrs["zero_follow_up"]`` names the patients left out for a follow-up of 0 days.

    Raises
    ------
    CohortError
        As `refuse_in_training`, or if nobody is left.
    """
    refuse_in_training(frame)
    known = frame[_has_follow_up(frame) & np.isfinite(frame["risk"])].copy()
    if known.empty:
        raise CohortError(
            "no patient has both a follow-up above 0 days and a risk; the manifest needs time_days and event"
        )
    zero = frame.loc[frame["time_days"] == 0, "patient_id"].tolist()
    known.attrs["zero_follow_up"] = list(dict.fromkeys([*frame.attrs.get("zero_follow_up", ()), *zero]))
    return known


def _has_follow_up(frame: pd.DataFrame) -> pd.Series:
    """Return whether each patient has a follow-up above 0 days."""
    return np.isfinite(frame["time_days"]) & (frame["time_days"] > 0)


def by_patient(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per patient from one row per slide.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load` on a run.

    Returns
    -------
    pandas.DataFrame
        In the order of the first slide of each patient. Stage probabilities and survival are means over the patient's
        slides, and risk is computed from the mean survival at the last interval, as for an ensemble. Other columns are
        those of the first slide. A patient with one slide in training is ``in_training``. ``stage_set`` is left out if
        a patient has several slides, because sets cannot be averaged.
    """
    groups = frame.groupby("patient_id", sort=False)
    joined = groups.first().reset_index()[list(frame.columns.drop("stage_set", errors="ignore"))]
    means = [name for name in frame.columns if str(name).startswith(("p_", "survival_"))]
    if means:
        joined[means] = groups[means].mean().to_numpy()
    last = np.exp(-np.exp(frame["risk"]))
    mean = last.groupby(frame["patient_id"], sort=False).mean().to_numpy()
    joined["risk"] = np.log(-np.log(np.clip(mean, 1e-300, 1 - 1e-16)))
    joined["slide_id"] = groups["slide_id"].agg(" ".join).to_numpy()
    for relation in (OUT_OF_FOLD, IN_TRAINING):
        has = (frame["relation"] == relation).groupby(frame["patient_id"], sort=False).any().to_numpy()
        joined.loc[has, "relation"] = relation
    if "stage_set" in frame.columns and not frame["patient_id"].duplicated().any():
        joined["stage_set"] = frame["stage_set"].to_numpy()
    joined.attrs = dict(frame.attrs)
    return joined


def describe(frame: pd.DataFrame, by: str = "fold") -> pd.DataFrame:
    """Return patients, events, follow-up and missing stages of every fold, or of the groups of another column.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    by : str
        A column, e.g. ``site``; patients without a value are the row ``missing``.

    Returns
    -------
    pandas.DataFrame
        One row per fold (``external`` for patients that every member predicts) or value, and one for ``all``:
        ``n_patients``,
        ``n_events``, ``median_follow_up_days`` (Kaplan and Meier's estimate with censoring as the event, Schemper and
        Smith 1996; infinite where fewer than half were censored late enough), ``n_without_follow_up``
        (unknown or 0 days), ``n_stage_missing``, ``n_sites``.

    Raises
    ------
    CohortError
        As `refuse_in_training`, or if there is no such column.
    """
    import pandas as pd

    refuse_in_training(frame)
    if by not in frame.columns:
        raise CohortError(f"no column {by}; there are {', '.join(map(str, frame.columns))}")
    if by == "fold":
        parts = {("external" if fold < 0 else f"fold {fold}"): part for fold, part in frame.groupby("fold")}
    else:
        filled = frame[by].notna() & (frame[by].astype(str) != "")
        parts = {str(name): part for name, part in frame[filled].groupby(by, observed=True)}
        parts |= {} if filled.all() else {"missing": frame[~filled]}
    rows = {name: _described(part) for name, part in {**parts, "all": frame}.items()}
    return pd.DataFrame.from_dict(rows, orient="index")


def _described(part: pd.DataFrame) -> dict[str, float | int]:
    known = part[_has_follow_up(part)]
    median = float("nan")
    if len(known):
        # reverse Kaplan-Meier: censoring is the event
        median = kaplan_meier(known["time_days"].to_numpy(float), ~known["event"].to_numpy(bool)).median_days
    return {
        "n_patients": len(part),
        "n_events": int(known["event"].sum()),
        "median_follow_up_days": median,
        "n_without_follow_up": len(part) - len(known),
        "n_stage_missing": int(part["stage"].isna().sum()),
        "n_sites": int(part.loc[part["site"] != "", "site"].nunique()),
    }


def risk_group(frame: pd.DataFrame) -> pd.Series:
    """Return ``high`` or ``low``: above or below the median risk of the patients that the member was trained on.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`.

    Returns
    -------
    pandas.Series
        Ordered categorical, ``low`` before ``high``.

    Raises
    ------
    CohortError
        As `refuse_in_training`, or if the frame has no cut. A cut from the compared patients themselves would
        exaggerate their difference.
    """
    import pandas as pd

    refuse_in_training(frame)
    if frame["risk_cut"].isna().any():
        raise CohortError(
            "the cut between high and low risk is unknown; it is fixed in training, so load the run with "
            "model=<directory that wsigraph train wrote>"
        )
    names = np.where(frame["risk"] > frame["risk_cut"], "high", "low")
    return pd.Series(pd.Categorical(names, ["low", "high"], ordered=True), index=frame.index, name="risk_group")


def split_follow_up(frame: pd.DataFrame, day: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the cohort until a day, and from that day on.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    day : float
        Day at which follow-up is split.

    Returns
    -------
    early, late : pandas.DataFrame
        All patients, with events after the day censored at it; and the patients still followed then, with time counted
        from the day. Hazard ratios that differ between the two are what non-proportional hazards look like. Column
        ``risk_sd`` is the risk in standard deviations of everybody, so that both ratios are per the same step.

    Raises
    ------
    CohortError
        As `followed`.
    """
    known = followed(frame)
    # late patients vary less in risk; in their own SD the late ratio would be of a smaller step
    known["risk_sd"] = standardised_risk(known)
    early, late = known.copy(), known[known["time_days"] > day].copy()
    early["event"] = early["event"] & (early["time_days"] <= day)
    early["time_days"] = np.minimum(early["time_days"], day)
    late["time_days"] = late["time_days"] - day
    return early, late


def standardised_risk(frame: pd.DataFrame) -> pd.Series:
    """Return the risk in standard deviations within its fold; risks from different folds are on different scales.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, or a part of `split_follow_up`, whose ``risk_sd`` stays as it is.

    Returns
    -------
    pandas.Series
        float64.
    """
    if "risk_sd" in frame.columns:
        return frame["risk_sd"]
    return frame["risk"].groupby(frame["fold"]).transform(_standardised)


def _standardised(values: pd.Series) -> pd.Series:
    std = float(values.std(ddof=0))
    return (values - values.mean()) / (std if std > 0 else 1.0)
