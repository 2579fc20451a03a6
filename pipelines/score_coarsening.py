"""Score one network on superpixels, on regions merged without labels, and on regions merged as the task taught.

    python -m pipelines.score_coarsening --scenario composition [--train 300] [--fresh 2000]
        [--set coarsening.ratio=12]

The same simulated patients, folds and seeds three times, one process for each arm. The first patients are trained on;
the others are fresh. Prints JSON: C-index and stage AUC on fresh patients with 95 % intervals, what each coarse arm
scores above the superpixels in pairs under 2,000 bootstrap draws (a loss is within a margin where the lower end lies
above minus the margin), and seconds of processor time and peak memory of training and of prediction. The third arm
predicts by the mean of its members' embeddings; what its members say by their own, held out, stands beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from pipelines.options import add_renamed
from wsigraph.cohort.metrics.bootstrap import draw_weights
from wsigraph.config import CoarseningConfig, Config, load
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.model.inputs import GraphInput
from wsigraph.synthesis.simulation.scenarios import SCENARIOS
from wsigraph.synthesis.simulation.write_cohort import simulate_cohort
from wsigraph.training.cross_validate import held_out_metrics
from wsigraph.training.dataset import Cohort, Example, collect, join_patients
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.evaluation.held_out_scores import HeldOutOutcomes, differences, estimates, score_draws
from wsigraph.training.evaluation.refit_baselines import predict_new_patients, train_on
from wsigraph.training.load_cohort import coarsening_to_train

ARMS = ("superpixels", "regions_without_labels", "regions_by_the_task")


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_renamed(parser, "--scenario", "--law", choices=list(SCENARIOS), default="composition")
    parser.add_argument("--train", type=int, default=300, help="patients to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="other patients to score on")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args(arguments)
    table: dict[str, Any] = {"scenario": options.scenario, "n_train": options.train, "n_fresh": options.fresh}
    drawn: dict[str, Any] = {}
    for arm in ARMS:
        # a process an arm, so that its peak memory is its own
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            answers, outcome, facts = pool.submit(carry_out, arm, vars(options)).result()
        truth = HeldOutOutcomes(
            weights=draw_weights(outcome["fold"], rng=np.random.default_rng(options.seed)), **outcome
        )
        drawn[arm] = score_draws(truth, answers)
        table[arm] = {**facts, **estimates(drawn[arm])}
        if arm != ARMS[0]:
            table[arm]["above_superpixels"] = differences(drawn[arm], drawn[ARMS[0]])
        print(json.dumps({arm: table[arm]}), file=sys.stderr, flush=True)
    print(json.dumps(table, indent=1))


def carry_out(arm: str, options: dict[str, Any]) -> tuple[CohortPredictions, dict[str, Any], dict[str, Any]]:
    """Return what one arm says of fresh patients, their outcomes, and what it took."""
    settings = load([], [f'synthesis.scenario="{options["scenario"]}"', *options["overrides"]])
    by_task = arm == ARMS[2]
    config = settings.model.model_copy(update={"train_coarsening": by_task, "design": "network"})
    learned = coarsening_to_train(settings.coarsening, config)
    n_train, n_fresh, seed = options["train"], options["fresh"], options["seed"]
    kind = "superpixels" if arm == ARMS[0] or by_task else "coarse"
    train = gathered(settings, range(n_train), seed=seed, kind=kind, coarsening=learned)
    started = time.process_time()
    ensemble = train_on(train, config, seed=seed, n_folds=options["folds"])
    trained, peak = time.process_time(), peak_mib()
    own = ensemble.bundle.coarsening(settings.coarsening)
    later = range(n_train, n_train + n_fresh)
    if own is None:
        fresh = gathered(settings, later, seed=seed, kind=kind)
    else:
        fresh = gathered(settings, later, seed=seed, kind="coarse", embedding=own[1])
    ready = time.process_time()
    answers = predict_new_patients(ensemble.bundle, fresh).average
    own_scores = held_out_metrics(ensemble.held_out, by_site=False, seed=seed)
    facts = {
        "mean_nodes": round(float(np.mean([len(graph.features) for graph in fresh.inputs])), 1),
        "epochs": [fitted.n_epochs for fitted in ensemble.fitted],
        "held_out": {name: score.value for name, score in own_scores.items()},
        "train_cpu_seconds": round(trained - started, 1),
        "predict_cpu_ms_a_patient": round(1000 * (time.process_time() - ready) / n_fresh, 2),
        "peak_mib_after_training": peak,
        "graphs_mib": round(sum(size(graph) for graph in train.inputs) / 2**20, 1),
    }
    outcome = {name: getattr(fresh, name) for name in ("stage", "time_days", "event")}
    return answers, {"fold": np.zeros(fresh.n_rows, np.int64), **outcome}, facts


def size(graph: GraphInput) -> int:
    """Return the bytes of a patient's network input."""
    return int(graph.features.nbytes + graph.edge_index.nbytes + graph.edge_attribute.nbytes)


def peak_mib() -> int:
    """Return the highest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def gathered(
    settings: Config,
    numbers: range,
    *,
    seed: int,
    kind: str,
    embedding: Embedding | None = None,
    coarsening: tuple[CoarseningConfig, Embedding] | None = None,
) -> Cohort:
    """Return some simulated patients as superpixels or as regions."""

    def examples() -> Iterator[Example]:
        for number, patient in enumerate(simulate_cohort(numbers.stop, settings, seed=seed)):
            if number < numbers.start:
                continue
            for slide in patient.slides:
                graph = slide.graph
                yield Example(
                    graph=graph if kind == "superpixels" else coarsen(graph, settings.coarsening, embedding=embedding),
                    patient=patient.patient,
                    stage=patient.outcome.stage,
                    time_days=patient.outcome.time_days,
                    event=patient.outcome.event,
                )

    return join_patients(collect(examples(), settings.model.stage_names, coarsening=coarsening))


if __name__ == "__main__":
    main()
