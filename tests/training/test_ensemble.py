from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError, ModelError, StoreError
from wsigraph.model.bundle import load_bundle, save_bundle
from wsigraph.model.predict import predict
from wsigraph.synthesis.simulation.simulate import SimulatedPatient
from wsigraph.training.cross_validate import Design, cross_validate, refuse_finished, study_identity
from wsigraph.training.dataset import Cohort, Example, collect, join_patients
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.fit import fit
from wsigraph.training.held_out import load_held_out, save_held_out
from wsigraph.training.repeats import score_repeats

from .conftest import ABOUT, uncoarsened


@pytest.fixture(scope="module")
def cohort(examples: list[Example], tiny_config: ModelConfig) -> Cohort:
    named = [replace(each, sha256=f"{number:064x}", site=f"s{number % 2}") for number, each in enumerate(examples)]
    return collect(named, tiny_config.stage_names)


@pytest.fixture(scope="module")
def short(tiny_config: ModelConfig) -> ModelConfig:
    return tiny_config.model_copy(update={"epochs": 3})


FOLD = np.arange(24) % 3


@pytest.fixture(scope="module")
def ensemble(cohort: Cohort, short: ModelConfig) -> Ensemble:
    return train_folds(cohort, FOLD, [short], seed=5, about=ABOUT)


def test_each_patient_is_answered_by_a_member_that_never_saw_them(ensemble: Ensemble, cohort: Cohort) -> None:
    for number, member in enumerate(ensemble.bundle.members):
        rows = np.flatnonzero(number != FOLD)
        alone = fit(cohort.take(rows), np.arange(len(rows)), member.config, seed=5 + number)
        for name, value in alone.member.arrays.items():
            assert (member.arrays[name] == value).all()
    held_out = ensemble.held_out
    assert held_out.survival.shape == (24, len(ensemble.bundle.members[0].ends_days))
    assert np.isfinite(held_out.risk).all()
    assert held_out.stage_probability.sum(axis=1) == pytest.approx(np.ones(24))


def test_other_folds_outcomes_leave_a_member_alone(ensemble: Ensemble, cohort: Cohort, short: ModelConfig) -> None:
    wrong = replace(cohort, time_days=np.where(FOLD == 1, 9999.0, cohort.time_days), stage=np.where(FOLD == 1, 0, 1))
    right = replace(cohort, stage=np.where(FOLD == 1, cohort.stage, 1))
    found = [fit(each, np.flatnonzero(FOLD != 1), short, seed=6).member for each in (wrong, right)]
    assert all((found[0].arrays[name] == value).all() for name, value in found[1].arrays.items())
    assert ensemble.bundle.members[1].ends_days[-1] < 9999


def test_one_process_and_two_give_the_same_bytes(ensemble: Ensemble, cohort: Cohort, short: ModelConfig) -> None:
    again = train_folds(cohort, FOLD, [short], seed=5, about=ABOUT, workers=2)
    assert again.bundle.model_id == ensemble.bundle.model_id


def test_a_killed_run_goes_on_to_the_same_bytes(
    ensemble: Ensemble, cohort: Cohort, short: ModelConfig, tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []

    def die(*event: object) -> None:
        told.append(event)  # type: ignore[arg-type]
        # the beginning of all folds, three passes and the end of the first, two passes of the second
        if len(told) == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_folds(cohort, FOLD, [short], seed=5, about=ABOUT, checkpoints=tmp_path, progress=die)
    seen: list[tuple[object, ...]] = []
    again = train_folds(
        cohort, FOLD, [short], seed=5, about=ABOUT, checkpoints=tmp_path, progress=lambda *each: seen.append(each)
    )
    assert again.bundle.model_id == ensemble.bundle.model_id
    # the first fold was done and the second had a pass behind it
    assert len([each for each in seen if each[0] == "train"]) == 9 - 3 - 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"fold{k}-0.safetensors" for k in range(3)]


