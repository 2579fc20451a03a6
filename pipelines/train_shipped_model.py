"""Train the demonstration model that comes with the package: ``python -m pipelines.train_shipped_model``.

Simulates patients of the scenario ``composition``, coarsens their graphs, trains an ensemble of folds on one cohort,
and writes ``model.safetensors`` and ``card.json``. The ensemble is scored on held-out patients and, with the oracle and
the baseline models, on another cohort of newly painted tissue. The card also holds the scores of the same method on
other scenarios and cohorts, from ``docs/results``. The same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.goal_figures import goal_figures
from pipelines.shipped_training import simulate_cases, simulated_reference
from wsigraph.config import Config, load
from wsigraph.explanation.reference import save_reference
from wsigraph.model.bundle import SHIPPED, ModelBundle, save_bundle
from wsigraph.model.card import About, Score
from wsigraph.synthesis.simulation.assess import Case, assess
from wsigraph.training.cross_validate import held_out_metrics
from wsigraph.training.dataset import Cohort, collect, join_patients
from wsigraph.training.ensemble import Ensemble
from wsigraph.training.evaluation.refit_baselines import (
    calibration_of_survival,
    predict_new_patients,
    score_new_patients,
    train_on,
)

BASELINES = ("attention_mil", "pooled_forest", "pooled_ridge", "edge_product_ridge")

ABOUT = About(
    name="demonstration-composition",
    description=(
        "Ensemble of five attention networks over coarse tissue graphs with an ordinal stage head and a discrete-time "
        "hazard head, trained on interpretable features alone. It shows that the software works from slide to report."
    ),
    notice="demonstration model, trained on simulated tissue graphs; its numbers have no medical meaning",
    licence="MIT",
    data=(
        "simulated tissue graphs: seven painted tissue classes, six stains, one slide a patient; hazard and stage "
        "follow the fractions of tumour and necrosis (scenario 'composition')"
    ),
    simulated=True,
    limits=(
        "no medical meaning: stage, risk and survival follow a simulated scenario, not any disease",
        "has never seen a real slide; on one, expect the warning that it is unlike the training slides",
        "painted tissue lacks regions of mixed class, artefacts, pigment and most of what makes real tissue hard",
        "survival beyond the last time interval is not modelled",
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Train, score and write the demonstration model; print its scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--patients", type=int, default=300, help="patients to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="other patients to score on")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random numbers")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core allowed")
    options = parser.parse_args(arguments)
    # until the shipped model is trained anew, its recipe is a network alone
    settings = load([], ["model.design=network"])
    bootstrap = np.random.default_rng(options.seed).spawn(4)[3]
    sizes = {"train": options.patients, "fresh": options.fresh}
    cohorts = [simulate_cases(name, number, seed=options.seed) for name, number in sizes.items()]
    examples = (case.example for case in cohorts[0])
    cohort = join_patients(collect(examples, settings.model.stage_names))
    ensemble = train_on(cohort, settings.model, seed=options.seed, about=ABOUT, workers=options.workers, progress=_show)
    bundle = ensemble.bundle
    held_out = held_out_metrics(ensemble.held_out, by_site=False, seed=options.seed)
    scores = assess(bundle, cohorts[0], cohorts[1], rng=bootstrap)
    scores |= baseline_scores(ensemble, cohort, cohorts[1], settings, seed=options.seed, workers=options.workers)
    scores |= {f"held_out_{name}": score for name, score in held_out.items()}
    scores |= goal_figures()
    evaluation = (
        f"{options.fresh} fresh simulated patients of the same scenario and sites, newly painted; 95 % intervals from "
        "1000 or more bootstrap draws over patients; chance is 0.5 for a C-index and 0.25 for balanced accuracy of "
        "four stages; held_out: patients of the training cohort, each scored by the network not trained on them; goal: "
        "not this model, but the same method on other scenarios and on TCGA-KIRC, see docs/results.md"
    )
    seeds = bundle.card.seeds | {"simulate": options.seed}
    card = bundle.card.model_copy(update={"metrics": scores, "evaluation": evaluation, "seeds": seeds})
    bundle = ModelBundle(card=card, weights=bundle.weights)
    save_bundle(bundle, options.out)
    save_reference(simulated_reference(bundle, cohorts[0]), options.out)
    print(f"{options.out}: model {bundle.model_id}")
    for name, score in scores.items():
        print(f"{name:32s} {score.value:.3f} ({score.low:.3f}-{score.high:.3f})")
    return 0


def baseline_scores(
    ensemble: Ensemble, train: Cohort, fresh: Sequence[Case], settings: Config, *, seed: int, workers: int
) -> dict[str, Score]:
    """Return the stage scores and calibration of a model on fresh patients, and its C-index with the baselines'.

    Parameters
    ----------
    ensemble : Ensemble
        Trained on `train`.
    train : Cohort
        One row a patient.
    fresh : sequence of Case
        Other patients.
    settings : Config
        Names the stages.
    seed : int
        Seed of bootstrap draws and baseline models.
    workers : int
        Processes.

    Returns
    -------
    dict of str to Score
        By their names on the card.
    """
    cohort = join_patients(collect((case.example for case in fresh), settings.model.stage_names))
    answers = predict_new_patients(ensemble.bundle, cohort)
    table = score_new_patients(
        ensemble, train, cohort, seed=seed, names=BASELINES, predictions=answers, workers=workers
    )
    calibration = calibration_of_survival(answers, cohort)
    scores = {f"stage_{name}": Score(**table["model"]["stage"][name]) for name in ("auc", "quadratic_kappa")}
    scores["d_calibration_largest_deviation"] = Score(
        value=calibration["largest_deviation"], low=calibration["low"], high=calibration["high"]
    )
    for name in BASELINES:
        scores[f"c_index_{name}"] = Score(**table[name]["survival"]["c_index"])
        scores[f"c_index_above_{name}"] = Score(**table[name]["model_above"]["survival"]["c_index"])
    return scores


def _show(stage: str, done: int, total: int) -> None:
    if stage == "folds":
        print(f"{done} of {total} folds trained", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
