"""Scores and differences over whole sites, and the counts that belong to a score.

Where folds keep sites whole, what is wanted is how a model does at a site it never saw. Each site gives a score of its
own patients, over pairs within its fold; scores are averaged over sites (`mean_over_sites`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wsigraph.cohort.metrics.site_difference import FEW_SITES, SiteMean, mean_over_sites
from wsigraph.cohort.metrics.stage import stage_pairs
from wsigraph.cohort.metrics.survival import comparable_pairs
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, score_draws

_DIGITS = 4
_PAIRS = ("c_index", "uno_c", "auc")


def scores_over_sites(
    outcomes: HeldOutOutcomes, model: CohortPredictions, baseline: CohortPredictions | None = None
) -> dict[str, dict[str, Any]]:
    """Return the patient-weighted means over sites of a model's scores, or of its differences from a baseline.

    Parameters
    ----------
    outcomes : HeldOutOutcomes
        Outcomes with the site of every patient.
    model : CohortPredictions
        The model's.
    baseline : CohortPredictions, optional
        Those of a baseline.

    Returns
    -------
    dict
        As `wsigraph.training.evaluation.held_out_scores.estimates`, each with ``n_sites`` and ``effective_sites``.
        Empty where no site is known.
    """
    names = np.unique(outcomes.site[outcomes.site != ""])
    if not len(names):
        return {}
    member = (outcomes.site == names[:, None]).astype(np.float64)
    by_site = replace(outcomes, weights=member)
    own = score_draws(by_site, model)
    other = None if baseline is None else score_draws(by_site, baseline)
    n_patients = {"survival": member @ outcomes.has_follow_up, "stage": member @ (outcomes.stage >= 0)}
    return {
        part: {
            name: _rounded(mean_over_sites(values - (0.0 if other is None else other[part][name]), n_patients[part]))
            for name, values in of.items()
        }
        for part, of in own.items()
        if other is None or part in other
    }


def _rounded(mean: SiteMean) -> dict[str, float | int | None]:
    ends = {"value": mean.value, "low": mean.low, "high": mean.high}
    return {
        **{name: round(value, _DIGITS) if np.isfinite(value) else None for name, value in ends.items()},
        "n_sites": mean.n_sites,
        "effective_sites": round(mean.effective_sites, 1),
    }


def with_pairs(scores: Mapping[str, Mapping[str, Any]], outcomes: HeldOutOutcomes) -> dict[str, dict[str, Any]]:
    """Return scores with the number of pairs of patients that each compares, as ``n_pairs``.

    Parameters
    ----------
    scores : mapping
        ``survival`` and ``stage``, as `wsigraph.training.evaluation.held_out_scores.estimates`.
    outcomes : HeldOutOutcomes
        Outcomes of the patients.

    Returns
    -------
    dict
        The same with counts; scores that compare no pairs have ``n``, the patients. Other entries stay as they are.
    """
    followed, staged = outcomes.has_follow_up, outcomes.stage >= 0
    pairs = {
        "survival": comparable_pairs(
            outcomes.time_days[followed], outcomes.event[followed], stratum=outcomes.fold[followed]
        ),
        "stage": stage_pairs(outcomes.stage, outcomes.fold),
    }
    patients = {"survival": int(followed.sum()), "stage": int(staged.sum())}
    return {
        part: {
            name: {**score, **({"n_pairs": pairs[part]} if name in _PAIRS else {"n": patients[part]})}
            if isinstance(score, dict) and "value" in score
            else score
            for name, score in of.items()
        }
        for part, of in scores.items()
    }


def few_sites_warning(over_sites: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning if scores over sites rest on fewer than `FEW_SITES` effective sites; else nothing.

    Parameters
    ----------
    over_sites : mapping
        From `scores_over_sites`.

    Returns
    -------
    list of str
        At most one.
    """
    main: list[tuple[float, int]] = [
        (score["effective_sites"], score["n_sites"])
        for of in over_sites.values()
        for name, score in of.items()
        if name in ("c_index", "auc")
    ]
    if not main or min(main)[0] >= FEW_SITES:
        return []
    effective, n_sites = min(main)
    return [
        f"{n_sites} sites count like {effective:.1f} of equal size, expected {FEW_SITES:.0f} or more: intervals over "
        "sites are wide and assume that sites differ as a normal variable does; add sites before you conclude "
        "anything about new hospitals"
    ]
