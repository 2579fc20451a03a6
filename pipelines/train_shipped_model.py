"""Train the demonstration model that comes with the package: ``python -m pipelines.train_shipped_model``.

Simulates patients of the ``composition`` law, coarsens their graphs, trains an ensemble of folds on one cohort, scores
it on held-out patients and on another cohort that was painted afresh, and writes ``model.safetensors`` and
``card.json``. The same seed gives the same bytes on one machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from wsigraph.coarsening.coarsen import coarsen
from wsigraph.config import Config
from wsigraph.evaluation.fresh import train_on
from wsigraph.model.card import About
from wsigraph.model.examples import collect, join_patients
from wsigraph.model.study import held_out_metrics
from wsigraph.model.weights import SHIPPED, ModelBundle, save_bundle
from wsigraph.synthesis.assess import assess, cases
from wsigraph.synthesis.simulate import build_library, sample_sites, simulate

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
    parser.add_argument("--fresh", type=int, default=300, help="other patients to score on")
    parser.add_argument("--seed", type=int, default=1, help="decides everything random")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 takes every core allowed")
    options = parser.parse_args(arguments)
    settings = Config()
    tissue = settings.synthesis.model_copy(update={"second_slide_fraction": 0.0})
    scenery, first, second, bootstrap = np.random.default_rng(options.seed).spawn(4)
    sites = sample_sites(tissue.sites, rng=scenery)
    cohorts = []
    for cohort, rng, n_patients in (("train", first, options.patients), ("fresh", second, options.fresh)):
        library = build_library(sites, tissue, settings.feature, rng=rng)
        patients = simulate(n_patients, library, tissue, rng=rng, cohort=cohort)
        cohorts.append(cases(patients, lambda graph: coarsen(graph, settings.coarsening)))
        print(f"{cohort}: {n_patients} patients simulated and coarsened", file=sys.stderr)
    examples = (case.example for case in cohorts[0])
    cohort = join_patients(collect(examples, settings.model.stage_names))
    ensemble = train_on(cohort, settings.model, seed=options.seed, about=ABOUT, workers=options.workers, progress=_show)
    bundle = ensemble.bundle
    held_out = held_out_metrics(ensemble.held_out, by_site=False, seed=options.seed)
    scores = assess(bundle, cohorts[0], cohorts[1], rng=bootstrap)
    scores |= {f"held_out_{name}": score for name, score in held_out.items()}
    evaluation = (
        f"{options.fresh} fresh simulated patients of the same law and sites, painted anew; 95 % intervals from 1000 "
        "bootstrap draws over patients; chance is 0.5 for a C-index and 0.25 for balanced accuracy of four stages; "
        "held_out: patients of the training cohort, each answered by the network that never saw them"
    )
    seeds = bundle.card.seeds | {"simulate": options.seed}
    card = bundle.card.model_copy(update={"metrics": scores, "evaluation": evaluation, "seeds": seeds})
    bundle = ModelBundle(card=card, weights=bundle.weights)
    save_bundle(bundle, options.out)
    print(f"{options.out}: model {bundle.model_id}")
    for name, score in scores.items():
        print(f"{name:32s} {score.value:.3f} ({score.low:.3f}-{score.high:.3f})")
    return 0


def _show(stage: str, done: int, total: int) -> None:
    if stage == "folds":
        print(f"{done} of {total} folds trained", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
