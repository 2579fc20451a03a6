"""Predictions of baselines for every patient, and warnings where the model is below one."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np

from pipelines.choose_offset import summarise
from pipelines.score_cohorts import above_best, find_cohorts, table_rows
from wsigraph.config import Config
from wsigraph.synthesis.simulation.hospital import HospitalDesign, sample_hospital_cohort
from wsigraph.training.evaluation.baselines import BaselineTask, CohortPredictions, clinical_only, means_at_1
from wsigraph.training.evaluation.evaluation_document import baseline_models
from wsigraph.training.evaluation.patient_scores import patient_scores
from wsigraph.training.evaluation.score_warnings import below_warnings
from wsigraph.training.held_out import HeldOut


def held_out(n: int) -> HeldOut:
    rng = np.random.default_rng(0)
    return HeldOut(
        patient=np.array([f"p{number}" for number in range(n)]),
        site=np.array(["a"] * n),
        fold=np.arange(n) % 2,
        stage=np.zeros(n, np.int64),
        time_days=np.ones(n),
        event=np.ones(n, bool),
        stage_probability=np.tile([0.25, 0.75], (n, 1)),
        ends_days=np.ones((2, 1)),
        survival=np.full((n, 1), 0.5),
        risk=rng.standard_normal(n),
        risk_cut=np.zeros(2),
    )


def test_every_patient_has_a_row_with_the_model_and_every_baseline() -> None:
    own = held_out(4)
    other = CohortPredictions(risk=np.array([1.0, 2.0, np.nan, 4.0]), stage_probability=np.zeros((4, 0)))
    rows = list(csv.DictReader(io.StringIO(patient_scores(own, {"means@1": other}).decode())))
    assert [row["patient"] for row in rows] == own.patient.tolist()
    assert [row["means@1:risk"] for row in rows] == ["1", "2", "", "4"]
    assert "means@1:stage" not in rows[0]
    assert {row["model:stage"] for row in rows} == {"0.75"}
    np.testing.assert_allclose([float(row["model:risk"]) for row in rows], own.risk, rtol=1e-5)


def test_a_model_below_a_baseline_is_told_for_each_of_them() -> None:
    def baseline(value: float) -> dict[str, object]:
        score = {"value": value, "low": value - 0.1, "high": value + 0.1}
        above = {"value": round(0.6 - value, 4), "low": -0.2, "high": 0.2}
        return {"survival": {"c_index": score}, "model_above": {"survival": {"c_index": above}}}

    document = {
        "survival": {"c_index": {"value": 0.6, "low": 0.5, "high": 0.7}},
        "stage": {},
        "baselines": {"means@1": baseline(0.65), "edge@1": baseline(0.55), "clinical": baseline(0.7), "x": {}},
    }
    warnings = below_warnings(document)
    assert [text.split(":")[0] for text in warnings] == [
        "the model lies below the baseline means@1",
        "the model lies below the baseline clinical",
    ]
    assert "0.600 against 0.650 (difference -0.050)" in warnings[0]


def test_a_filled_stage_is_clinical_where_survival_is_predicted() -> None:
    cohort = sample_hospital_cohort(HospitalDesign(n_columns=4, n_latent=3), seed=1).cohort.take(np.arange(80))
    config = Config().model.model_copy(update={"task": "survival"})
    task = BaselineTask(cohort=cohort, fold=np.arange(80) % 2, config=config, seed=1)
    predicted = baseline_models(task, [])["clinical"]()
    assert isinstance(predicted, CohortPredictions)
    assert np.isfinite(predicted.risk).all()
    unknown = replace(task, cohort=replace(cohort, stage=np.full(80, -1)))
    assert isinstance(baseline_models(unknown, [])["clinical"](), str)
    both = clinical_only(replace(task, config=Config().model))
    assert np.isfinite(both.stage_probability).all()
    assert np.isfinite(means_at_1(task).risk).all()


def test_the_scoreboard_names_cohorts_and_compares_with_the_best(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name in ("b", "a", "no_cohort"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        for file in ("slides.csv", "region_embeddings_f16.npy"):
            (tmp_path / name / file).touch()
    assert [path.name for path in find_cohorts(tmp_path, None)] == ["a", "b"]
    assert find_cohorts(tmp_path / "a", None) == [tmp_path / "a"]
    assert find_cohorts(tmp_path, ["b"]) == [tmp_path / "b"]

    def score(value: float) -> dict[str, object]:
        return {"survival": {"c_index": {"value": value, "low": value, "high": value}}, "stage": {}}

    shown = {**score(0.65), "baselines": {"means@1": score(0.66), "edge@1": score(0.6), "site_only": score(0.9)}}
    assert above_best(shown) == {"best": -0.01, "means@1": -0.01}
    assert any("| a, by site | means@1 | 0.660" in row for row in table_rows({"a": {"by_site": shown}}))


def test_choices_are_summarised_over_cohorts() -> None:
    rows = [
        {"c_index": {"means@1": 0.6, "edge@1": value}, "earned": {"by site": [0.0, fraction]}}
        for value, fraction in ((0.55, 0.0), (0.62, 1.0))
    ]
    summary = summarise(rows)
    assert summary["summary"]["edge@1"]["lowest"] == -0.05
    assert summary["refused_fraction"] == {"by site": 0.75}
