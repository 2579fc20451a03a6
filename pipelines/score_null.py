"""Score models in a scenario in which nothing can be predicted.

    python -m pipelines.score_null [--cohorts 20] [--patients 120] [--nodes regions] [--seed 1 --seed 2]
    python -m pipelines.score_null --printed docs/results/null.json docs/results/null_seed_2.json

Patients of the scenario ``null`` are simulated in memory and split into cohorts; each cohort is cross-validated with
another seed. Prints one JSON object: mean held-out C-index and stage AUC over cohorts with their 95 % intervals, the
permutation p-values of the C-index, and which fraction of the folds accepted a correction, although there is none to
earn. Chance is 0.5. Cohorts of several seeds, or from the output of earlier runs, are pooled; the means of each run are
printed too. ``--nodes regions`` reads the regions of the layout, which saves the coarsening.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsigraph.config import Config, load
from wsigraph.synthesis.simulation.cohort import Nodes, gather_simulated
from wsigraph.training.evaluation.evaluation_document import mean_over, own_scores
from wsigraph.training.evaluation.refit_baselines import train_on

FIGURES = ("c_index", "stage_auc", "permutation_p")
"""Scores of every cohort."""
EARNED = ("survival_earned", "stage_earned")
"""Fractions of the folds of every cohort in which a correction counts."""


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--patients", type=int, default=120, help="patients of each cohort")
    parser.add_argument("--nodes", choices=("coarse", "regions"), default="coarse")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, action="append", default=None, help="1 by default; several are pooled")
    parser.add_argument("--printed", type=Path, nargs="+", default=None, help="pool the output of earlier runs")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    if options.printed:
        tables = [json.loads(path.read_text()) for path in options.printed]
    else:
        settings = load([], ['synthesis.scenario="null"', *options.overrides])
        tables = [
            score_cohorts(
                settings,
                options.cohorts,
                options.patients,
                seed=seed,
                workers=options.workers,
                nodes=options.nodes,
                n_folds=options.folds,
            )
            for seed in options.seed or [1]
        ]
    print(json.dumps(tables[0] if len(tables) == 1 else pool(tables), indent=1))


def score_cohorts(
    settings: Config,
    n_cohorts: int,
    n_patients: int,
    *,
    seed: int,
    workers: int,
    nodes: Nodes = "coarse",
    n_folds: int = 5,
) -> dict[str, Any]:
    """Return the scores of simulated cohorts of one seed, and their means."""
    everybody = gather_simulated(n_cohorts * n_patients, settings, seed=seed, nodes=nodes).cohort
    figures: dict[str, list[float]] = {name: [] for name in (*FIGURES, *EARNED)}
    for number, rows in enumerate(np.array_split(np.arange(everybody.n_rows), n_cohorts)):
        ensemble = train_on(everybody.take(rows), settings.model, seed=number, workers=workers, n_folds=n_folds)
        scores, _ = own_scores(ensemble.bundle, ensemble.held_out, seed=number, n_draws=200)
        survival = scores["survival"]
        values = (survival["c_index"]["value"], scores["stage"]["auc"]["value"], survival["permutation_p"])
        for name, value in zip(FIGURES, values, strict=True):
            figures[name].append(value)
        corrections = [fitted.correction for fitted in ensemble.fitted if fitted.correction is not None]
        if corrections:
            figures["survival_earned"].append(float(np.mean([card.survival_fraction > 0 for card in corrections])))
            figures["stage_earned"].append(float(np.mean([card.stage_fraction > 0 for card in corrections])))
        print(f"cohort {number + 1} of {n_cohorts}: C-index {figures['c_index'][-1]:.3f}", file=sys.stderr, flush=True)
    return summarize({name: values for name, values in figures.items() if values}, n_patients)


def summarize(figures: dict[str, list[float]], n_patients: int) -> dict[str, Any]:
    """Return means over cohorts with their intervals, and the scores of every cohort."""
    earned = {
        f"{name}_in_any_fold": round(float(np.mean(np.array(figures[name]) > 0)), 4)
        for name in EARNED
        if figures.get(name)
    }
    return {
        "cohorts": len(figures["c_index"]),
        "patients_each": n_patients,
        "mean_c_index": mean_over(figures["c_index"]),
        "mean_stage_auc": mean_over(figures["stage_auc"]),
        **{f"mean_{name}": mean_over(figures[name]) for name in EARNED if figures.get(name)},
        **earned,
        **figures,
        "p_below_0.05": int(np.sum(np.array(figures["permutation_p"]) < 0.05)),
    }


def pool(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the cohorts of several runs as one table, with the means of each run.

    Parameters
    ----------
    tables : sequence of dict
        From `score_cohorts`, cohorts of equal size.

    Returns
    -------
    dict
        The keys of one run, and ``runs``.
    """
    sizes = {table["patients_each"] for table in tables}
    if len(sizes) > 1:
        raise SystemExit(f"the cohorts have {sorted(sizes)} patients, expected one size; pool runs of equal cohorts")
    names = [name for name in (*FIGURES, *EARNED) if all(name in table for table in tables)]
    figures = {name: [value for table in tables for value in table[name]] for name in names}
    runs = [{name: value for name, value in table.items() if name not in names} for table in tables]
    return {**summarize(figures, sizes.pop()), "runs": runs}


if __name__ == "__main__":
    main()
