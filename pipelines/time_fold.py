"""Time the training of one fold on graphs of some 1,500 superpixels.

    python -m pipelines.time_fold [--patients 240] [--epochs 2]

Patients of the scenario ``composition`` are simulated in memory and not coarsened. Prints JSON: mean number of nodes,
processor seconds of an epoch with its validation, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import numpy as np

from pipelines.options import add_renamed
from wsigraph.config import load
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.training.fit import fit


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--patients", type=int, default=240, help="four fifths of 300, as in a table's fold")
    add_renamed(parser, "--epochs", "--passes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    settings = load(
        [],
        [
            "model.design=network",
            "synthesis.scenario=composition",
            f"model.epochs={options.epochs}",
            *options.overrides,
        ],
    )
    cohort = gather_simulated(options.patients, settings, seed=options.seed, nodes="superpixels").cohort
    started = time.process_time()
    fitted = fit(cohort, np.arange(cohort.n_rows), settings.model, seed=options.seed)
    seconds = time.process_time() - started
    shown = {
        "patients": cohort.n_rows,
        "mean_nodes": round(float(np.mean([len(graph.features) for graph in cohort.inputs])), 1),
        "epochs": len(fitted.history),
        "processor_seconds_an_epoch": round(seconds / len(fitted.history), 2),
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
