"""Cross-validate over several divisions of a cohort rather than the best of them.

    python -m pipelines.cross_validate MANIFEST --graphs DIR [--folds 5] [--repeats 5] [--group patient|site]

Each repeat divides the patients anew and trains with another seed. Prints JSON: the held-out scores of every repeat
with their bootstrap intervals, and mean and spread over repeats: how much of a score is the luck of the division.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from wsigraph.cohort.manifest import read_manifest
from wsigraph.cohort.splits import repeated
from wsigraph.config import load
from wsigraph.evaluation.fresh import RECIPE
from wsigraph.model.ensemble import train_folds
from wsigraph.model.gather import gather
from wsigraph.model.study import held_out_metrics


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--graphs", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--group", choices=("patient", "site"), default="patient")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args()
    settings = load([], options.overrides)
    names = settings.model.stage_names
    manifest = read_manifest(options.manifest, stage_names=names, check_files=False)
    rows = [row for row in manifest.rows if row.split != "test"]
    cohort = gather(rows, options.graphs, stage_names=names, coarsening=settings.coarsening)
    divisions = repeated(
        cohort.patient.tolist(),
        n_repeats=options.repeats,
        n_folds=options.folds,
        stage=[None if stage < 0 else int(stage) for stage in cohort.stage],
        event=cohort.event.tolist(),
        site=[site or None for site in cohort.site.tolist()],
        group=options.group,
        seed=options.seed,
    )
    table = []
    for number, fold in enumerate(divisions):
        seed = options.seed + number
        ensemble = train_folds(
            cohort, fold, [settings.model], seed=seed, about=RECIPE, split_by=options.group, workers=options.workers
        )
        scores = held_out_metrics(ensemble.held_out, by_site=options.group == "site", seed=seed)
        table.append({name: score.model_dump() for name, score in scores.items()})
    over = {
        name: {
            "mean": round(float(np.mean([row[name]["value"] for row in table])), 4),
            "sd": round(float(np.std([row[name]["value"] for row in table], ddof=min(1, len(table) - 1))), 4),
        }
        for name in table[0]
    }
    print(json.dumps({"split_by": options.group, "repeats": table, "over_repeats": over}, indent=1))


if __name__ == "__main__":
    main()
