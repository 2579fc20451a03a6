"""What a model was made for: distance as a percentile, organ and stain compared, and what is withheld."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import uncoarsened
from wsigraph.config import PredictionConfig
from wsigraph.graph.feature.moments import COLUMN
from wsigraph.model.applicability import FORCED, assumption, distance_percentile
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph, Prediction
from wsigraph.store import load_prediction, save_prediction
from wsigraph.synthesis.simulation.simulate import SimulatedPatient
from wsigraph.training.dataset import Example, collect
from wsigraph.training.ensemble import train_folds
from wsigraph.training.train import Trained


@pytest.fixture
def real(trained: Trained) -> ModelBundle:
    """Return the tiny model as if it had been trained on real kidneys."""
    card = trained.bundle.card
    training = card.training.model_copy(update={"simulated": False})
    fields = {"training": training, "organ": "kidney, renal", "inclusion": "a proven carcinoma"}
    distances = tuple(np.linspace(0.5, 1.5, 41))
    return ModelBundle(card=card.model_copy(update={**fields, "distances": distances}), weights=trained.bundle.weights)


@pytest.fixture
def near(patients: list[SimulatedPatient]) -> CoarseGraph:
    return uncoarsened(patients[0].graph)


@pytest.fixture
def far(near: CoarseGraph) -> CoarseGraph:
    """Return a graph that is as far from all training slides as a pen stroke: dense, of one colour."""
    moments = near.graph.moments.copy()
    for name in ("od_r", "od_g", "od_b"):
        moments[:, COLUMN[name]] = 40 * moments[:, COLUMN["n"]] * 1024
    return replace(near, graph=replace(near.graph, moments=moments))


def is_empty(prediction: Prediction) -> bool:
    arrays = (prediction.stage_probability, prediction.survival, prediction.time_days, prediction.hazard)
    return all(not len(array) for array in arrays) and prediction.risk is None and not prediction.stage_set


def test_a_near_slide_is_predicted_with_its_percentile(real: ModelBundle, near: CoarseGraph) -> None:
    found = predict(near, real)
    assert not found.withheld
    assert found.risk is not None
    assert found.percentile == distance_percentile(real.card, float(found.distance or 0))
    assert found.assumes == "assumes a proven carcinoma of the kidney, stained with h&e"
    assert not found.is_demonstration


def test_a_far_slide_gets_no_number_and_the_reason(real: ModelBundle, far: CoarseGraph, tmp_path: Path) -> None:
    found = predict(far, real)
    assert is_empty(found)
    assert "beyond the limit of" in found.withheld
    assert found.percentile == 100
    assert found.withheld in found.warnings[0]
    save_prediction(found, tmp_path / "prediction.json")
    stored = load_prediction(tmp_path / "prediction.json")
    assert (stored.withheld, stored.percentile, stored.risk) == (found.withheld, 100, None)


def test_the_limit_is_a_setting_and_force_marks(real: ModelBundle, far: CoarseGraph) -> None:
    assert predict(far, real, config=PredictionConfig(max_distance_ratio=1e6)).risk is not None
    forced = predict(far, real, config=PredictionConfig(withhold=False))
    assert forced.risk is not None
    assert forced.warnings[0].startswith(FORCED)


@pytest.mark.parametrize(("organ", "is_predicted"), [("Kidney", True), ("renal", True), ("lung", False), (None, True)])
def test_the_organ_is_compared(real: ModelBundle, near: CoarseGraph, organ: str | None, is_predicted: bool) -> None:
    found = predict(near, real, config=PredictionConfig(organ=organ))
    assert bool(found.withheld) is not is_predicted
    assert is_predicted or "organ 'lung'" in found.withheld


@pytest.mark.parametrize("stain", ["h-dab", "trichrome", "perls"])
def test_another_stain_gets_no_stage_from_an_he_model(
    trained: Trained, real: ModelBundle, near: CoarseGraph, stain: str
) -> None:
    stained = replace(near, graph=replace(near.graph, stain=replace(near.graph.stain, name=stain)))
    for bundle in (real, trained.bundle):
        assert f"stained with {stain}" in predict(stained, bundle).withheld
    own = ModelBundle(card=real.card.model_copy(update={"stain": stain}), weights=real.weights)
    assert not predict(stained, own).withheld
    assert "h&e" in predict(near, own).withheld


def test_a_demonstration_withholds_nothing_for_distance_and_says_what_it_is(trained: Trained, far: CoarseGraph) -> None:
    found = predict(far, trained.bundle)
    assert not found.withheld
    assert found.is_demonstration
    assert found.assumes.startswith("assumes simulated tissue")


def test_a_part_of_a_near_slide_is_not_withheld(real: ModelBundle, near: CoarseGraph) -> None:
    assert not predict(near, real, without=range(near.graph.n_nodes - 1)).withheld


def test_a_card_without_the_new_fields_keeps_its_bytes() -> None:
    bundle = load_bundle(SHIPPED)
    assert not {b'"distances"', b'"organ"', b'"inclusion"', b'"stain"'} & set(bundle.card.document().split(b"\n"))
    assert b"distances" not in bundle.card.document()
    assert assumption(bundle.card).startswith("assumes simulated tissue")


def test_training_measures_every_held_out_patient(examples: list[Example], trained: Trained) -> None:
    card = trained.bundle.card
    cohort = collect(examples, card.stage_names)
    fold = np.arange(cohort.n_rows) % 2
    about = replace_about("kidney")
    ensemble = train_folds(cohort, fold, [card.config.model_copy(update={"epochs": 1})], seed=1, about=about)
    distances = ensemble.bundle.card.distances
    assert len(distances) == cohort.n_rows
    assert list(distances) == sorted(distances)
    assert ensemble.bundle.card.organ == "kidney"
    # a member knows its own patients better than those it has not seen
    member = ensemble.bundle.members[0]
    seen = [member.scaler.standardise(graph).distance for graph in cohort.take(np.flatnonzero(fold != 0)).inputs]
    assert np.mean(distances) > np.mean(seen)


def replace_about(organ: str):  # type: ignore[no-untyped-def]
    from tests.training.conftest import ABOUT

    return replace(ABOUT, organ=organ)
