"""Predicted against true stage: scores with confidence intervals, confusion matrix, calibration, conformal sets.

Stages are ordered: the weighted kappa (quadratic) counts how far off a stage is, and calibration asks of every cut
between two stages whether being beyond it is as probable as stated.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import N_DRAWS, draw_weights, estimate
from wsigraph.cohort.metrics.calibration import beyond_each_stage, calibration_curve
from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.cohort.metrics.stage import balanced_accuracy, quadratic_kappa, stage_auc, stage_brier
from wsigraph.cohort.metrics.stage_sets import cross_conformal_sets
from wsigraph.cohort.statistics.external_only import refuse_in_training
from wsigraph.cohort.statistics.frame import stage_columns
from wsigraph.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

_log = logging.getLogger(__name__)


def _staged(frame: pd.DataFrame) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.int64]]:
    """Return patients of known stage outside the training data, their probabilities (n, K) and stages (n,)."""
    refuse_in_training(frame)
    columns = stage_columns(frame)
    if not columns:
        raise CohortError("this model does not predict stage; train one with --task stage or both")
    known = frame[frame["stage"].notna()]
    withheld = known[columns].isna().any(axis=1)
    if withheld.any():
        _log.warning("%d patients are left out, because the model withheld their stage", withheld.sum())
        known = known[~withheld]
    if known.empty:
        raise CohortError("no patient has a known stage that was also predicted; fill the manifest's column stage")
    return known, known[columns].to_numpy(float), known["stage"].cat.codes.to_numpy(np.int64)


def stage_scores(frame: pd.DataFrame, *, n_draws: int = N_DRAWS, rng: np.random.Generator) -> pd.DataFrame:
    """Return scores of the predicted stage with confidence intervals.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    n_draws : int
        Draws of the intervals.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    pandas.DataFrame
        Rows ``auc``, ``balanced_accuracy``, ``quadratic_kappa``, ``brier``; columns ``value``, ``low``, ``high``,
        ``chance``, the score without knowledge of the patient (for the Brier score, from the stage frequencies).

    Raises
    ------
    CohortError
        As `wsigraph.cohort.statistics.external_only.refuse_in_training`, or if no stage is predicted or known.
    """
    import pandas as pd

    known, probability, stage = _staged(frame)
    fold = known["fold"].to_numpy(np.int64)
    weights = draw_weights(fold, n_draws=n_draws, rng=rng)
    likeliest, n_stages = probability.argmax(axis=1), probability.shape[1]
    fractions = np.bincount(stage, minlength=n_stages) / len(stage)
    draws = {
        "auc": (stage_auc(probability, stage, stratum=fold, weights=weights), 0.5),
        "balanced_accuracy": (balanced_accuracy(likeliest, stage, stratum=fold, weights=weights), 1 / n_stages),
        "quadratic_kappa": (quadratic_kappa(likeliest, stage, n_stages, stratum=fold, weights=weights), 0.0),
        "brier": (stage_brier(probability, stage, weights=weights), 1.0 - float(fractions @ fractions)),
    }
    estimates = {name: (estimate(values), chance) for name, (values, chance) in draws.items()}
    rows = {name: (score.value, score.low, score.high, chance) for name, (score, chance) in estimates.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "chance"])


def confusion(frame: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Return the confusion matrix of true and predicted stage.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    by : str, optional
        A column, e.g. ``site``; a table for each of its values.

    Returns
    -------
    pandas.DataFrame
        Rows ``(value, true stage)``, or true stage without `by`; a column for every stage that can be predicted.

    Raises
    ------
    CohortError
        As `stage_scores`.
    """
    import pandas as pd

    known, probability, _ = _staged(frame)
    names = list(known["stage"].cat.categories)
    predicted = pd.Categorical.from_codes(probability.argmax(axis=1), names, ordered=True)
    table = known.assign(predicted=predicted)
    keys = ["stage"] if by is None else [by, "stage"]
    counted = table.groupby([*keys, "predicted"], observed=False).size()
    return counted.unstack("predicted")


def stage_calibration(frame: pd.DataFrame, n_bins: int = 10) -> pd.DataFrame:
    """Return predicted and observed probability of being beyond a stage, over all borders between stages.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    n_bins : int
        Groups of equally many, by stated probability.

    Returns
    -------
    pandas.DataFrame
        ``stated``, ``observed``, ``n``.

    Raises
    ------
    CohortError
        As `stage_scores`.
    """
    import pandas as pd

    _, probability, stage = _staged(frame)
    curve = calibration_curve(*beyond_each_stage(probability, stage), n_bins)
    return pd.DataFrame({"stated": curve.stated, "observed": curve.observed, "n": curve.n})


def set_coverage(frame: pd.DataFrame, *, miscoverage: float = 0.1, by: str | None = None) -> pd.DataFrame:
    """Return the coverage and the size of conformal stage sets.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `load`, one row per patient.
    miscoverage : float
        Allowed fraction of true stages outside the set, if sets are computed here.
    by : str, optional
        A column, e.g. ``site``; a row for each of its values.

    Returns
    -------
    pandas.DataFrame
        ``coverage`` with the ends ``low`` and ``high`` of its 95 % interval (Wilson's), ``mean_size``, ``n``.

    Raises
    ------
    CohortError
        As `stage_scores`.

    Notes
    -----
    The sets of the predictions (``stage_set``) are used if the frame has them. For held-out patients of a model they
    are computed here, calibrated on the patients of the other folds
    (`wsigraph.cohort.metrics.stage_sets.cross_conformal_sets`). Members of different folds differ, so 1 - `miscoverage`
    is aimed at, not guaranteed.
    """
    import pandas as pd

    known, probability, stage = _staged(frame)
    names = list(known["stage"].cat.categories)
    if "stage_set" in known.columns:
        inside = np.array([[name in stage_set for name in names] for stage_set in known["stage_set"]], bool)
    else:
        fold = known["fold"].to_numpy(np.int64)
        if len(np.unique(fold)) < 2:
            raise CohortError("conformal sets are calibrated on patients of another fold, but this frame has one fold")
        inside = cross_conformal_sets(probability, stage, fold, miscoverage)
    table = pd.DataFrame(
        {
            "hit": inside[np.arange(len(stage)), stage].astype(int),
            "size": inside.sum(axis=1).astype(float),
            "part": "all" if by is None else known[by].to_numpy(),
        }
    )
    rows = {name: _covered(part) for name, part in table.groupby("part")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def _covered(part: pd.DataFrame) -> dict[str, float | int]:
    hits, n = int(part["hit"].sum()), len(part)
    low, high = wilson_confidence_interval(hits, n)
    return {"coverage": hits / n, "low": low, "high": high, "mean_size": float(part["size"].mean()), "n": n}
