from __future__ import annotations

import numpy as np
import pytest

from wsigraph.config import Config
from wsigraph.explanation.fit_reference import TrainingSlide, gather_reference
from wsigraph.explanation.reference import Reference
from wsigraph.model.bundle import ModelBundle
from wsigraph.records import CoarseGraph
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, build_library, sample_sites, simulate
from wsigraph.training.dataset import Example
from wsigraph.training.train import About, train

ABOUT = About(
    name="tiny",
    description="a model for tests",
    notice="not for any use",
    licence="MIT",
    data="a few simulated graphs",
    simulated=True,
    limits=("everything",),
)


@pytest.fixture(scope="session")
def patients() -> list[SimulatedPatient]:
    settings = Config().synthesis.model_copy(
        update={"sites": 2, "library_side": 4, "min_side": 6, "max_side": 8, "second_slide_fraction": 0.0}
    )
    rng = np.random.default_rng(5)
    library = build_library(sample_sites(2, rng=rng), settings, rng=rng)
    return list(simulate(40, library, rng=np.random.default_rng(6)))


def coarse_of(patient: SimulatedPatient) -> CoarseGraph:
    return CoarseGraph(graph=patient.graph, assignment=np.arange(patient.graph.n_nodes), embedding_id="none")


@pytest.fixture(scope="session")
def coarse(patients: list[SimulatedPatient]) -> CoarseGraph:
    return coarse_of(patients[3])


@pytest.fixture(scope="session")
def bundle(patients: list[SimulatedPatient]) -> ModelBundle:
    config = Config().model.model_copy(
        update={
            "design": "network",
            "layers": 2,
            "heads": 2,
            "channels": 8,
            "epochs": 15,
            "time_intervals": 4,
            "batch_graphs": 8,
        }
    )
    examples = [
        Example(
            graph=coarse_of(each),
            patient=each.patient,
            stage=each.outcome.stage,
            time_days=each.outcome.time_days,
            event=each.outcome.event,
        )
        for each in patients
    ]
    return train(examples, config, seed=3, about=ABOUT).bundle


@pytest.fixture(scope="session")
def reference(patients: list[SimulatedPatient], bundle: ModelBundle) -> Reference:
    slides = (
        TrainingSlide(
            graph=coarse_of(each),
            site=f"site {each.site}",
            time_days=each.outcome.time_days,
            event=each.outcome.event,
        )
        for each in patients
    )
    return gather_reference(
        slides, bundle, rng=np.random.default_rng(0), n_clusters=3, n_broad_clusters=2, n_regions=300
    )
