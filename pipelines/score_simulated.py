"""Score a model against the oracle and baseline models on fresh simulated patients.

    python -m pipelines.score_simulated --scenario spatial [--train 300] [--fresh 2000] [--seed 1] [--baseline NAME ...]

Patients are simulated in memory, as by ``wsigraph simulate``. An ensemble of five folds is trained on the first
patients and scored on the others, the fresh ones. Nodes are coarse regions, or with ``--nodes regions`` the regions of
the layout. Prints JSON: scores with 95 % intervals from 2,000 bootstrap draws over fresh patients, paired differences,
and D-calibration of the predicted survival. For comparison, D-calibration is also computed for hazards times 1.5, which
the test must reject.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from pipelines.options import add_renamed
from wsigraph.config import load
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.synthesis.simulation.scenarios import SCENARIOS
from wsigraph.training.evaluation.baselines import Answers
from wsigraph.training.evaluation.refit_baselines import answer_fresh, calibration_of_survival, score_fresh, train_on

BASELINES = ("attention_mil", "pooled_forest", "pooled_ridge", "edge_product_ridge")


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_renamed(parser, "--scenario", "--law", choices=list(SCENARIOS), required=True)
    parser.add_argument("--train", type=int, default=300, help="patients to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="other patients to score on")
    parser.add_argument("--nodes", choices=("coarse", "regions", "superpixels"), default="coarse")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    add_renamed(
        parser,
        "--baseline",
        "--rival",
        action="append",
        default=None,
        help="baseline models; by default bags and ridges",
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load([], [f'synthesis.scenario="{options.scenario}"', *options.overrides])
    started = time.perf_counter()
    everybody = gather_simulated(options.train + options.fresh, settings, seed=options.seed, nodes=options.nodes)
    rows = np.arange(everybody.cohort.n_rows)
    train, fresh = everybody.take(rows[: options.train]), everybody.take(rows[options.train :])
    simulated = time.perf_counter()
    ensemble = train_on(train.cohort, settings.model, seed=options.seed, workers=options.workers)
    trained = time.perf_counter()
    found = answer_fresh(ensemble.bundle, fresh.cohort)
    table = score_fresh(
        ensemble,
        train.cohort,
        fresh.cohort,
        seed=options.seed,
        names=options.baseline or BASELINES,
        found=found,
        oracle=Answers(risk=fresh.oracle_risk, stage_probability=fresh.oracle_stage),
        workers=options.workers,
    )
    if settings.model.task != "stage":
        table["d_calibration"] = calibration_of_survival(found, fresh.cohort)
        table["d_calibration_of_hazards_times_1.5"] = calibration_of_survival(found, fresh.cohort, factor=1.5)
    table["mean_nodes"] = round(float(np.mean([len(graph.features) for graph in everybody.cohort.inputs])), 1)
    table["epochs"] = [fitted.n_epochs for fitted in ensemble.fitted]
    table["seconds"] = {"simulate": round(simulated - started), "train": round(trained - simulated)}
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
