"""Time ``wsigraph train``, nothing set, on a simulated cohort of 400 patients with some 50 regions each.

    python -m pipelines.time_training [--patients 400] [--workers 2] [--scenario composition] [--set KEY=VALUE]

Patients are simulated in memory; their graphs are those of the layouts' regions. The time is that of the training
itself (five folds, offset and correction), without reading graphs and without baseline models. Prints JSON: mean number
of nodes, seconds, processor seconds of all processes, and the load of the machine before and after, because a busy
machine makes the seconds longer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time

import numpy as np

from wsigraph.config import load
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.synthesis.simulation.scenarios import SCENARIOS
from wsigraph.training.evaluation.refit_baselines import train_on

SMALL_SLIDES = ("synthesis.min_side=7", "synthesis.max_side=7", "synthesis.second_slide_fraction=0")
"""Seven by seven regions a slide, one slide a patient."""
GOAL_S = 180.0
"""A cohort of 400 patients with 50 regions, on two cores."""


def processor_seconds() -> float:
    """Return processor seconds of this process and of its finished children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=400)
    parser.add_argument("--scenario", choices=list(SCENARIOS), default="composition")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], [f'synthesis.scenario="{options.scenario}"', *SMALL_SLIDES, *options.overrides])
    cohort = gather_simulated(options.patients, settings, seed=options.seed, nodes="regions").cohort
    load_before = os.getloadavg()[0]
    started, used = time.perf_counter(), processor_seconds()
    ensemble = train_on(cohort, settings.model, seed=options.seed, n_folds=options.folds, workers=options.workers)
    seconds = time.perf_counter() - started
    earned = [fitted.correction for fitted in ensemble.fitted if fitted.correction is not None]
    shown = {
        "patients": cohort.n_rows,
        "mean_nodes": round(float(np.mean([len(graph.features) for graph in cohort.inputs])), 1),
        "workers": options.workers,
        "seconds": round(seconds, 1),
        "goal_s": GOAL_S,
        "processor_seconds": round(processor_seconds() - used, 1),
        "earned": {
            "survival": [card.survival_fraction for card in earned],
            "stage": [card.stage_fraction for card in earned],
        },
        "load_before_and_after": [round(load_before, 2), round(os.getloadavg()[0], 2)],
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
