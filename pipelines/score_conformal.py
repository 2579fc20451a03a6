"""Score the conformal stage sets of a model on fresh patients, and at a site it never saw.

    wsigraph simulate --out COHORT --patients 3800 --seed 7 --law composition
    python -m pipelines.score_conformal COHORT [--calibration 1000] [--fresh 2000]

The model is trained and calibrated (CV+ over five folds) on patients of all sites but one; fresh patients of the same
sites show the coverage that is promised, those of the site left out what becomes of it elsewhere. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from wsigraph.cohort.manifest import read_manifest
from wsigraph.config import load
from wsigraph.evaluation.fresh import answer_fresh, coverage, train_on
from wsigraph.model.gather import gather


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohort", type=Path, help="directory that wsigraph simulate wrote")
    parser.add_argument("--calibration", type=int, default=1000, help="patients of known stage to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="patients of known stage to test on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args()
    settings = load([], ["model.task=stage", *options.overrides])
    names = settings.model.stage_names
    manifest = read_manifest(options.cohort / "data_manifest.csv", stage_names=names, check_files=False)
    staged = [row for row in manifest.rows if row.stage is not None]
    cohort = gather(staged, options.cohort, stage_names=names, coarsening=settings.coarsening)
    last = np.unique(cohort.site)[-1]
    inside, outside = (np.flatnonzero(mask) for mask in (cohort.site != last, cohort.site == last))
    train, fresh = np.split(inside[: options.calibration + options.fresh], [options.calibration])
    ensemble = train_on(cohort.take(train), settings.model, seed=options.seed, workers=options.workers)
    shown = {
        "promised": 1 - settings.model.miscoverage,
        "same_sites": None,
        "unseen_site": None,
    }
    for name, rows in (("same_sites", fresh), ("unseen_site", outside)):
        part = cohort.take(rows)
        shown[name] = coverage(ensemble, answer_fresh(ensemble.bundle, part), part)
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
