from __future__ import annotations

import numpy as np
import pytest

from wsigraph.config import Config, ModelConfig
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.simulate import Library, SimulatedPatient, build_library, sample_sites, simulate
from wsigraph.training.dataset import Example
from wsigraph.training.train import About, Trained, train

ABOUT = About(
    name="tiny",
    description="a model for tests",
    notice="not for any use",
    licence="MIT",
    data="a few simulated graphs",
    simulated=True,
    limits=("everything",),
)


def uncoarsened(graph: TissueGraph) -> CoarseGraph:
    return CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")


@pytest.fixture(scope="session")
def library() -> Library:
    settings = Config().synthesis.model_copy(update={"sites": 1, "library_side": 3, "min_side": 4, "max_side": 6})
    rng = np.random.default_rng(5)
    return build_library(sample_sites(1, rng=rng), settings, rng=rng)


@pytest.fixture(scope="session")
def patients(library: Library) -> list[SimulatedPatient]:
    return list(simulate(24, library, rng=np.random.default_rng(6)))


@pytest.fixture(scope="session")
def examples(patients: list[SimulatedPatient]) -> list[Example]:
    return [
        Example(
            graph=uncoarsened(each.graph),
            patient=each.patient,
            stage=each.outcome.stage,
            time_days=each.outcome.time_days,
            event=each.outcome.event,
        )
        for each in patients
    ]


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    return Config().model.model_copy(
        update={
            "design": "network",
            "layers": 1,
            "heads": 2,
            "channels": 4,
            "epochs": 12,
            "time_intervals": 4,
            "batch_graphs": 8,
        }
    )


@pytest.fixture(scope="session")
def trained(examples: list[Example], tiny_config: ModelConfig) -> Trained:
    return train(examples, tiny_config, seed=3, about=ABOUT)
