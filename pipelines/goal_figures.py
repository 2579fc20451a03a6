"""What the machinery reached on every planted law and public cohort, as figures for a model's card.

The recipes' own output lies in ``docs/results``, one file each, as ``docs/results.md`` quotes it. Training the
demonstration model puts the figures on its card; ``python -m pipelines.goal_figures`` puts newer ones there without
training, and leaves the weights as they are.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle, save_bundle
from wsigraph.model.card import Score

RESULTS = Path(__file__).parents[1] / "docs" / "results"
"""Where the recipes' output lies."""

PREFIX = "goal_"
"""What the names of these figures begin with on a card."""
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
"""Figure by name: the recipe's file, the path to it, and the key of the estimate."""


def main(arguments: list[str] | None = None) -> int:
    """Put the figures on the card of a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="directory of the bundle")
    options = parser.parse_args(arguments)
    bundle = load_bundle(options.model)
    own = {name: each for name, each in bundle.card.metrics.items() if not name.startswith(PREFIX)}
    card = bundle.card.model_copy(update={"metrics": {**own, **goal_figures()}})
    save_bundle(ModelBundle(card=card, weights=bundle.weights), options.model)
    for name, each in goal_figures().items():
        print(f"{name:44s} {each.value:.3f} ({each.low:.3f} to {each.high:.3f})")
    return 0


def goal_figures(directory: Path = RESULTS) -> dict[str, Score]:
    """Return the figures of the recipes' output, each under its name with ``goal_`` before it.

    Parameters
    ----------
    directory : Path
        ``<recipe>.json`` of each; a recipe whose output is not there has no figure.

    Returns
    -------
    dict of str to Score
        In the order of `GOALS`.
    """
    found = {}
    for name, (recipe, path, key) in GOALS.items():
        file = directory / f"{recipe}.json"
        if not file.is_file():
            continue
        part: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        for step in path:
            part = part[step]
        found[f"{PREFIX}{name}"] = Score(value=part[key], low=part["low"], high=part["high"])
    return found


if __name__ == "__main__":
    raise SystemExit(main())
