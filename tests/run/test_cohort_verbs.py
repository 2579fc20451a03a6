"""The verbs of a cohort from Python: simulate, train, evaluate, and an explanation with the trained model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import wsigraph
from wsigraph import store
from wsigraph.cohort import followed
from wsigraph.cohort import load as load_frame
from wsigraph.cohort.manifest.manifest import read_manifest, write_manifest
from wsigraph.config import Config, load
from wsigraph.errors import CohortError, ConfigError
from wsigraph.run.evaluate_folds import evaluate_folds
from wsigraph.run.study.site_scores import site_scores

SETTINGS = (
    "synthesis.scenario=spatial", "synthesis.sites=2", "synthesis.library_side=3", "synthesis.min_side=4",
    "synthesis.max_side=5", "model.epochs=2", "model.layers=1", "model.channels=4", "explanation.random_orders=5",
    "explanation.steps=10", "explanation.max_completeness_error=0.1",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings() -> Config:
    return load(overrides=SETTINGS)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, settings: Config) -> Path:
    """Directory of a simulated cohort of 40 patients."""
    out = tmp_path_factory.mktemp("cohort")
    rows = wsigraph.simulate(40, out, settings, seed=3)
    assert len({row.patient_id for row in rows}) == 40
    assert all((out / row.slide_id / "graph.safetensors").is_file() for row in rows)
    return out


def test_a_cohort_is_simulated_trained_on_scored_and_explained(cohort: Path, settings: Config, tmp_path: Path) -> None:
    steps: list[str] = []
    manifest, model = cohort / "data_manifest.csv", tmp_path / "model"
    result = wsigraph.train(
        manifest, cohort, model, settings, n_folds=2, workers=1, progress=lambda step, done, total: steps.append(step)
    )
    assert steps
    assert result.over_repeats == {}
    card = result.ensemble.bundle.card
    assert (len(card.members), card.training.n_patients) == (2, 40)
    assert "simulated tissue" in card.notice
    assert json.loads((model / "card.json").read_text())["training"]["n_patients"] == 40
    scores = wsigraph.evaluate(model)
    assert scores["n_patients"] == 40
    assert 0 <= scores["survival"]["c_index"]["value"] <= 1
    # the training cohort is stored beside the model, so explanations have a reference input
    graph = store.load_graph(next(cohort.glob("*/graph.safetensors")))
    coarse = wsigraph.coarsen(graph, settings.coarsening)
    explanation = wsigraph.explain(coarse, graph, model, config=settings.explanation)
    assert len(explanation.node) == coarse.graph.n_nodes
    assert wsigraph.predict(coarse, model).risk is not None


def test_a_model_is_evaluated_in_the_folds_of_a_table(cohort: Path, settings: Config, tmp_path: Path) -> None:
    """A table of a cross-validation, one column of several divisions, and tables of other folds."""
    manifest, model = cohort / "data_manifest.csv", tmp_path / "model"
    names = settings.model.stage_names
    rows = read_manifest(manifest, stage_names=names, check_files=False).rows
    patients = list(dict.fromkeys(row.patient_id for row in rows))

    def table(name: str, parts: dict[str, tuple[str, ...]]) -> str:
        rows = ["case_id\tfold_0\tfold_1", *("\t".join((patient, *own)) for patient, own in parts.items())]
        (tmp_path / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
        return str(tmp_path / name)

    sides = [("test", "train"), ("train", "test")]
    folds = table("folds.tsv", {patient: sides[place % 2] for place, patient in enumerate(patients)})
    others = table("others.tsv", {patient: sides[place // 20] for place, patient in enumerate(patients)})
    wsigraph.train(manifest, cohort, model, settings, workers=1, splits=folds)
    scores, page = evaluate_folds(model, folds)
    assert (scores["n_patients"], page) == (40, model / "evaluation.html")
    ours, _ = evaluate_folds(model, str(model / "splits.tsv"))
    assert ours["survival"] == scores["survival"]
    with pytest.raises(CohortError, match=r"trained in other folds than those of .*others.tsv: 0 of its 40 patients"):
        evaluate_folds(model, others)
    part = tmp_path / "part"
    wsigraph.train(manifest, cohort, part, settings, n_folds=2, workers=1, splits=f"{others}:fold_0", force=True)
    scores, page = evaluate_folds(part, f"{others}:fold_0")
    assert (scores["n_patients"], page) == (20, part / "test_fold_0" / "validation.html")
    assert page.is_file()
    with pytest.raises(CohortError, match="training cohort"):
        evaluate_folds(part, f"{others}:fold_1")


def test_a_follow_up_of_no_days_is_left_out_of_survival(
    cohort: Path, settings: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = settings.model.stage_names
    rows = read_manifest(cohort / "data_manifest.csv", stage_names=names, check_files=False).rows
    zero = rows[0].patient_id
    write_manifest(
        [replace(row, time_days=0.0, event=True) if row.patient_id == zero else row for row in rows],
        tmp_path / "data_manifest.csv",
    )
    result = wsigraph.train(tmp_path / "data_manifest.csv", cohort, tmp_path / "model", settings, n_folds=2, workers=1)
    assert result.ensemble.bundle.card.training.n_patients == 40
    assert f"time_days is 0 for 1 patient ({zero}): left out of survival, not of stage" in caplog.text
    frame = load_frame(tmp_path / "model")
    assert frame.loc[frame["patient_id"] == zero, "time_days"].isna().all()
    assert len(followed(frame)) == 39
    assert wsigraph.evaluate(tmp_path / "model")["n_patients"] == 40


def test_a_try_that_is_no_setting_is_refused_before_anything_is_written(
    cohort: Path, settings: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"model\.layer"):
        wsigraph.train(cohort / "data_manifest.csv", cohort, tmp_path / "model", settings, tries=["layer=2"])
    assert not (tmp_path / "model").exists()


def test_every_site_has_its_scores(cohort: Path, settings: Config, tmp_path: Path) -> None:
    wsigraph.train(cohort / "data_manifest.csv", cohort, tmp_path / "model", settings, n_folds=2, workers=1)
    scores = site_scores(tmp_path / "model")
    frame = load_frame(tmp_path / "model")
    assert set(scores) == set(frame["site"])
    for site, own in scores.items():
        part = followed(frame[frame["site"] == site])
        pairs = sum(
            (first.time_days < second.time_days) and first.event and first.fold == second.fold
            for first in part.itertuples()
            for second in part.itertuples()
        )
        assert own["c_index"]["n_pairs"] == pairs
        assert 0 <= own["c_index"]["value"] <= 1
