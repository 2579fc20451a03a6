"""Score the conformal stage sets of a model on fresh patients, and at a site it never saw.

    python -m pipelines.score_conformal [--calibration 1000] [--fresh 2000]

Patients of the scenario ``composition`` are simulated in memory. The model is trained and calibrated (CV+ over five
folds) on patients of all sites but one. Coverage is then measured on fresh patients of the same sites, and on patients
of the site left out. The coverage that theorem 4 of Barber et al. (2021) guarantees at the sites trained on is printed
too, for the calibration patients of each stage, because sets are class-conditional. Only patients of known stage are
used. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from wsigraph.config import load
from wsigraph.model.conformal import guaranteed_coverage
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.training.evaluation.refit_baselines import coverage, predict_new_patients, train_on


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=4300, help="patients to simulate, of all sites, some unstaged")
    parser.add_argument("--calibration", type=int, default=1000, help="patients of known stage to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="patients of known stage to test on")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], ["synthesis.scenario=composition", "model.task=stage", *options.overrides])
    everybody = gather_simulated(options.patients, settings, seed=options.seed).cohort
    cohort = everybody.take(np.flatnonzero(everybody.stage >= 0))
    last = np.unique(cohort.site)[-1]
    inside, outside = (np.flatnonzero(mask) for mask in (cohort.site != last, cohort.site == last))
    wanted = options.calibration + options.fresh
    if len(inside) < wanted:
        parser.error(f"{len(inside)} staged patients of the sites trained on, {wanted} are needed; raise --patients")
    train, fresh = np.split(inside[:wanted], [options.calibration])
    ensemble = train_on(cohort.take(train), settings.model, seed=options.seed, workers=options.workers)
    bundle, miscoverage = ensemble.bundle, settings.model.miscoverage
    shown: dict[str, Any] = {
        "aimed_at": 1 - miscoverage,
        "guaranteed": round(guaranteed_coverage(len(bundle.calibration.score), len(bundle.members), miscoverage), 4),
        "guaranteed_by_stage": {
            name: round(guaranteed_coverage(int((cohort.stage[train] == k).sum()), len(bundle.members), miscoverage), 4)
            for k, name in enumerate(bundle.card.stage_names)
        },
        "same_sites": None,
        "unseen_site": None,
    }
    for name, rows in (("same_sites", fresh), ("unseen_site", outside)):
        part = cohort.take(rows)
        shown[name] = coverage(ensemble, predict_new_patients(bundle, part), part)
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
