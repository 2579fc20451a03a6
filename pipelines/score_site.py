"""Score a model in a scenario in which the site has an effect and the tissue has none.

    python -m pipelines.score_site [--patients 600] [--fresh 4000]

Patients of the scenario ``site`` are simulated in memory; nodes are the regions of the layout. With folds by patient,
the stain reveals the hazard of the site. With sites left out, nothing can be predicted, neither for the patients of a
site that was left out nor, with smaller intervals, for fresh patients of that site. Prints JSON: both scores with those
of the site alone and the stain alone, the warnings of the evaluation, and the score of the fresh patients.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from wsigraph.cohort.manifest.splits import folds, site_folds
from wsigraph.config import load
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.training.ensemble import train_folds
from wsigraph.training.evaluation.baselines import Question
from wsigraph.training.evaluation.evaluation_document import score_within
from wsigraph.training.evaluation.refit_baselines import RECIPE
from wsigraph.training.evaluation.unseen import c_at_unseen_sites


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=600, help="patients to train on")
    parser.add_argument("--fresh", type=int, default=4000, help="other patients, of the sites that were left out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], ["synthesis.scenario=site", "model.task=survival", *options.overrides])
    n_patients = options.patients + options.fresh
    everybody = gather_simulated(n_patients, settings, seed=options.seed, nodes="regions").cohort
    cohort, fresh = (everybody.take(rows) for rows in np.split(np.arange(n_patients), [options.patients]))
    patients, sites = cohort.patient.tolist(), cohort.site.tolist()
    by_patient = folds(patients, n_folds=5, event=cohort.event.tolist(), site=sites, seed=options.seed)
    site = np.unique(cohort.site, return_inverse=True)[1]
    shown = {}
    for name, fold, cluster in (("by_patient", by_patient, None), ("by_site", site_folds(patients, sites), site)):
        ensemble = train_folds(cohort, fold, [settings.model], seed=options.seed, about=RECIPE, workers=options.workers)
        question = Question(cohort=cohort, fold=fold, config=settings.model, seed=options.seed)
        shown[name] = score_within(ensemble, question, fold, ("site_only", "stain_only"), cluster=cluster)
        if cluster is not None:
            shown["unseen_site_fresh"] = c_at_unseen_sites(ensemble, cohort, fold, fresh, seed=options.seed)
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
