"""Score models where there is nothing to find.

    wsigraph simulate --out COHORT --patients 2400 --seed 1 --law null
    python -m pipelines.score_null COHORT [--cohorts 20]

The patients are dealt into cohorts of their own; each is cross-validated with another seed. Prints one JSON object:
mean held-out C-index and stage AUC over cohorts, and the permutation p-values of the C-index. Chance is 0.5.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from wsigraph.cohort.manifest import read_manifest
from wsigraph.config import load
from wsigraph.evaluation.fresh import train_on
from wsigraph.evaluation.tables import own_scores
from wsigraph.model.gather import gather


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cohort", type=Path, help="directory that wsigraph simulate wrote")
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args()
    settings = load([], options.overrides)
    names = settings.model.stage_names
    manifest = read_manifest(options.cohort / "data_manifest.csv", stage_names=names, check_files=False)
    everybody = gather(manifest.rows, options.cohort, stage_names=names, coarsening=settings.coarsening)
    table = []
    for seed, rows in enumerate(np.array_split(np.arange(everybody.n_rows), options.cohorts)):
        ensemble = train_on(everybody.take(rows), settings.model, seed=seed, workers=options.workers)
        found, _ = own_scores(ensemble.bundle, ensemble.held_out, seed=seed, n_draws=200)
        table.append((found["survival"]["c_index"]["value"], found["stage"]["auc"]["value"], found["survival"]))
    p = [survival["permutation_p"] for _, _, survival in table]
    shown = {
        "cohorts": len(table),
        "patients_each": everybody.n_rows // options.cohorts,
        "mean_c_index": round(float(np.mean([c for c, _, _ in table])), 4),
        "mean_stage_auc": round(float(np.mean([auc for _, auc, _ in table])), 4),
        "c_index": [c for c, _, _ in table],
        "stage_auc": [auc for _, auc, _ in table],
        "permutation_p": p,
        "p_below_0.05": int(np.sum(np.array(p) < 0.05)),
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
