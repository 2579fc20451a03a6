"""Scores of predicted survival with confidence intervals, and the paired comparison of two models.

Patients are those outside the training data with follow-up; pairs are formed within a fold, because risk scores from
different folds are on different scales. Every score says on how many pairs or patients it rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights, estimate
from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.metrics.site_difference import mean_over_sites
from wsigraph.cohort.metrics.survival import brier_scores, comparable_pairs, time_auc
from wsigraph.cohort.metrics.survival import c_index as weighted_c_index
from wsigraph.cohort.statistics.external_only import followed
from wsigraph.cohort.statistics.frame import horizons, survival_column
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

_Z = 1.959963984540054


def _outcomes(known: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    return known["time_days"].to_numpy(float), known["event"].to_numpy(bool), known["fold"].to_numpy(np.int64)


def c_index(frame: pd.DataFrame, *, n_draws: int = N_DRAWS, rng: np.random.Generator) -> pd.Series:
    """Return Harrell's C-index of the predicted risk.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    n_draws : int
        Draws of the interval.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    pandas.Series
        ``value``, ``low``, ``high`` (95 %, patients drawn within folds), ``n_pairs``, ``n_patients``, ``n_events``.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.followed`.
    """
    import pandas as pd

    known = followed(frame)
    days, event, fold = _outcomes(known)
    weights = draw_weights(fold, n_draws=n_draws, rng=rng)
    score = estimate(weighted_c_index(known["risk"].to_numpy(float), days, event, stratum=fold, weights=weights))
    return pd.Series(
        {
            "value": score.value,
            "low": score.low,
            "high": score.high,
            "n_pairs": comparable_pairs(days, event, stratum=fold),
            "n_patients": len(known),
            "n_events": int(event.sum()),
        },
        name="c_index",
    )


def compare_models(
    first: pd.DataFrame,
    second: pd.DataFrame,
    *,
    by_site: bool = False,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the C-indices of two models on the same patients, and their paired difference.

    Parameters
    ----------
    first, second : pandas.DataFrame
        From `load`, one row per patient; patients in both are compared.
    by_site : bool
        Whether sites, not patients, are the units: scores are patient-weighted means over sites with Student's
        interval. Use it where the models were trained with ``--group site``.
    n_draws : int
        Draws of the intervals over patients.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    pandas.DataFrame
        Rows ``first``, ``second`` and ``difference`` (first minus second); columns ``value``, ``low``, ``high``,
        ``n_pairs``; by site also ``n_sites`` and ``effective_sites``.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.followed`, or if the models share no patient, or differ in their
        follow-up.
    """
    import pandas as pd

    one, other = followed(first), followed(second)
    both = one.merge(other, on="patient_id", suffixes=("", "_second"))
    if both.empty:
        raise CohortError("the two models share no patient with follow-up, expected the same cohort; load both with it")
    unequal = (both["time_days"] != both["time_days_second"]) | (both["event"] != both["event_second"])
    if unequal.any():
        raise CohortError(
            f"{int(unequal.sum())} patients have another follow-up under the second model, e.g. "
            f"{both.loc[unequal, 'patient_id'].iloc[0]}; compare models of one endpoint and one manifest"
        )
    days, event, fold = _outcomes(both)
    # a pair is compared only where both models rank it by one member
    stratum = np.unique(np.stack([fold, both["fold_second"].to_numpy(np.int64)]), axis=1, return_inverse=True)[
        1
    ].ravel()
    risks = (both["risk"].to_numpy(float), both["risk_second"].to_numpy(float))
    n_pairs = comparable_pairs(days, event, stratum=stratum)
    if by_site:
        sites = both["site"].to_numpy(str)
        member = (sites == np.unique(sites)[:, None]).astype(np.float64)
        own, other_c = (weighted_c_index(risk, days, event, stratum=stratum, weights=member) for risk in risks)
        means = [mean_over_sites(values, member.sum(axis=1)) for values in (own, other_c, own - other_c)]
        rows = [(m.value, m.low, m.high, n_pairs, m.n_sites, round(m.effective_sites, 1)) for m in means]
        columns = ["value", "low", "high", "n_pairs", "n_sites", "effective_sites"]
    else:
        weights = draw_weights(stratum, n_draws=n_draws, rng=rng)
        own, other_c = (weighted_c_index(risk, days, event, stratum=stratum, weights=weights) for risk in risks)
        scores = [estimate(values) for values in (own, other_c, own - other_c)]
        rows = [(score.value, score.low, score.high, n_pairs) for score in scores]  # type: ignore[misc]
        columns = ["value", "low", "high", "n_pairs"]
    return pd.DataFrame(rows, index=["first", "second", "difference"], columns=columns)


def _at_days(
    frame: pd.DataFrame, days: Sequence[float] | float | None
) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.float64]]:
    """Return patients with follow-up, days (m,) and their predicted survival (n, m)."""
    known = followed(frame)
    at = list(horizons(frame) if days is None else np.atleast_1d(days))
    absent = [
        day for day in at if survival_column(day) not in known.columns or known[survival_column(day)].isna().any()
    ]
    if absent or not at:
        raise CohortError(
            f"no survival at day {', '.join(f'{day:g}' for day in absent) or 'of any kind'}; this frame has "
            f"{horizons(frame)}, and none beyond the model's last interval: load it with horizons_days=[...]"
        )
    return known, np.array(at, np.float64), known[[survival_column(day) for day in at]].to_numpy(float)


def time_dependent_auc(
    frame: pd.DataFrame,
    days: Sequence[float] | float | None = None,
    *,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the cumulative, dynamic area under the curve of the predicted probability of the event by some days.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    days : float or sequence of float, optional
        Horizons of the frame; all where left out.
    n_draws : int
        Draws of the intervals.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    pandas.DataFrame
        One row per day: ``value``, ``low``, ``high``, ``n_events`` (by the day), ``n_alive`` (still followed after it).

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.followed`, or if the frame has no such horizon.
    """
    known, at, survival = _at_days(frame, days)
    time_days, event, fold = _outcomes(known)
    weights = draw_weights(fold, n_draws=n_draws, rng=rng)
    areas = time_auc(1.0 - survival, time_days, event, at, stratum=fold, weights=weights)
    counts = {
        "n_events": lambda day: (event & (time_days <= day)).sum(),
        "n_alive": lambda day: (time_days > day).sum(),
    }
    return _by_day(at, areas, counts)


