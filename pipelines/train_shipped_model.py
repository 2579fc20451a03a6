"""Train the demonstration model that comes with the package: ``python -m pipelines.train_shipped_model``.

Simulates patients of the ``composition`` law, coarsens their graphs, trains an ensemble of folds on one cohort, scores
it on held-out patients and, beside the oracle and its rivals, on another cohort that was painted afresh, and writes
``model.safetensors`` and ``card.json``. The card also says what the same machinery reached on other laws and cohorts,
as the recipes' output in ``docs/results`` has it. The same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.build_reference import reference_of
from pipelines.goal_figures import goal_figures
from wsigraph.config import Config
from wsigraph.explanation.reference import save_reference
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import SHIPPED, ModelBundle, save_bundle
from wsigraph.model.card import About, Score
from wsigraph.synthesis.simulation.assess import Case, assess, cases
from wsigraph.synthesis.simulation.simulate import build_library, sample_sites, simulate
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
        "follow the shares of tumour and necrosis (law 'composition')"
    ),
    simulated=True,
    limits=(
        "no medical meaning: stage, risk and survival follow a made-up law, not any disease",
        "has never seen a real slide; on one, expect the warning that it is unlike the training slides",
        "painted tissue lacks regions of mixed class, artefacts, pigment and most of what makes real tissue hard",
        "survival beyond the last time interval is not modelled",
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Train, score and write the demonstration model; print its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="directory of the bundle")
    parser.add_argument("--patients", type=int, default=300, help="patients to train on")
    parser.add_argument("--fresh", type=int, default=2000, help="other patients to score on")
    parser.add_argument("--seed", type=int, default=1, help="decides everything random")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core allowed")
    options = parser.parse_args(arguments)
    settings = Config()
    bootstrap = np.random.default_rng(options.seed).spawn(4)[3]
    sizes = {"train": options.patients, "fresh": options.fresh}
    cohorts = [simulated_cases(name, number, seed=options.seed) for name, number in sizes.items()]
    examples = (case.example for case in cohorts[0])
    cohort = join_patients(collect(examples, settings.model.stage_names))
    ensemble = train_on(cohort, settings.model, seed=options.seed, about=ABOUT, workers=options.workers, progress=_show)
    bundle = ensemble.bundle
    held_out = held_out_metrics(ensemble.held_out, by_site=False, seed=options.seed)
    scores = assess(bundle, cohorts[0], cohorts[1], rng=bootstrap)
    scores |= rival_scores(ensemble, cohort, cohorts[1], settings, seed=options.seed, workers=options.workers)
    scores |= {f"held_out_{name}": score for name, score in held_out.items()}
    scores |= goal_figures()
    evaluation = (
        f"{options.fresh} fresh simulated patients of the same law and sites, painted anew; 95 % intervals from 1000 "
        "or more bootstrap draws over patients; chance is 0.5 for a C-index and 0.25 for balanced accuracy of four "
        "stages; held_out: patients of the training cohort, each answered by the network that never saw them; goal: "
        "not this model, but what the same machinery reached on other laws and on TCGA-KIRC, see docs/results.md"
    )
    seeds = bundle.card.seeds | {"simulate": options.seed}
    card = bundle.card.model_copy(update={"metrics": scores, "evaluation": evaluation, "seeds": seeds})
    bundle = ModelBundle(card=card, weights=bundle.weights)
    save_bundle(bundle, options.out)
    save_reference(reference_of(bundle, cohorts[0]), options.out)
    print(f"{options.out}: model {bundle.model_id}")
    for name, score in scores.items():
        print(f"{name:32s} {score.value:.3f} ({score.low:.3f}-{score.high:.3f})")
    return 0


def rival_scores(
    ensemble: Ensemble, train: Cohort, fresh: Sequence[Case], settings: Config, *, seed: int, workers: int
) -> dict[str, Score]:
    """Return the stage scores and calibration of a model on fresh patients, and its C-index beside the rivals'.

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
        Of draws and rivals.
    workers : int
        Processes.

    Returns
    -------
    dict of str to Score
        By the names that stand on the card.
    """
    cohort = join_patients(collect((case.example for case in fresh), settings.model.stage_names))
    answers = predict_new_patients(ensemble.bundle, cohort)
    table = score_new_patients(
        ensemble, train, cohort, seed=seed, names=BASELINES, predictions=answers, workers=workers
    )
    calibration = calibration_of_survival(answers, cohort)
    found = {f"stage_{name}": Score(**table["model"]["stage"][name]) for name in ("auc", "quadratic_kappa")}
    found["d_calibration_largest_deviation"] = Score(
        value=calibration["largest_deviation"], low=calibration["low"], high=calibration["high"]
    )
    for name in BASELINES:
        found[f"c_index_{name}"] = Score(**table[name]["survival"]["c_index"])
        found[f"c_index_above_{name}"] = Score(**table[name]["model_above"]["survival"]["c_index"])
    return found


def simulated_cases(cohort: str, n_patients: int, *, seed: int) -> list[Case]:
    """Return simulated patients with their coarse graphs.

    Parameters
    ----------
    cohort : str
        ``train`` or ``fresh``; decides what is random.
    n_patients : int
        How many.
    seed : int
        Decides the sites, and with the cohort everything else.

    Returns
    -------
    list of Case
        The first patients of a longer cohort are those of a shorter one.
    """
    settings = Config()
    tissue = settings.synthesis.model_copy(update={"second_slide_fraction": 0.0})
    scenery, first, second, _ = np.random.default_rng(seed).spawn(4)
    rng = {"train": first, "fresh": second}[cohort]
    library = build_library(sample_sites(tissue.sites, rng=scenery), tissue, settings.feature, rng=rng)
    patients = simulate(n_patients, library, tissue, rng=rng, cohort=cohort)
    found = cases(patients, lambda graph: coarsen(graph, settings.coarsening))
    print(f"{cohort}: {n_patients} patients simulated and coarsened", file=sys.stderr)
    return found


def _show(stage: str, done: int, total: int) -> None:
    if stage == "folds":
        print(f"{done} of {total} folds trained", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
