"""Simulated slides whose cause is known, and models that were trained on the law behind it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.build_reference import reference_of
from wsigraph.config import Config, SynthesisConfig
from wsigraph.explanation.reference import Reference
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.card import About
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.arrange import touches
from wsigraph.synthesis.simulation.assess import Case, assess
from wsigraph.synthesis.simulation.cohort import own_regions
from wsigraph.synthesis.simulation.layout import LYMPHOCYTES, NECROSIS, TUMOUR, Lattice, sample_layout
from wsigraph.synthesis.simulation.simulate import Library, build_library, draw_graph, sample_sites, simulate
from wsigraph.training.train import train

Nodes = Literal["coarse", "regions"]
"""What regions are: as coarsened, or the layout's own, which is what perfect coarsening would make of it."""
CAUSE_FRACTION = (0.02, 0.10)
"""Share of the area that a cause takes, uniform."""


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
        Which of them are the cause.
    """

    graph: TissueGraph
    coarse: CoarseGraph
    is_cause: NDArray[np.bool_]


def composition_slides(n_slides: int, *, seed: int, nodes: Nodes = "coarse") -> Iterator[PlantedSlide]:
    """Yield slides of the law of composition in which one class that it heeds takes 2 to 10 % of the area.

    Parameters
    ----------
    n_slides : int
        How many.
    seed : int
        Decides everything.
    nodes : str
        What the regions are: ``"coarse"``, or ``"regions"`` for the layout's own.

    Yields
    ------
    PlantedSlide
        Necrosis and tumour in turns.
    """
    library, own = _library(seed), np.random.default_rng(seed).spawn(2)[1]
    for number, rng in enumerate(own.spawn(n_slides)):
        lattice = library.lattices[int(rng.integers(len(library.lattices)))]
        share = float(rng.uniform(*CAUSE_FRACTION))
        cause = (NECROSIS, TUMOUR)[number % 2]
        classes = sample_layout(
            lattice.regions.shape,
            tumour_fraction=share if cause == TUMOUR else 0.0,
            necrosis_fraction=share if cause == NECROSIS else 0.0,
            rng=rng,
        )
        layout = lattice.spread(classes)
        site = int(rng.integers(library.n_sites))
        graph = draw_graph(layout, lattice, library, site=site, slide_id=f"synthetic-cause-{number:04d}", rng=rng)
        coarse = _regions(graph, lattice, nodes)
        yield PlantedSlide(graph=graph, coarse=coarse, is_cause=layout.classes.ravel() == cause)


def spatial_slides(n_slides: int, *, seed: int, nodes: Nodes = "coarse") -> Iterator[PlantedSlide]:
    """Yield slides of the law of contact in which lymphocytes that touch tumour take 2 to 10 % of the area.

    Parameters
    ----------
    n_slides : int
        How many.
    seed : int
        Decides everything.
    nodes : str
        What the regions are: ``"coarse"``, or ``"regions"`` for the layout's own.

    Yields
    ------
    PlantedSlide
        Of patients whose share of touching lymphocytes is above the law's middle, so that contact is what they have.
    """
    own = np.random.default_rng(seed).spawn(2)[1]
    left = n_slides
    for patient in simulate(20 * n_slides, _library(seed), _law("spatial"), rng=own, cohort="cause"):
        slide = patient.slides[0]
        classes = slide.lattice.gather(slide.layout)
        cause = (classes.ravel() == LYMPHOCYTES) & touches(classes, TUMOUR, slide.lattice.regions)
        is_cause = slide.lattice.spread(cause.astype(np.uint8)).classes.ravel() > 0
        area = slide.graph.moment("n")
        share = float(area[is_cause].sum() / area.sum())
        if patient.measures["contact_share"] > 0.5 and CAUSE_FRACTION[0] <= share <= CAUSE_FRACTION[1]:
            coarse = _regions(slide.graph, slide.lattice, nodes)
            yield PlantedSlide(graph=slide.graph, coarse=coarse, is_cause=is_cause)
            left -= 1
        if not left:
            return


PLANTED: dict[str, Callable[..., Iterator[PlantedSlide]]] = {
    "composition": composition_slides,
    "spatial": spatial_slides,
}
"""Slides by the law of their cause."""


def train_on_law(law: str, n_patients: int, *, seed: int, nodes: Nodes = "coarse") -> tuple[ModelBundle, Reference]:
    """Return a network trained on simulated patients of a law, scored on fresh ones, and its reference.

    Parameters
    ----------
    law : str
        Name of the law.
    n_patients : int
        Patients to train on, and to score on.
    seed : int
        Decides everything; other patients than those of the slides.
    nodes : str
        As for the slides.

    Returns
    -------
    bundle : ModelBundle
        With its distance from the oracle on the card.
    reference : Reference
        Of the training patients.
    """
    settings = Config()
    rngs = np.random.default_rng([seed, 1]).spawn(3)
    library = _library(seed)
    parts = [
        [
            Case(coarse=_regions(patient.graph, patient.slides[0].lattice, nodes), truth=patient)
            for patient in simulate(n_patients, library, _law(law), rng=rng, cohort=name)
        ]
        for name, rng in zip(("train", "fresh"), rngs, strict=False)
    ]
    about = About(
        name=f"{law}, for a check",
        description="trained to check explanations",
        notice="made for a check",
        licence="MIT",
        data=f"{n_patients} simulated patients of law {law!r}",
        simulated=True,
    )
    bundle = train((each.example for each in parts[0]), settings.model, seed=seed, about=about).bundle
    scores = assess(bundle, parts[0], parts[1], rng=rngs[2], n_draws=200)
    print(f"trained on {law}: C-index {scores['c_index'].value:.3f}", file=sys.stderr)
    bundle = ModelBundle(card=bundle.card.model_copy(update={"metrics": scores}), weights=bundle.weights)
    return bundle, reference_of(bundle, parts[0])


def _regions(graph: TissueGraph, lattice: Lattice, nodes: Nodes) -> CoarseGraph:
    if nodes == "coarse":
        return coarsen(graph, Config().coarsening)
    return own_regions(graph, lattice)


def _library(seed: int) -> Library:
    settings = Config()
    scenery = np.random.default_rng(seed).spawn(2)[0]
    sites = sample_sites(settings.synthesis.sites, rng=scenery)
    return build_library(sites, settings.synthesis, settings.feature, rng=scenery)


def _law(name: str) -> SynthesisConfig:
    return Config().synthesis.model_copy(update={"law": name, "second_slide_fraction": 0.0})
