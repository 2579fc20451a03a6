"""Scores on every generative scenario and public cohort, for the card of a model.

The output of each recipe is a file in ``docs/results``; ``docs/results.md`` quotes it. Training the demonstration model
puts these scores on its card. ``python -m pipelines.goal_figures`` updates them without training and without changing
the weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle, save_bundle
from wsigraph.model.card import Score

RESULTS = Path(__file__).parents[1] / "docs" / "results"
"""Directory with the output of the recipes."""

PREFIX = "goal_"
"""Prefix of the names of these scores on a card."""
GOALS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "spatial_c_index": ("spatial", ("model", "survival", "c_index"), "value"),
    "spatial_c_index_above_oracle": ("spatial", ("oracle", "model_above", "survival", "c_index"), "value"),
    "spatial_c_index_above_attention_mil": (
        "spatial",
        ("attention_mil", "model_above", "survival", "c_index"),
        "value",
    ),
    "spatial_c_index_edge_product_ridge": ("spatial", ("edge_product_ridge", "survival", "c_index"), "value"),
    "interface_kappa": ("interface", ("model", "stage", "quadratic_kappa"), "value"),
    "interface_kappa_above_oracle": ("interface", ("oracle", "model_above", "stage", "quadratic_kappa"), "value"),
    "interface_kappa_attention_mil": ("interface", ("attention_mil", "stage", "quadratic_kappa"), "value"),
    "site_c_index_by_patient": ("site", ("by_patient", "survival", "c_index"), "value"),
    "site_c_index_sites_left_out": ("site", ("unseen_site_fresh", "c_index"), "value"),
    "null_mean_c_index": ("null", ("mean_c_index",), "value"),
    "null_mean_stage_auc": ("null", ("mean_stage_auc",), "value"),
    "conformal_coverage": ("conformal", ("same_sites",), "covered"),
    "conformal_coverage_unseen_site": ("conformal", ("unseen_site",), "covered"),
    "tcga_kirc_c_index_by_site": ("tcga_kirc", ("by_site", "survival", "c_index"), "value"),
    "tcga_kirc_c_index_by_patient_site_alone": (
        "tcga_kirc_by_patient",
        ("by_patient", "baselines", "site_only", "survival", "c_index"),
        "value",
    ),
    "tcga_kirc_c_index_by_patient": ("tcga_kirc_by_patient", ("by_patient", "survival", "c_index"), "value"),
}
"""For each score, by name: the file of its recipe, the path to it, and the key of the estimate."""


def main(arguments: list[str] | None = None) -> int:
    """Put the scores on the card of a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="directory of the bundle")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.model)
    own = {name: score for name, score in bundle.card.metrics.items() if not name.startswith(PREFIX)}
    card = bundle.card.model_copy(update={"metrics": {**own, **goal_figures()}})
    save_bundle(ModelBundle(card=card, weights=bundle.weights), options.model)
    for name, score in goal_figures().items():
        print(f"{name:44s} {score.value:.3f} ({score.low:.3f} to {score.high:.3f})")
    return 0


def goal_figures(directory: Path = RESULTS) -> dict[str, Score]:
    """Return the scores in the output of the recipes, each under its name with the prefix ``goal_``.

    Parameters
    ----------
    directory : Path
        Directory of ``<recipe>.json``; a recipe without a file has no scores.

    Returns
    -------
    dict of str to Score
        In the order of `GOALS`.
    """
    scores = {}
    for name, (recipe, path, key) in GOALS.items():
        file = directory / f"{recipe}.json"
        if not file.is_file():
            continue
        part: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for step in path:
            part = part[step]
        scores[f"{PREFIX}{name}"] = Score(value=part[key], low=part["low"], high=part["high"])
    return scores


if __name__ == "__main__":
    raise SystemExit(main())
