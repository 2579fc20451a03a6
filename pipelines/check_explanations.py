"""Check explanations on simulated slides whose cause is planted: ``python -m pipelines.check_explanations``.

Every slide has one cause of the scenario, which takes 2 to 10 % of its area; the other tissue has no effect. The table
states how often the region of highest attribution is part of the cause, how well the ranking of attributions finds it,
whether removing regions in order of attribution changes the output more than removing them in random order or by size,
and the results of a network with random weights. In ``composition``, the causes are necrosis and tumour in alternation;
in ``spatial``, lymphocytes that touch tumour (``--scenario spatial --train 300``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pipelines.options import add_renamed
from pipelines.planted_causes import PLANTED, PlantedSlide, train_on_scenario
from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.config import ExplanationConfig
from wsigraph.explanation.aggregate import rank_correlation, to_superpixels
from wsigraph.explanation.explain import explain
from wsigraph.explanation.gradients import Precision, integrate
from wsigraph.explanation.members import explained_members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.reference_input import REFERENCE_INPUTS, make_reference_input
from wsigraph.explanation.sanity_checks import average_precision, hits_cause, randomise_weights
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.inputs import graph_input
from wsigraph.records import CoarseGraph, TissueGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideScores:
    """What came of one slide; fractions and gains as the table names them."""

    cause_fraction: float
    points: bool
    average_precision: float
    gains: dict[str, dict[str, float]]
    is_complete: bool
    random_points: bool
    random_correlation: float
    two_randoms: float


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED, help="directory of a model trained on composition")
    add_renamed(
        parser, "--scenario", "--law", choices=sorted(PLANTED), default="composition", help="scenario of the slides"
    )
    parser.add_argument("--train", type=int, default=0, help="train on so many simulated patients instead")
    parser.add_argument(
        "--nodes", choices=("coarse", "regions"), default="coarse", help="as coarsened, or the layout's"
    )
    parser.add_argument("--slides", type=int, default=200, help="slides with a cause")
    parser.add_argument("--seed", type=int, default=7, help="decides the slides")
    parser.add_argument("--random-orders", type=int, default=100, help="random orders a slide")
    parser.add_argument("--reference", choices=REFERENCE_INPUTS, default="cluster", help="reference input")
    options = parser.parse_args(arguments)
    if options.scenario != "composition" and not options.train:
        parser.error(f"the shipped model was not trained on scenario {options.scenario!r}; give --train")
    reference: Reference | None
    if options.train:
        bundle, reference = train_on_scenario(options.scenario, options.train, seed=options.seed, nodes=options.nodes)
    else:
        bundle = load_bundle(options.model)
        reference = load_reference(options.model, bundle)
    if reference is None:
        print(f"{options.model} has no reference; run python -m pipelines.build_reference", file=sys.stderr)
        return 1
    scores = []
    for number, slide in enumerate(PLANTED[options.scenario](options.slides, seed=options.seed, nodes=options.nodes)):
        scores.append(
            examine(slide, bundle, reference, n_random=options.random_orders, reference_input=options.reference)
        )
        if number % 20 == 19:
            print(f"{number + 1} of {options.slides} slides", file=sys.stderr)
    print(f"model {bundle.card.name} {bundle.model_id}, {len(scores)} slides, one cause each\n")
    below = bundle.card.metrics.get("c_index_below_oracle")
    if below is not None:
        print(f"{'C-index below the oracle, from the card':58s} {below.value:.3f} ({below.low:.3f}-{below.high:.3f})")
    print("\n".join(table(scores)))
    return 0


def examine(
    slide: PlantedSlide,
    bundle: ModelBundle,
    reference: Reference,
    *,
    n_random: int = 100,
    reference_input: str = "cluster",
) -> SlideScores:
    """Return how the explanation of risk does on one slide.

    Parameters
    ----------
    slide : PlantedSlide
        With its cause.
    bundle : ModelBundle
        A model trained on the scenario.
    reference : Reference
        Its training cohort.
    n_random : int
        Random orders to compare with.
    reference_input : str
        Reference input of Integrated Gradients.

    Returns
    -------
    SlideScores
        Pointing by region, which is cause where most of it is; precision by superpixel.
    """
    graph, coarse = slide.graph, slide.coarse
    config = ExplanationConfig(random_orders=n_random, reference=reference_input)
    explanation = explain(coarse, graph, bundle, "risk", reference=reference, config=config, threads=2)
    area = graph.moment("n").astype(np.float64)
    density = explanation.superpixel / area
    untrained, another = (_untrained(coarse, graph, bundle, reference, draw) for draw in range(2))
    of_region = np.bincount(coarse.assignment, area)
    is_cause = np.bincount(coarse.assignment, area * slide.is_cause) > of_region / 2
    shared, other = (
        to_superpixels(score, coarse.assignment, graph.moment("n")) / area for score in (untrained, another)
    )
    return SlideScores(
        cause_fraction=float(area[slide.is_cause].sum() / area.sum()),
        points=hits_cause(explanation.node, is_cause),
        average_precision=average_precision(density, slide.is_cause, area),
        gains={name: dict(curve.gain) for name, curve in explanation.curves.items()},
        is_complete=explanation.is_complete,
        random_points=hits_cause(untrained, is_cause),
        random_correlation=rank_correlation(density, shared),
        two_randoms=rank_correlation(shared, other),
    )


def _untrained(
    coarse: CoarseGraph, graph: TissueGraph, bundle: ModelBundle, reference: Reference, draw: int
) -> NDArray[np.float64]:
    """Return attributions of regions by networks of random weights, float64 (C,)."""
    networks = randomise_weights(explained_members(bundle), seed=crc32(f"{graph.slide_id} {draw}".encode()))
    raw = graph_input(coarse)
    path = make_reference_input("cluster", raw, networks[0], reference, rng=np.random.default_rng(0))
    return integrate(networks, [Target("risk")], raw, path, Precision(n_steps=20))[0].of_regions(raw)


def table(scores: Sequence[SlideScores]) -> list[str]:
    """Return the table's lines.

    Parameters
    ----------
    scores : sequence of SlideScores
        One for each slide.

    Returns
    -------
    list of str
        Figures with their goals.
    """
    chance = float(np.mean([slide.cause_fraction for slide in scores]))
    lines = [
        _proportion(
            "pointing game: region of highest attribution is cause", [slide.points for slide in scores], ">= 0.85"
        ),
        f"{'chance of it, mean fraction of the cause':58s} {chance:.3f}",
        f"{'average precision over prevalence, median':58s} "
        f"{np.median([slide.average_precision / slide.cause_fraction for slide in scores]):.2f}",
    ]
    for ablation in ("replace", "drop"):
        for order in ("random_mean", "area", "attention", "gradient_x_input"):
            better = [slide.gains[ablation]["attribution"] > slide.gains[ablation][order] for slide in scores]
            goal = ">= 0.90" if order in ("random_mean", "area") else ""
            lines.append(_proportion(f"{ablation}: better than {order.replace('_', ' ')}", better, goal))
    correlation = np.array([slide.random_correlation for slide in scores])
    between = np.abs([slide.two_randoms for slide in scores])
    lines += [
        _proportion("attributions add up within the limit", [slide.is_complete for slide in scores], ""),
        _proportion("random weights: pointing", [slide.random_points for slide in scores], f"<= {chance + 0.1:.3f}"),
        f"{'random weights: rank correlation with trained, mean':58s} {correlation.mean():+.3f}  goal |mean| < 0.2",
        f"{'random weights: |rank correlation|, mean':58s} {np.abs(correlation).mean():.3f}  goal < 0.2",
        f"{'the same between two draws of random weights':58s} {between.mean():.3f}",
    ]
    return lines


def _proportion(name: str, hits: Sequence[bool], goal: str) -> str:
    low, high = wilson_confidence_interval(sum(hits), len(hits))
    suffix = f"  goal {goal}" if goal else ""
    return f"{name:58s} {np.mean(hits):.3f} ({low:.3f}-{high:.3f}){suffix}"


if __name__ == "__main__":
    raise SystemExit(main())
