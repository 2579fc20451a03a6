"""A model's held-out answers and a run's predictions as one tidy table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cohort.statistics.predicted import (
    ENDS,
    STAGES,
    model_directory,
    patients,
    risk_of,
    run_directory,
    survival_of,
)
from wsigraph import cohort
from wsigraph.errors import CohortError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_directory(tmp_path_factory.mktemp("model"), patients(60, rng=np.random.default_rng(0)))


def test_a_model_gives_a_row_a_patient_with_all_that_the_manifest_says(model: Path) -> None:
    frame = cohort.load(model, horizons_days=(300, 1600, 2000))
    rows = patients(60, rng=np.random.default_rng(0))
    assert frame["patient_id"].tolist() == [row.patient_id for row in rows]
    assert set(frame["relation"]) == {"out_of_fold"}
    assert frame["stage"].tolist() == [row.stage for row in rows]
    assert list(frame["stage"].cat.categories) == list(STAGES)
    np.testing.assert_array_equal(frame["risk"], [risk_of(row) for row in rows])
    np.testing.assert_array_equal(frame["age"], [float(row.free["age"]) for row in rows])
    assert frame["sex"].tolist() == [row.free["sex"] for row in rows]
    # the hazard is constant, so that survival between the ends of intervals is known in closed form
    closed = [np.exp(-np.exp(risk_of(row)) * 0.3) for row in rows]
    np.testing.assert_allclose(frame["survival_300"], closed, rtol=1e-9)
    np.testing.assert_allclose(frame["survival_1600"], [survival_of(risk_of(row))[-1] for row in rows], rtol=1e-9)
    # beyond the last interval nothing is predicted
    assert frame["survival_2000"].isna().all()


def test_a_model_without_its_manifest_is_read_by_digest(model: Path, tmp_path: Path) -> None:
    for name in ("held_out.json", "card.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    frame = cohort.load(tmp_path)
    assert len(frame) == 60
    assert "age" not in frame.columns
    assert frame["patient_id"].str.fullmatch("[0-9a-f]{16}").all()


def test_another_cohorts_manifest_is_refused(model: Path, tmp_path: Path) -> None:
    other = model_directory(tmp_path / "other", patients(10, rng=np.random.default_rng(1)))
    with pytest.raises(CohortError, match="50 of 60 held-out patients of the model are not in the manifest"):
        cohort.load(model, manifest=other / "data_manifest.csv")


def test_a_run_gives_a_row_a_slide_and_says_which_patients_were_seen(model: Path, tmp_path: Path) -> None:
    rows = patients(4, rng=np.random.default_rng(0))
    relations = ["out of fold", "external", "in training", "external"]
    frame = cohort.load(run_directory(tmp_path, rows, relations), model=model)
    assert frame["relation"].tolist() == ["out_of_fold", "external", "in_training", "external"]
    assert frame["fold"].tolist() == [0, -1, -1, -1]
    assert frame["risk_cut"].tolist() == [0.0] * 4
    assert frame["p_IV"].tolist() == [0.4] * 4
    assert frame["stage_set"].tolist() == [("III", "IV")] * 4
    assert frame.attrs["left_out"] == []


def test_slides_without_a_prediction_are_named(tmp_path: Path) -> None:
    rows = patients(3, rng=np.random.default_rng(0))
    directory = run_directory(tmp_path, rows, ["external"] * 3)
    (directory / "slide-1" / "prediction.json").unlink()
    frame = cohort.load(directory)
    assert frame["slide_id"].tolist() == ["slide-0", "slide-2"]
    assert frame.attrs["left_out"] == ["slide-1"]
    with pytest.raises(CohortError, match="fixed in training"):
        cohort.risk_group(frame)


def test_what_is_no_run_and_a_run_without_a_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="holds neither held_out"):
        cohort.load(tmp_path)
    directory = run_directory(tmp_path / "run", patients(1, rng=np.random.default_rng(0)), ["external"])
    (directory / "summary.json").write_text('{"manifest": "gone.csv"}')
    with pytest.raises(CohortError, match=r"names the manifest 'gone.csv', which is no file here; pass manifest="):
        cohort.load(directory)
    (directory / "summary.json").unlink()
    with pytest.raises(CohortError, match="does not name its manifest; pass manifest="):
        cohort.load(directory)
    (directory / "other.csv").write_text("slide_id\nnobody\n")
    with pytest.raises(CohortError, match="none of the 1 slides"):
        cohort.load(directory, manifest=directory / "other.csv")


def test_a_relative_manifest_is_found_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the summaries of earlier versions: the path as it was given, from the directory of that command."""
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    elsewhere.mkdir()
    runs = run_directory(study / "out" / "runs", patients(1, rng=np.random.default_rng(0)), ["external"])
    (runs / "data_manifest.csv").rename(study / "patients.csv")
    (runs / "summary.json").write_text('{"manifest": "patients.csv"}')
    monkeypatch.chdir(study)
    expected = cohort.load("out/runs")
    monkeypatch.chdir(elsewhere)
    pd.testing.assert_frame_equal(cohort.load("../study/out/runs"), expected)
    # a guess between two would join the outcomes of another cohort
    (elsewhere / "patients.csv").write_text("slide_id\nslide-0\n")
    with pytest.raises(CohortError, match=r"may be any of .*elsewhere.*, .*study.*; pass manifest="):
        cohort.load(runs)