def brier_score(
    frame: pd.DataFrame,
    days: Sequence[float] | float | None = None,
    *,
    n_draws: int = N_DRAWS,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return the Brier score of predicted survival at some days, weighted for censoring.

    Parameters
    ----------
    frame, days, n_draws, rng
        As for `time_dependent_auc`.

    Returns
    -------
    pandas.DataFrame
        One row per day: ``value``, ``low``, ``high``, ``without_model`` (the score of the Kaplan-Meier estimate, which
        knows nothing of the patient) and ``n_patients``.

    Raises
    ------
    CohortError
        As `time_dependent_auc`.
    """
    known, at, survival = _at_days(frame, days)
    time_days, event, fold = _outcomes(known)
    weights = draw_weights(fold, n_draws=n_draws, rng=rng)
    scores = brier_scores(survival, time_days, event, at, weights=weights)
    overall = kaplan_meier(time_days, event).survival_at(at)
    without = brier_scores(np.tile(overall, (len(known), 1)), time_days, event, at)[0]
    table = _by_day(at, scores, {"n_patients": lambda _: len(known)})
    table.insert(3, "without_model", without)
    return table


def _by_day(at: NDArray[np.float64], draws: NDArray[np.float64], counts: dict[str, Any]) -> pd.DataFrame:
    import pandas as pd

    rows = {}
    for k, day in enumerate(at):
        score = estimate(draws[:, k])
        rows[float(day)] = {
            "value": score.value,
            "low": score.low,
            "high": score.high,
            **{name: int(count(day)) for name, count in counts.items()},
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("day")


def restricted_mean_survival(frame: pd.DataFrame, day: float, by: pd.Series | str | None = None) -> pd.DataFrame:
    """Return the mean survival time up to a day: the area under the Kaplan-Meier curve.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    day : float
        End of the time considered, days; within the follow-up of every group.
    by : pandas.Series or str, optional
        Group of every row, or a column, e.g. `risk_group`.

    Returns
    -------
    pandas.DataFrame
        One row per group (``all`` without `by`): ``mean_days``, ``low``, ``high`` (95 %), ``n_patients``, ``n_events``.
        With two groups a row ``difference``, the first minus the second.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.followed`, or if a group is not followed to the day.

    References
    ----------
    Royston and Parmar, "Restricted mean survival time", BMC Medical Research Methodology 2013.
    """
    import pandas as pd

    known = followed(frame)
    groups = (
        pd.Series("all", index=known.index) if by is None else known[by] if isinstance(by, str) else by[known.index]
    )
    rows: dict[str, dict[str, float]] = {}
    errors = []
    for name in groups.cat.categories if hasattr(groups, "cat") else sorted(groups.dropna().unique()):
        part = known[groups == name]
        if part.empty:
            continue
        if part["time_days"].max() < day:
            raise CohortError(
                f"group {name!r} is followed to day {part['time_days'].max():g}, expected day {day:g} or later; choose "
                "an earlier day"
            )
        mean, error = _area(part["time_days"].to_numpy(float), part["event"].to_numpy(bool), day)
        errors.append(error)
        early = part["event"] & (part["time_days"] <= day)
        rows[str(name)] = _row(mean, error, len(part), int(early.sum()))
    if len(rows) == 2:
        first, second = rows.values()
        rows["difference"] = _row(
            first["mean_days"] - second["mean_days"],
            float(np.hypot(errors[0], errors[1])),
            int(first["n_patients"] + second["n_patients"]),
            int(first["n_events"] + second["n_events"]),
        )
    return pd.DataFrame.from_dict(rows, orient="index")


def _row(mean: float, error: float, n_patients: int, n_events: int) -> dict[str, float]:
    ends = {"low": mean - _Z * error, "high": mean + _Z * error}
    return {"mean_days": mean, **ends, "n_patients": n_patients, "n_events": n_events}


def _area(time_days: NDArray[np.float64], event: NDArray[np.bool_], day: float) -> tuple[float, float]:
    """Return the area under the survival curve to a day, and its standard error by Greenwood's variance."""
    steps = kaplan_meier(np.minimum(time_days, day), event & (time_days <= day))
    ends = np.append(steps.time_days, day)
    widths = np.diff(np.concatenate([[0.0], ends]))
    survival = np.concatenate([[1.0], steps.survival])
    area = float(widths @ survival)
    # area after each event
    after = np.cumsum((widths * survival)[::-1])[::-1][1:]
    at_risk = np.array([(time_days >= t).sum() for t in steps.time_days], np.float64)
    died = np.array([(event & (time_days == t)).sum() for t in steps.time_days], np.float64)
    remaining = at_risk * (at_risk - died)
    terms = np.divide(after**2 * died, remaining, out=np.zeros(len(after)), where=remaining > 0)
    return area, float(np.sqrt(terms.sum()))
