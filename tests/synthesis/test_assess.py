from __future__ import annotations

import numpy as np
import pytest
from lifelines.utils import concordance_index

from wsigraph.config import Config, SynthesisConfig
from wsigraph.errors import SynthesisError
from wsigraph.model.train import About, train
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.synthesis.assess import Case, assess, balanced_accuracy, c_index, cases, quadratic_kappa
from wsigraph.synthesis.simulate import Library, simulate


def uncoarsened(graph: TissueGraph) -> CoarseGraph:
    return CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=n), 1), np.ceil(20 * rng.random(n)), rng.random(n) < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_c_index_equals_lifelines_with_ties(seed: int) -> None:
    risk, time, event = drawn(60, seed)
    ours = c_index(risk, time, event, np.ones((1, 60), np.int64))[0]
    assert ours == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


def test_a_weight_of_two_is_a_patient_twice() -> None:
    risk, time, event = drawn(30, 7)
    weights = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30))
    again = np.repeat(np.arange(30), weights)
    # pairs of a patient with its own copy are tied in time and hold no second survivor, so they are not comparable
    ours = c_index(risk, time, event, weights[None])[0]
    assert ours == pytest.approx(concordance_index(time[again], -risk[again], event[again]), abs=1e-12)


def test_order_and_its_reverse() -> None:
    time, event = np.arange(1.0, 9.0), np.ones(8, bool)
    assert c_index(-time, time, event, np.ones((1, 8), np.int64)).tolist() == [1.0]
    assert c_index(time, time, event, np.ones((1, 8), np.int64)).tolist() == [0.0]
    assert c_index(np.zeros(8), time, event, np.ones((1, 8), np.int64)).tolist() == [0.5]


def test_nobody_to_compare_is_an_error() -> None:
    with pytest.raises(SynthesisError, match="no two patients"):
        c_index(np.zeros(3), np.ones(3), np.zeros(3, bool), np.ones((1, 3), np.int64))


def test_balanced_accuracy_counts_stages_alike_and_skips_unknown_ones() -> None:
    stage = np.array([0, 0, 0, 0, 1, -1])
    found = np.array([0, 0, 0, 1, 1, 1])
    assert balanced_accuracy(found, stage, np.ones((1, 6), np.int64)).tolist() == [(0.75 + 1.0) / 2]
    only_first = np.array([[1, 1, 1, 1, 0, 5]])
    assert balanced_accuracy(found, stage, only_first).tolist() == [0.75]


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


def test_kappa_in_closed_form() -> None:
    one = np.ones((1, 4), np.int64)
    stage = np.array([0, 1, 2, 3])
    assert quadratic_kappa(stage, stage, one, n_stages=4).tolist() == [1.0]
    assert quadratic_kappa(stage[::-1].copy(), stage, one, n_stages=4).tolist() == [-1.0]
    # one disagreement of cost 1, where chance would cost 10
    found = np.array([0, 1, 1, 3])
    assert quadratic_kappa(found, stage, one, n_stages=4)[0] == pytest.approx(1 - 1 / 10)
    unknown = np.array([0, 1, -1, 3])
    assert quadratic_kappa(found, unknown, one, n_stages=4).tolist() == [1.0]


ABOUT = About(name="t", description="t", notice="t", licence="MIT", data="t", simulated=True)


def test_figures_of_a_model_and_its_rivals(parts: tuple[list[Case], list[Case]]) -> None:
    config = Config().model.model_copy(update={"layers": 1, "heads": 2, "channels": 4, "epochs": 10})
    bundle = train((case.example for case in parts[0]), config, seed=0, about=ABOUT).bundle
    first, again = (assess(bundle, *parts, rng=np.random.default_rng(0), n_draws=100) for _ in range(2))
    assert first == again
    assert next(iter(first)) == "c_index"
    for score in first.values():
        assert score.low <= score.value <= score.high
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
