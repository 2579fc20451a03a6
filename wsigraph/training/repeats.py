"""Repeated cross-validation: how much an out-of-fold score depends on the random division into folds.

The stored model is that of the first repeat, whatever the others score. Every further repeat is trained with another
seed and other folds, scored and discarded. The report gives the mean over all repeats, never the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsigraph.config import ModelConfig
from wsigraph.model.card import About
from wsigraph.store.atomic import discard, write_file
from wsigraph.store.header import canonical_document
from wsigraph.training.cross_validate import CHECKPOINTS, Design, assign_folds, held_out_metrics
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

REPEATS_FILE = "repeats.json"
"""Out-of-fold scores of every repeat, and their mean and standard deviation."""

_DISCARDED = About(
    name="repeat", description="-", notice="scored and discarded", licence="-", data="-", simulated=False
)


def score_repeats(
    first: Ensemble,
    cohort: Cohort,
    configurations: Sequence[ModelConfig],
    out: Path | str,
    *,
    design: Design,
    n_repeats: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Repeat a cross-validation with other folds and seeds, and write all scores next to the model of the first.

    Parameters
    ----------
    first : Ensemble
        The model of the first repeat, with its out-of-fold scores on the card.
    cohort : Cohort
        One row a patient.
    configurations : sequence of ModelConfig
        Settings to try in every fold.
    out : Path or str
        Directory of the model.
    design : Design
        Of the first repeat; the others use the following seeds.
    n_repeats : int
        Number of repeats, the first included, at least 2.
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    dict
        ``split_by``, ``repeats``: the scores of every repeat, and ``over_repeats``: ``mean`` and ``sd`` of each.

    Raises
    ------
    CohortError
        If the folds cannot be formed.
    ModelError
        If a fold cannot be fitted.
    StoreError
        If the file cannot be written.
    """
    directory, metrics = Path(out), [first.bundle.card.metrics]
    for seed, fold in enumerate(assign_folds(cohort, design, n_repeats)[1:], start=design.seed + 1):
        ensemble = train_folds(
            cohort,
            fold,
            configurations,
            seed=seed,
            about=_DISCARDED,
            split_by=design.group,
            checkpoints=directory / CHECKPOINTS / f"seed{seed}",
            workers=design.workers,
            device=design.device,
            progress=progress,
        )
        metrics.append(held_out_metrics(ensemble.held_out, by_site=design.group == "site", seed=seed))
    document = {
        "split_by": design.group,
        "repeats": [{name: score.model_dump() for name, score in scores.items()} for scores in metrics],
        "over_repeats": {
            name: _mean_and_sd([scores[name].value for scores in metrics if name in scores]) for name in metrics[0]
        },
    }
    write_file(directory / REPEATS_FILE, canonical_document(document))
    discard(directory / CHECKPOINTS)
    return document


def _mean_and_sd(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=min(1, len(values) - 1))), 4),
    }
