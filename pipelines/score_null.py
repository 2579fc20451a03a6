"""Score models where there is nothing to find.

    python -m pipelines.score_null [--cohorts 20] [--patients 120]

Patients of the law ``null`` are simulated in memory and dealt into cohorts; each is cross-validated with another seed.
Prints one JSON object: mean held-out C-index and stage AUC over cohorts with
their 95 % intervals, and the permutation p-values of the C-index.
Chance is 0.5.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from wsigraph.config import load
from wsigraph.evaluation.fresh import train_on
from wsigraph.evaluation.tables import mean_over, own_scores
from wsigraph.synthesis.cohort import gather_simulated


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--patients", type=int, default=120, help="patients of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], ['synthesis.law="null"', *options.overrides])
    everybody = gather_simulated(options.cohorts * options.patients, settings, seed=options.seed).cohort
    table = []
    for seed, rows in enumerate(np.array_split(np.arange(everybody.n_rows), options.cohorts)):
        ensemble = train_on(everybody.take(rows), settings.model, seed=seed, workers=options.workers)
        found, _ = own_scores(ensemble.bundle, ensemble.held_out, seed=seed, n_draws=200)
        table.append((found["survival"]["c_index"]["value"], found["stage"]["auc"]["value"], found["survival"]))
    p = [survival["permutation_p"] for _, _, survival in table]
    shown = {
        "cohorts": len(table),
        "patients_each": options.patients,
        "mean_c_index": mean_over([c for c, _, _ in table]),
        "mean_stage_auc": mean_over([auc for _, auc, _ in table]),
        "c_index": [c for c, _, _ in table],
        "stage_auc": [auc for _, auc, _ in table],
        "permutation_p": p,
        "p_below_0.05": int(np.sum(np.array(p) < 0.05)),
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
