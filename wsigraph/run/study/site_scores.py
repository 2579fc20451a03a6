"""Scores of held-out patients at each site: pairs within the site and the fold, with intervals over its patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wsigraph.cohort.metrics.bootstrap import draw_weights
from wsigraph.model.bundle import load_bundle
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, estimates, score_draws
from wsigraph.training.evaluation.over_sites import with_pairs
from wsigraph.training.held_out import load_held_out

N_DRAWS = 500
"""Bootstrap draws of the intervals."""


def site_scores(model: Path) -> dict[str, dict[str, Any]]:
    """Return the scores of a model at each site.

    Parameters
    ----------
    model : Path
        Directory of the model.

    Returns
    -------
    dict
        By site ``c_index`` and ``stage_auc``, each with ``value``, ``low``, ``high`` and ``n_pairs``; None where no two
        patients can be compared.

    Raises
    ------
    ModelError
        If the directory is no model with out-of-fold predictions.
    """
    bundle = load_bundle(model)
    held_out = load_held_out(model, bundle.model_id)
    rng = np.random.default_rng(bundle.card.seeds["train"])
    table: dict[str, dict[str, Any]] = {}
    for site in np.unique(held_out.site[held_out.site != ""]).tolist():
        rows = held_out.site == site
        outcomes = HeldOutOutcomes(
            fold=held_out.fold[rows],
            stage=held_out.stage[rows],
            time_days=held_out.time_days[rows],
            event=held_out.event[rows],
            weights=draw_weights(held_out.fold[rows], n_draws=N_DRAWS, rng=rng),
        )
        predictions = CohortPredictions(risk=held_out.risk[rows], stage_probability=held_out.stage_probability[rows])
        scores = with_pairs(estimates(score_draws(outcomes, predictions)), outcomes)
        pair = {
            "c_index": scores.get("survival", {}).get("c_index"),
            "stage_auc": scores.get("stage", {}).get("auc"),
        }
        table[site] = {name: score if score and score["n_pairs"] else None for name, score in pair.items()}
    return table
