"""How much of a held-out score is the luck of the division: the same cohort divided anew, several times over.

The model that is kept is that of the first division, whatever the others score. Each further division is trained with
another seed, scored and forgotten; what is reported is the mean over all of them, never the best.
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
from wsigraph.training.cross_validate import CHECKPOINTS, Design, divide, held_out_metrics
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

REPEATS_FILE = "repeats.json"
"""Held-out scores of every division, and their mean and spread."""

_FORGOTTEN = About(
    name="repeat", description="-", notice="scored and forgotten", licence="-", data="-", simulated=False
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
    """Divide a cohort anew, train and score it, and write all scores beside the model of the first division.

    Parameters
    ----------
    first : Ensemble
        The model of the first division, with its held-out scores on the card.
    cohort : Cohort
        One row a patient.
    configurations : sequence of ModelConfig
        Settings that every fold chooses from.
    out : Path or str
        Directory of the model.
    design : Design
        Of the first division; the others are trained with the seeds after its own.
    n_repeats : int
        Divisions in all, at least 2.
    progress : callable, optional
        Told of passes and folds.

    Returns
    -------
    dict
        ``split_by``, ``repeats``: the scores of every division, and ``over_repeats``: ``mean`` and ``sd`` of each.

    Raises
    ------
    CohortError
        If the folds cannot be formed.
    ModelError
        If a fold cannot be fitted.
    StoreError
        If the file cannot be written.
    """
    directory, table = Path(out), [first.bundle.card.metrics]
    for seed, fold in enumerate(divide(cohort, design, n_repeats)[1:], start=design.seed + 1):
        ensemble = train_folds(
            cohort,
            fold,
            configurations,
            seed=seed,
            about=_FORGOTTEN,
            split_by=design.group,
            checkpoints=directory / CHECKPOINTS / f"seed{seed}",
            workers=design.workers,
            device=design.device,
            progress=progress,
        )
        table.append(held_out_metrics(ensemble.held_out, by_site=design.group == "site", seed=seed))
    shown = {
        "split_by": design.group,
        "repeats": [{name: each.model_dump() for name, each in scores.items()} for scores in table],
        "over_repeats": {name: _over([scores[name].value for scores in table if name in scores]) for name in table[0]},
    }
    write_file(directory / REPEATS_FILE, canonical_document(shown))
    discard(directory / CHECKPOINTS)
    return shown


def _over(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=min(1, len(values) - 1))), 4),
    }
