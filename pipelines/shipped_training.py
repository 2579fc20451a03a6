"""The training patients of the demonstration model, and the reference that its explanations need."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from wsigraph.config import Config
from wsigraph.explanation.fit_reference import TrainingSlide, gather_reference
from wsigraph.explanation.reference import Reference
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import ModelBundle
from wsigraph.synthesis.simulation.assess import Case, cases
from wsigraph.synthesis.simulation.simulate import build_library, sample_sites, simulate


def simulate_cases(cohort: str, n_patients: int, *, seed: int) -> list[Case]:
    """Return simulated patients with their coarse graphs.

    Parameters
    ----------
    cohort : str
        ``train`` or ``fresh``; the two have different random numbers.
    n_patients : int
        Number of patients.
    seed : int
        Seed of the sites and, with the cohort, of everything else.

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
    coarse_cases = cases(patients, lambda graph: coarsen(graph, settings.coarsening))
    print(f"{cohort}: {n_patients} patients simulated and coarsened", file=sys.stderr)
    return coarse_cases


def simulated_reference(bundle: ModelBundle, training: Sequence[Case]) -> Reference:
    """Return the reference of a model trained on simulated patients.

    Parameters
    ----------
    bundle : ModelBundle
        The finished model.
    training : sequence of Case
        All patients it was trained on.

    Returns
    -------
    Reference
        The same for the same model and patients.
    """
    slides = (
        TrainingSlide(
            graph=case.coarse,
            site=f"synthetic-site-{case.truth.site + 1}",
            time_days=case.truth.outcome.time_days,
            event=case.truth.outcome.event,
        )
        for case in training
    )
    return gather_reference(slides, bundle, rng=np.random.default_rng(0))