def test_a_patients_slides_become_one_row_as_an_ensemble_would_join_them(tmp_path: Path) -> None:
    one, two, three = patients(3, rng=np.random.default_rng(0))
    two = replace(two, patient_id=one.patient_id, stage=one.stage, time_days=one.time_days, event=one.event)
    frame = cohort.load(run_directory(tmp_path, [one, two, three], ["external", "in training", "external"]))
    joined = cohort.by_patient(frame)
    assert joined["patient_id"].tolist() == ["patient-0", "patient-2"]
    assert joined["relation"].tolist() == ["in_training", "external"]
    assert joined["slide_id"].tolist() == ["slide-0 slide-1", "slide-2"]
    mean = (survival_of(risk_of(one)) + survival_of(risk_of(two))) / 2
    assert joined["risk"][0] == pytest.approx(np.log(-np.log(mean[-1])))
    assert joined["risk"][1] == pytest.approx(frame["risk"][2])
    at_365 = [np.exp(-np.exp(risk_of(row)) * 0.365) for row in (one, two)]
    assert joined["survival_365"][0] == pytest.approx(np.mean(at_365))


def test_what_there_is_to_learn_from_is_described(model: Path) -> None:
    frame = cohort.load(model)
    frame.loc[:4, "stage"] = None
    frame.loc[5, "time_days"] = np.nan
    table = cohort.describe(frame)
    assert list(table.index) == ["fold 0", "fold 1", "fold 2", "fold 3", "all"]
    assert table.loc["all", "n_patients"] == 60
    assert table.loc["all", "n_stage_missing"] == 5
    assert table.loc["all", "n_without_follow_up"] == 1
    assert table["n_events"].iloc[:-1].sum() == table.loc["all", "n_events"]


def test_median_follow_up_is_that_of_the_censored_where_nobody_dies(model: Path) -> None:
    frame = cohort.load(model)[:5].assign(time_days=[1.0, 2.0, 3.0, 4.0, 5.0], event=False)
    assert cohort.describe(frame).loc["all", "median_follow_up_days"] == 3.0


@pytest.mark.parametrize(
    "statistic",
    [
        cohort.followed,
        cohort.describe,
        cohort.risk_group,
        cohort.log_rank_by_risk,
        cohort.confusion,
        cohort.stage_calibration,
        cohort.set_coverage,
        lambda frame: cohort.calibration_at(frame, 365),
        lambda frame: cohort.decision_curve(frame, 365),
        lambda frame: cohort.fit_cox(frame, ["risk"]),
        lambda frame: cohort.split_follow_up(frame, 100.0),
        lambda frame: cohort.stage_scores(frame, rng=np.random.default_rng(0)),
        lambda frame: cohort.added_value(frame, ["stage"], rng=np.random.default_rng(0)),
    ],
)
def test_every_statistic_refuses_patients_trained_on_and_patients_twice(statistic: object, model: Path) -> None:
    frame = cohort.load(model)
    assert callable(statistic)
    with pytest.raises(CohortError, match="further slides of a patient"):
        statistic(pd.concat([frame, frame[:1]], ignore_index=True))
    frame.loc[3, "relation"] = "in_training"
    with pytest.raises(CohortError, match="1 of 60 rows are of patients that the model was trained on"):
        statistic(frame)


def test_patients_without_follow_up_are_left_out_of_survival_and_named(tmp_path: Path) -> None:
    rows = patients(12, rng=np.random.default_rng(0))
    rows[3] = replace(rows[3], time_days=0.0, event=True)
    of_run = cohort.load(run_directory(tmp_path / "run", rows, ["external"] * 12))
    of_model = cohort.load(model_directory(tmp_path / "model", rows))
    by_hand = of_model.assign(time_days=[row.time_days for row in rows])
    for frame in (of_run, of_model, by_hand):
        known = cohort.followed(frame)
        assert "patient-3" not in set(known["patient_id"])
        assert len(known) == 11
        assert known.attrs["zero_follow_up"] == ["patient-3"]
        counts = cohort.describe(frame).loc["all"]
        assert counts["n_without_follow_up"] == 1
        assert counts["n_events"] == sum(bool(row.event) for row in rows if row is not rows[3])


def test_every_name_of_the_room_is_there() -> None:
    assert sorted(cohort.__all__) == dir(cohort)
    for name in cohort.__all__:
        assert callable(getattr(cohort, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cohort.nothing  # noqa: B018


def test_intervals_of_the_made_model_are_what_they_are_said_to_be() -> None:
    assert ENDS.tolist() == sorted(ENDS)
