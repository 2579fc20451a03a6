"""Score the default model and every baseline on cohorts of region embeddings, by unseen site and by patient.

    python -m pipelines.score_cohorts DIR [--cohort NAME ...] [--split by_site] [--folds 5] [--table]

DIR holds one folder a cohort, each with ``slides.csv`` and ``region_embeddings_f16.npy`` as ``tcga_kirc`` has them, or
is such a folder itself. Folds by site keep whole sites (five, balanced in patients and events); pairs are compared
within a fold, and the bootstrap draws whole sites. Folds by patient are balanced in stage and event; there the site
alone is a strong baseline, so quote it with every score. The model is that of ``wsigraph train`` with nothing set.
Prints JSON, or with ``--table`` the rows of the page as well.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.score_tcga_kirc import advanced_auc, read_cohort
from wsigraph.cohort.manifest.splits import folds
from wsigraph.config import Config, load
from wsigraph.errors import CohortError
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.evaluation.baselines import BaselineTask, CohortPredictions
from wsigraph.training.evaluation.evaluation_document import baseline_models, score_within
from wsigraph.training.evaluation.refit_baselines import RECIPE

IMAGE_BASELINES = ("means@1", "edge@1", "pooled_forest", "attention_mil")
"""Baselines on images; the model should not be below the best of them."""
BASELINES = (*IMAGE_BASELINES, "site_only", "clinical", "clinical_and_image")
SPLITS = ("by_site", "by_patient")
PUBLISHED = {
    "tcga_kirc": "published, by patient: HGT 0.646 (MICCAI 2023), HMKGN 0.749; the site alone scores high there too",
    "tcga_lihc": "published, by patient: HGT 0.657 (MICCAI 2023); the site alone scores high there too",
}
"""Published C-indices, which are by patient and by other folds."""
FILES = ("slides.csv", "region_embeddings_f16.npy")


def find_cohorts(directory: Path, names: list[str] | None) -> list[Path]:
    """Return the folders of cohorts: those named, or all in a directory, or the directory itself."""
    if names:
        return [directory if directory.name == name else directory / name for name in names]
    if all((directory / name).is_file() for name in FILES):
        return [directory]
    paths = sorted(path for path in directory.iterdir() if all((path / name).is_file() for name in FILES))
    if not paths:
        raise CohortError(
            f"no folder under {directory} has {' and '.join(FILES)}, expected cohorts in the form of tcga_kirc"
        )
    return paths


def score_cohort(
    cohort: Cohort, settings: Config, split: str, *, n_folds: int, seed: int, workers: int, baselines: tuple[str, ...]
) -> dict[str, Any]:
    """Return the scores of the default model and baselines in the folds of one split."""
    n_sites = len(np.unique(cohort.site))
    by_site = split == "by_site"
    options: dict[str, Any] = {"site": cohort.site.tolist(), "group": "site"} if by_site else {}
    fold = folds(
        cohort.patient.tolist(),
        n_folds=min(n_folds, n_sites) if by_site else n_folds,
        stage=None if by_site else [None if stage < 0 else int(stage) for stage in cohort.stage],
        event=cohort.event.tolist(),
        seed=seed,
        **options,
    )
    config = settings.model
    ensemble = train_folds(
        cohort, fold, [config], seed=seed, about=RECIPE, split_by="site" if by_site else "patient", workers=workers
    )
    task = BaselineTask(cohort=cohort, fold=fold, config=config, seed=seed)
    cluster = np.unique(cohort.site, return_inverse=True)[1] if by_site else None
    shown = score_within(ensemble, task, fold, baselines, cluster=cluster, workers=workers)
    shown["stage_iii_iv_auc"] = advanced_auc(ensemble.held_out.stage_probability, cohort.stage, fold)
    models = baseline_models(task, ensemble.bundle.members, workers=workers)
    for name in ("means@1",):
        result = models[name]()
        if isinstance(result, CohortPredictions):
            shown["baselines"].setdefault(name, {})["stage_iii_iv_auc"] = advanced_auc(
                result.stage_probability, cohort.stage, fold
            )
    shown["above_best_image_baseline"] = above_best(shown)
    shown["earned"] = earned(ensemble)
    shown["folds"] = int(fold.max()) + 1
    return shown


def above_best(shown: dict[str, Any]) -> dict[str, float]:
    """Return by how much the model's C-index lies above the best baseline on images, and above ``means@1``."""
    if "c_index" not in shown.get("survival", {}):
        return {}
    own = shown["survival"]["c_index"]["value"]
    others = {
        name: shown["baselines"][name]["survival"]["c_index"]["value"]
        for name in IMAGE_BASELINES
        if "survival" in shown["baselines"].get(name, {})
    }
    result = {"best": round(own - max(others.values()), 4)} if others else {}
    return {**result, **({"means@1": round(own - others["means@1"], 4)} if "means@1" in others else {})}


def earned(ensemble: Ensemble) -> dict[str, list[float]]:
    """Return the fractions of the correction that every fold earned."""
    cards = [member.correction for member in ensemble.bundle.card.members if member.correction is not None]
    return {
        "survival": [card.survival_fraction for card in cards],
        "stage": [card.stage_fraction for card in cards],
    }


def table_rows(scores: dict[str, Any]) -> list[str]:
    """Return the scores as rows of a Markdown table."""
    lines = ["| cohort, split | model | C-index | model above | stage AUC |", "|---|---|---|---|---|"]
    for cohort, splits in scores.items():
        for split in (name for name in SPLITS if name in splits):
            shown = splits[split]
            rows = {"wsigraph train": shown, **shown["baselines"]}
            for name, row in rows.items():
                if "left_out" in row:
                    continue
                above = row.get("model_above", {}).get("survival", {}).get("c_index")
                c_index, auc = row.get("survival", {}).get("c_index"), row.get("stage", {}).get("auc")
                texts = (_interval(c_index), _interval(above, "+"), _interval(auc))
                lines.append(f"| {cohort}, {split.replace('_', ' ')} | {name} | {' | '.join(texts)} |")
    return lines


def _interval(score: dict[str, float] | None, sign: str = "") -> str:
    if not score or score["value"] is None or score["low"] is None:
        return ""
    return f"{score['value']:{sign}.3f} ({score['low']:{sign}.3f} to {score['high']:{sign}.3f})"


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cohort", action="append", default=None, help="name of a folder; all by default")
    parser.add_argument("--split", choices=SPLITS, action="append", default=None, help="both by default")
    parser.add_argument("--baseline", choices=BASELINES, action="append", default=None, help="all by default")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="also print the rows of a table")
    parser.add_argument(
        "--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.design=full"
    )
    options = parser.parse_args(arguments)
    settings = load([], options.overrides)
    scores: dict[str, Any] = {}
    for path in find_cohorts(options.directory, options.cohort):
        cohort = read_cohort(path)
        shown: dict[str, Any] = {
            "patients": cohort.n_rows,
            "events": int(cohort.event.sum()),
            "sites": len(np.unique(cohort.site)),
            "published": PUBLISHED.get(path.name, ""),
        }
        for split in options.split or SPLITS:
            shown[split] = score_cohort(
                cohort,
                settings,
                split,
                n_folds=options.folds,
                seed=options.seed,
                workers=options.workers,
                baselines=tuple(options.baseline or BASELINES),
            )
        scores[path.name] = shown
    print(json.dumps(scores, indent=1))
    if options.table:
        print("\n".join(table_rows(scores)))


if __name__ == "__main__":
    main()
