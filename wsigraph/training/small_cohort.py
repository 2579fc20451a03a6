"""Refuses to train on cohorts so small that their scores mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.training.dataset import Cohort

MIN_EVENTS, MIN_OF_CLASS, MIN_EVENTS_OF_FOLD = 20, 5, 2
"""Fewest events of a cohort, patients of a stage, and events of a fold."""


def small_cohort_problems(cohort: Cohort, fold: NDArray[np.int64], config: ModelConfig) -> list[str]:
    """Return what a cohort has too few of to be trained on.

    Parameters
    ----------
    cohort : Cohort
        One row a patient.
    fold : int64 (n,)
        Fold of every row.
    config : ModelConfig
        Names task and stages.

    Returns
    -------
    list of str
        A sentence for each shortage: the count, the fewest expected, and what to do. Empty where there is none.
    """
    problems = []
    if config.task != "stage":
        n_events = int(cohort.event.sum())
        if n_events < MIN_EVENTS:
            problems.append(
                f"{n_events} events, expected {MIN_EVENTS} or more: add patients or follow-up, or train --task stage"
            )
        by_fold = np.bincount(fold[cohort.event], minlength=int(fold.max()) + 1)
        lacking = np.flatnonzero(by_fold < MIN_EVENTS_OF_FOLD)
        if len(lacking):
            problems.append(
                f"fold {int(lacking[0])} has {int(by_fold[lacking[0]])} events, expected {MIN_EVENTS_OF_FOLD} or more: "
                "give fewer --folds, or --group patient where the folds are sites"
            )
    if config.task != "survival":
        counts = np.bincount(cohort.stage[cohort.stage >= 0], minlength=len(config.stage_names))
        few = [f"{name} ({n})" for name, n in zip(config.stage_names, counts.tolist(), strict=True) if n < MIN_OF_CLASS]
        if few:
            problems.append(
                f"stages with fewer than {MIN_OF_CLASS} patients: {', '.join(few)}: add patients, join stages in the "
                "manifest and name those that are left (--set model.stage_names), or train --task survival"
            )
    return problems


def refuse_small_cohort(problems: Sequence[str]) -> None:
    """Raise an error if there is a problem.

    Parameters
    ----------
    problems : sequence of str
        From `small_cohort_problems`.

    Raises
    ------
    CohortError
        If there is any; all are named, with what to do.
    """
    if problems:
        raise CohortError(
            f"the cohort is too small to train on: {'; '.join(problems)}. --force trains all the same; the model is "
            "then marked, and its scores say little"
        )