def test_a_checkpoint_of_other_settings_is_refused_by_name_and_stays(
    cohort: Cohort, short: ModelConfig, tmp_path: Path
) -> None:
    path = tmp_path / "here.safetensors"
    rows = np.arange(24)
    fit(cohort, rows, short, seed=1, checkpoint=path)
    kept = path.read_bytes()
    with pytest.raises(ModelError, match=r"here\.safetensors .*the seed of this fit was 1 and is 2 now\. .*--restart"):
        fit(cohort, rows, short, seed=2, checkpoint=path)
    wide = short.model_copy(update={"dropout": 0.125, "epochs": short.epochs + 1})
    changed = f"model.dropout was {short.dropout} and is 0.125 now; model.epochs was {short.epochs} and is"
    with pytest.raises(ModelError, match=changed):
        fit(cohort, rows, wide, seed=1, checkpoint=path)
    with pytest.raises(ModelError, match="the graphs are others; the outcomes are others; the patients are others"):
        fit(cohort, rows[:20], short, seed=1, checkpoint=path)
    assert path.read_bytes() == kept
    fit(cohort, rows, short, seed=1, checkpoint=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"here\.safetensors is damaged .* delete it"):
        fit(cohort, rows, short, seed=2, checkpoint=path)


def test_a_run_of_other_settings_is_refused_before_it_begins(
    cohort: Cohort, short: ModelConfig, tmp_path: Path
) -> None:
    def die(*event: object) -> None:
        if event[0] == "train":
            raise KeyboardInterrupt

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    three = Design(n_folds=3, seed=5, workers=1)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(cohort, [short], tmp_path, design=three, about=ABOUT, progress=die)
    kept = files()
    assert len(kept) == 2
    other = short.model_copy(update={"layers": short.layers + 1})
    for design, configurations, message in (
        (replace(three, n_folds=2), [short], "--folds was 3 and is 2 now"),
        (replace(three, seed=6), [short], "--seed was 5 and is 6 now"),
        (three, [other], f"model.layers was {short.layers} and is {short.layers + 1} now"),
        (three, [short, other], f"--try, number 1 was not set and is {{'model.layers': {short.layers + 1}}} now"),
    ):
        with pytest.raises(ModelError, match=re.escape(message)):
            cross_validate(cohort, configurations, tmp_path, design=design, about=ABOUT, progress=die)
        assert files() == kept


def test_a_finished_model_is_not_trained_over_under_other_settings(
    cohort: Cohort, short: ModelConfig, tmp_path: Path
) -> None:
    brief, design = short.model_copy(update={"epochs": 1}), Design(n_folds=2, seed=5, workers=1)
    cross_validate(cohort, [brief], tmp_path, design=design, about=ABOUT)
    refuse_finished(tmp_path, study_identity(cohort, cohort.settled([brief]), design))
    with pytest.raises(ModelError, match=r"the finished model in .*model.epochs was 1 and is 3 now.*--restart"):
        refuse_finished(tmp_path, study_identity(cohort, cohort.settled([short]), design))
    (tmp_path / "run.json").unlink()
    with pytest.raises(ModelError, match="earlier version"):
        refuse_finished(tmp_path, study_identity(cohort, cohort.settled([brief]), design))


def test_a_run_killed_in_a_further_division_does_nothing_twice(
    cohort: Cohort, short: ModelConfig, tmp_path: Path
) -> None:
    brief, design = short.model_copy(update={"epochs": 1}), Design(n_folds=2, seed=5, workers=1)
    events: list[tuple[object, ...]] = []

    def train(until: int) -> None:
        def tell(*event: object) -> None:
            events.append(event)
            if len(events) == until:
                raise KeyboardInterrupt

        how = {"design": design, "progress": tell}
        first = cross_validate(cohort, [brief], tmp_path, about=ABOUT, keep_checkpoints=True, **how)  # type: ignore[arg-type]
        score_repeats(first, cohort, [brief], tmp_path, n_repeats=3, **how)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        # two folds of the first division and two of the second tell of a pass and of a fold each
        train(10)
    events.clear()
    train(0)
    assert len([each for each in events if each[0] == "train"]) <= 2
    assert not (tmp_path / "checkpoints").exists()


