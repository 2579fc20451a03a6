"""Simulated slides whose cause is known, and models trained on the generative scenario behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.shipped_training import simulated_reference
from wsigraph.config import Config, SynthesisConfig
from wsigraph.explanation.reference import Reference
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.card import About
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.arrange import touches
from wsigraph.synthesis.simulation.assess import Case, assess
from wsigraph.synthesis.simulation.cohort import own_regions
from wsigraph.synthesis.simulation.layout import LYMPHOCYTES, NECROSIS, TUMOUR, Tessellation, sample_layout
from wsigraph.synthesis.simulation.simulate import Library, build_library, draw_graph, sample_sites, simulate
from wsigraph.training.train import train

Nodes = Literal["coarse", "regions"]
"""Nodes of a graph: coarse regions, or the regions of the layout, which are the result of perfect coarsening."""
CAUSE_FRACTION = (0.02, 0.10)
"""Range of the fraction of the area that a cause takes, uniform."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlantedSlide:
    """A slide with a known cause.

    Attributes
    ----------
    graph : TissueGraph
        Its superpixels.
    coarse : CoarseGraph
        Its regions.
    is_cause : bool (N,)
        True for superpixels of the cause.
    """

    graph: TissueGraph
    coarse: CoarseGraph
    is_cause: NDArray[np.bool_]


def composition_slides(n_slides: int, *, seed: int, nodes: Nodes = "coarse") -> Iterator[PlantedSlide]:
    """Yield slides of the scenario ``composition`` in which one class with an effect takes 2 to 10 % of the area.

    Parameters
    ----------
    n_slides : int
        Number of slides.
    seed : int
        Seed of all random numbers.
    nodes : str
        Nodes of the graphs: ``"coarse"``, or ``"regions"`` for the regions of the layout.

    Yields
    ------
    PlantedSlide
        Necrosis and tumour alternate.
    """
    library, own = _library(seed), np.random.default_rng(seed).spawn(2)[1]
    for number, rng in enumerate(own.spawn(n_slides)):
        tessellation = library.tessellations[int(rng.integers(len(library.tessellations)))]
        fraction = float(rng.uniform(*CAUSE_FRACTION))
        cause = (NECROSIS, TUMOUR)[number % 2]
        classes = sample_layout(
            tessellation.regions.shape,
            tumour_fraction=fraction if cause == TUMOUR else 0.0,
            necrosis_fraction=fraction if cause == NECROSIS else 0.0,
            rng=rng,
        )
        layout = tessellation.to_layout(classes)
        site = int(rng.integers(library.n_sites))
        graph = draw_graph(layout, tessellation, library, site=site, slide_id=f"synthetic-cause-{number:04d}", rng=rng)
        coarse = _regions(graph, tessellation, nodes)
        yield PlantedSlide(graph=graph, coarse=coarse, is_cause=layout.classes.ravel() == cause)


def spatial_slides(n_slides: int, *, seed: int, nodes: Nodes = "coarse") -> Iterator[PlantedSlide]:
    """Yield slides of the scenario ``spatial`` in which lymphocytes that touch tumour take 2 to 10 % of the area.

    Parameters
    ----------
    n_slides : int
        Number of slides.
    seed : int
        Seed of all random numbers.
    nodes : str
        Nodes of the graphs: ``"coarse"``, or ``"regions"`` for the regions of the layout.

    Yields
    ------
    PlantedSlide
        Of patients with more than half of the lymphocytes in contact with tumour, so that contact raises their risk.
    """
    own = np.random.default_rng(seed).spawn(2)[1]
    left = n_slides
    for patient in simulate(20 * n_slides, _library(seed), _scenario_settings("spatial"), rng=own, cohort="cause"):
        slide = patient.slides[0]
        classes = slide.tessellation.region_classes(slide.layout)
        cause = (classes.ravel() == LYMPHOCYTES) & touches(classes, TUMOUR, slide.tessellation.regions)
        is_cause = slide.tessellation.to_layout(cause.astype(np.uint8)).classes.ravel() > 0
        area = slide.graph.moment("n")
        fraction = float(area[is_cause].sum() / area.sum())
        if patient.measures["contact_fraction"] > 0.5 and CAUSE_FRACTION[0] <= fraction <= CAUSE_FRACTION[1]:
            coarse = _regions(slide.graph, slide.tessellation, nodes)
            yield PlantedSlide(graph=slide.graph, coarse=coarse, is_cause=is_cause)
            left -= 1
        if not left:
            return


PLANTED: dict[str, Callable[..., Iterator[PlantedSlide]]] = {
    "composition": composition_slides,
    "spatial": spatial_slides,
}
"""Functions that yield slides, by the scenario of their cause."""


def train_on_scenario(
    scenario: str, n_patients: int, *, seed: int, nodes: Nodes = "coarse"
) -> tuple[ModelBundle, Reference]:
    """Return a network trained on simulated patients of a scenario, scored on fresh ones, and its reference.

    Parameters
    ----------
    scenario : str
        Name of the scenario.
    n_patients : int
        Number of patients to train on, and of patients to score on.
    seed : int
        Seed of all random numbers; the patients are not those of the slides.
    nodes : str
        As for the slides.

    Returns
    -------
    bundle : ModelBundle
        With its scores and the oracle's on the card.
    reference : Reference
        Of the training patients.
    """
    settings = Config()
    rngs = np.random.default_rng([seed, 1]).spawn(3)
    library = _library(seed)
    parts = [
        [
            Case(coarse=_regions(patient.graph, patient.slides[0].tessellation, nodes), truth=patient)
            for patient in simulate(n_patients, library, _scenario_settings(scenario), rng=rng, cohort=name)
        ]
        for name, rng in zip(("train", "fresh"), rngs, strict=False)
    ]
    about = About(
        name=f"{scenario}, for a check",
        description="trained to check explanations",
        notice="made for a check",
        licence="MIT",
        data=f"{n_patients} simulated patients of scenario {scenario!r}",
        simulated=True,
    )
    bundle = train((case.example for case in parts[0]), settings.model, seed=seed, about=about).bundle
    scores = assess(bundle, parts[0], parts[1], rng=rngs[2], n_draws=200)
    print(f"trained on {scenario}: C-index {scores['c_index'].value:.3f}", file=sys.stderr)
    bundle = ModelBundle(card=bundle.card.model_copy(update={"metrics": scores}), weights=bundle.weights)
    return bundle, simulated_reference(bundle, parts[0])


def _regions(graph: TissueGraph, tessellation: Tessellation, nodes: Nodes) -> CoarseGraph:
    if nodes == "coarse":
        return coarsen(graph, Config().coarsening)
    return own_regions(graph, tessellation)


def _library(seed: int) -> Library:
    settings = Config()
    scenery = np.random.default_rng(seed).spawn(2)[0]
    sites = sample_sites(settings.synthesis.sites, rng=scenery)
    return build_library(sites, settings.synthesis, settings.feature, rng=scenery)


def _scenario_settings(name: str) -> SynthesisConfig:
    return Config().synthesis.model_copy(update={"scenario": name, "second_slide_fraction": 0.0})
