from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import uncoarsened
from wsigraph.errors import ModelError
from wsigraph.graph.feature.moments import COLUMN
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle, save_bundle
from wsigraph.model.predict import median_survival_days, predict
from wsigraph.records import TissueGraph
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, shift_moments
from wsigraph.training.train import Trained


def permuted(graph: TissueGraph, seed: int) -> TissueGraph:
    order = np.random.default_rng(seed).permutation(graph.n_nodes)
    edges = np.argsort(order)[graph.edge_index]
    by_source = np.lexsort((edges[1], edges[0]))
    return replace(
        graph, moments=graph.moments[order], edge_index=edges[:, by_source], boundary=graph.boundary[by_source]
    )


def single(graph: TissueGraph) -> TissueGraph:
    return replace(
        graph,
        moments=graph.moments[:1],
        edge_index=np.zeros((2, 0), np.int64),
        boundary=np.zeros((0, 2), np.int64),
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_permuting_the_regions_leaves_the_prediction(
    trained: Trained, patients: list[SimulatedPatient], seed: int
) -> None:
    graph = patients[seed].graph
    one, other = (predict(uncoarsened(each), trained.bundle) for each in (graph, permuted(graph, seed)))
    # float32 sums in another order
    assert other.survival == pytest.approx(one.survival, abs=1e-5)
    assert other.stage_probability == pytest.approx(one.stage_probability, abs=1e-5)
    assert other.risk == pytest.approx(one.risk, abs=1e-4)


def test_moving_the_tissue_leaves_the_prediction(trained: Trained, patients: list[SimulatedPatient]) -> None:
    graph = patients[0].graph
    moved = replace(graph, moments=shift_moments(graph.moments, np.full((graph.n_nodes, 2), 1000)))
    one, other = (predict(uncoarsened(each), trained.bundle) for each in (graph, moved))
    assert other.survival == pytest.approx(one.survival, abs=1e-5)


def test_the_same_graph_gives_the_same_bits_and_leaves_torch_as_it_was(
    trained: Trained, patients: list[SimulatedPatient]
) -> None:
    coarse = uncoarsened(patients[0].graph)
    first = predict(coarse, trained.bundle)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        torch.manual_seed(77)
        state = torch.random.get_rng_state()
        second = predict(coarse, trained.bundle)
        assert torch.get_num_threads() == 2
        assert (torch.random.get_rng_state() == state).all()
    finally:
        torch.set_num_threads(before)
    assert (second.survival == first.survival).all()
    assert (second.stage_probability == first.stage_probability).all()
    assert second.risk == first.risk


def test_hazard_survival_risk_and_stage_agree(trained: Trained, patients: list[SimulatedPatient]) -> None:
    found = predict(uncoarsened(patients[1].graph), trained.bundle)
    assert found.survival == pytest.approx(np.cumprod(1 - found.hazard))
    assert found.risk == pytest.approx(math.log(-math.log(found.survival[-1])))
    assert found.stage_probability.sum() == pytest.approx(1)
    assert found.time_days.tolist() == list(trained.bundle.card.time_days)
    assert found.notice == trained.bundle.card.notice
    assert found.model_id == trained.bundle.model_id
    assert found.slide_id.startswith("synthetic-")


def test_one_region_without_edges(trained: Trained, patients: list[SimulatedPatient]) -> None:
    found = predict(uncoarsened(single(patients[0].graph)), trained.bundle)
    assert np.isfinite(found.survival).all()


def test_a_slide_like_the_training_slides_carries_no_warning(
    trained: Trained, patients: list[SimulatedPatient]
) -> None:
    assert all(predict(uncoarsened(each.graph), trained.bundle).warnings == () for each in patients[:3])


def test_a_slide_unlike_the_training_slides_says_so_with_a_number(
    trained: Trained, patients: list[SimulatedPatient]
) -> None:
    moments = patients[0].graph.moments.copy()
    moments[:, COLUMN["od_r"] : COLUMN["od_bb"] + 1] *= 3
    (warning,) = predict(uncoarsened(replace(patients[0].graph, moments=moments)), trained.bundle).warnings
    assert "unlike the training slides" in warning
    assert "of 36 mean features" in warning
    assert "% of the feature values were cut off at 6 standard deviations" in warning


def test_another_coarsening_is_told(trained: Trained, patients: list[SimulatedPatient]) -> None:
    coarse = replace(uncoarsened(patients[0].graph), embedding_id="feed")
    (warning,) = predict(coarse, trained.bundle).warnings
    assert "embedding feed" in warning
    card = trained.bundle.card.model_copy(update={"coarsening_embedding_id": None})
    assert predict(coarse, ModelBundle(card=card, weights=trained.bundle.weights)).warnings == ()


def test_a_graph_of_another_moment_schema_is_refused(trained: Trained, patients: list[SimulatedPatient]) -> None:
    graph = patients[0].graph
    renamed = replace(graph, moment_names=(*graph.moment_names[:-1], "something_else"))
    with pytest.raises(ModelError, match="moment schema"):
        predict(uncoarsened(renamed), trained.bundle)


def test_models_are_taken_from_paths_and_by_default_from_the_package(
    trained: Trained, patients: list[SimulatedPatient], tmp_path: Path
) -> None:
    directory = save_bundle(trained.bundle, tmp_path / "model")
    coarse = uncoarsened(patients[0].graph)
    assert predict(coarse, str(directory)).model_id == trained.bundle.model_id
    shipped = predict(coarse)
    assert shipped.model_id == load_bundle(SHIPPED).model_id
    assert "no medical meaning" in shipped.notice


@pytest.mark.parametrize(
    ("survival", "expected"),
    [
        ([0.9, 0.8, 0.7], None),
        ([0.9, 0.5, 0.2], 200.0),
        ([0.5, 0.4, 0.3], 100.0),
        ([0.25, 0.2, 0.1], 100 * 2 / 3),
        ([0.9, 0.6, 0.4], 300.0),
    ],
)
def test_median_survival_is_interpolated(survival: list[float], expected: float | None) -> None:
    found = median_survival_days(np.array([100.0, 200.0, 400.0]), np.array(survival))
    assert found == (None if expected is None else pytest.approx(expected))


def test_importing_it_does_not_import_the_trainer() -> None:
    lines = "import sys, wsigraph.model.predict; print([n for n in sys.modules if n.startswith('wsigraph.training')])"
    process = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"