def test_leakage_is_refused(cohort: Cohort, short: ModelConfig) -> None:
    same_patient = replace(cohort, patient=np.where(np.arange(24) == 7, cohort.patient[0], cohort.patient))
    with pytest.raises(CohortError, match=r"patient 'synthetic.*' is in folds 0 and 1, expected one"):
        train_folds(same_patient, FOLD, [short], seed=0, about=ABOUT)
    same_slide = replace(cohort, slides=(*cohort.slides[:23], cohort.slides[0]))
    with pytest.raises(CohortError, match=r"slide of digest '0+' is in folds 0 and 2"):
        train_folds(same_slide, FOLD, [short], seed=0, about=ABOUT)
    with pytest.raises(CohortError, match=r"folds are \[0\], expected two or more"):
        train_folds(cohort, np.zeros(24, int), [short], seed=0, about=ABOUT)


def test_of_several_configurations_each_fold_takes_its_best_by_validation(cohort: Cohort, short: ModelConfig) -> None:
    lame = short.model_copy(update={"learning_rate": 1e-9})
    found = train_folds(cohort, FOLD, [lame, short], seed=5, about=ABOUT)
    assert found.bundle.card.n_configurations == 2
    for number, chosen in enumerate(found.fitted):
        rows = np.flatnonzero(number != FOLD)
        losses = [fit(cohort, rows, each, seed=5 + number).best_loss for each in (lame, short)]
        assert chosen.best_loss == min(losses)


def test_predictions_say_whether_the_model_knows_the_patient(
    ensemble: Ensemble, cohort: Cohort, patients: list[SimulatedPatient], tmp_path: Path
) -> None:
    bundle = load_bundle(save_bundle(ensemble.bundle, tmp_path))
    coarse = uncoarsened(patients[4].graph)
    stranger = predict(coarse, bundle)
    assert stranger.relation == "external"
    known = predict(coarse, bundle, patient=patients[4].patient)
    by_slide = predict(coarse, bundle, sha256=f"{4:064x}")
    assert known.relation == by_slide.relation == "out of fold"
    assert known.risk == by_slide.risk != stranger.risk
    row = ensemble.held_out
    assert known.stage_probability == pytest.approx(row.stage_probability[4], abs=1e-6)
    # one slide of one fold and a patient of another: nobody is known not to have seen it
    assert predict(coarse, bundle, patient=patients[4].patient, sha256=f"{5:064x}").relation == "in training"


def test_an_ensemble_has_a_band_and_claims_no_coverage_on_few_patients(
    ensemble: Ensemble, patients: list[SimulatedPatient]
) -> None:
    found = predict(uncoarsened(patients[0].graph), ensemble.bundle)
    assert found.survival_band is not None
    assert (found.survival_band[0] <= found.survival + 1e-9).all()
    assert (found.survival_band[1] >= found.survival - 1e-9).all()
    assert found.stage_set == ()
    assert ensemble.bundle.card.n_calibration_patients < 100
    assert found.distance == pytest.approx(1.0, abs=0.8)


def test_held_out_answers_round_trip_and_belong_to_their_model(ensemble: Ensemble, tmp_path: Path) -> None:
    save_held_out(ensemble.held_out, tmp_path, "m1")
    again = load_held_out(tmp_path, "m1")
    for name in type(again).__slots__:
        left, right = getattr(again, name), getattr(ensemble.held_out, name)
        assert left.dtype.kind == right.dtype.kind
        assert np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
    with pytest.raises(StoreError, match="belongs to model m1, expected m2"):
        load_held_out(tmp_path, "m2")


def test_slides_of_a_patient_become_one_graph_without_edges_between(cohort: Cohort) -> None:
    twice = cohort.take(np.array([0, 1, 0]))
    twice = replace(twice, slides=(("a",), ("b",), ("c",)))
    joined = join_patients(twice)
    assert joined.n_rows == 2
    assert joined.slides == (("a", "c"), ("b",))
    n = len(cohort.inputs[0].features)
    assert len(joined.inputs[0].features) == 2 * n
    assert ((joined.inputs[0].edge_index[0] < n) == (joined.inputs[0].edge_index[1] < n)).all()
    with pytest.raises(CohortError, match=r"differ in time_days \(.*expected one; correct the manifest"):
        join_patients(replace(twice, time_days=np.array([1.0, 2.0, 3.0])))
