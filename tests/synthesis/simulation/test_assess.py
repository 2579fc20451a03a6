from __future__ import annotations

import numpy as np
import pytest

from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import Config, SynthesisConfig
from wsigraph.errors import SynthesisError
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.simulation.assess import Case, assess, cases, score
from wsigraph.synthesis.simulation.simulate import Library, simulate
from wsigraph.training.train import About, train


def uncoarsened(graph: TissueGraph) -> CoarseGraph:
    return CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")


def test_nobody_to_compare_is_an_error() -> None:
    nobody = c_index(np.zeros(3), np.ones(3), np.zeros(3, bool), weights=np.ones((5, 3)))
    with pytest.raises(SynthesisError, match="no two patients"):
        score(nobody)


@pytest.fixture(scope="module")
def parts(library: Library, small: SynthesisConfig) -> tuple[list[Case], list[Case]]:
    single = small.model_copy(update={"second_slide_fraction": 0.0})
    return tuple(
        cases(simulate(n, library, single, rng=np.random.default_rng(seed), cohort=cohort), uncoarsened)
        for n, seed, cohort in ((60, 1, "a"), (30, 2, "b"))
    )


def test_a_patient_of_two_slides_is_no_case(library: Library, small: SynthesisConfig) -> None:
    double = small.model_copy(update={"second_slide_fraction": 1.0})
    with pytest.raises(SynthesisError, match="has 2 slides, expected one"):
        cases(simulate(1, library, double, rng=np.random.default_rng(0)), uncoarsened)


ABOUT = About(name="t", description="t", notice="t", licence="MIT", data="t", simulated=True)


def test_figures_of_a_model_and_its_baselines(parts: tuple[list[Case], list[Case]]) -> None:
    config = Config().model.model_copy(update={"layers": 1, "heads": 2, "channels": 4, "epochs": 10})
    bundle = train((case.example for case in parts[0]), config, seed=0, about=ABOUT).bundle
    first, again = (assess(bundle, *parts, rng=np.random.default_rng(0), n_draws=100) for _ in range(2))
    assert first == again
    assert next(iter(first)) == "c_index"
    for each in first.values():
        assert each.low <= each.value <= each.high
    assert first["c_index"].value > 0.6
    assert first["c_index_oracle"].value > 0.75
    assert first["c_index_ridge_cox"].value > 0.6
    assert first["c_index_below_oracle"].value == pytest.approx(
        first["c_index_oracle"].value - first["c_index"].value, abs=2e-4
    )


def test_scoring_on_training_patients_is_refused(parts: tuple[list[Case], list[Case]]) -> None:
    config = Config().model.model_copy(update={"layers": 0, "heads": 1, "channels": 2, "epochs": 1})
    bundle = train((case.example for case in parts[0]), config, seed=0, about=ABOUT).bundle
    with pytest.raises(SynthesisError, match="in both parts"):
        assess(bundle, parts[0], [*parts[1], parts[0][3]], rng=np.random.default_rng(0))
