from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import SLIDE, command
from wsigraph.cohort.manifest.manifest import ManifestRow, read_manifest, write_manifest
from wsigraph.config import Config, ExplanationConfig
from wsigraph.errors import CohortError, ModelError
from wsigraph.explanation.explain import explain
from wsigraph.explanation.reference import load_reference
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import SHIPPED, load_bundle
from wsigraph.model.predict import predict
from wsigraph.store import load_coarse_graph, load_graph, save_graph
from wsigraph.synthesis.simulation.simulate import build_library, sample_sites, simulate
from wsigraph.training.evaluation.evaluate import evaluate
from wsigraph.training.evaluation.score_warnings import site_warnings
from wsigraph.training.load_cohort import load_cohort

FAST = ["--set", "model.epochs=2", "--set", "model.layers=1", "--set", "model.channels=4", "--seed", "3"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with graphs and manifest of 40 simulated patients of two sites."""
    out = tmp_path_factory.mktemp("cohort")
    settings = Config()
    small = settings.synthesis.model_copy(update={"sites": 2, "library_side": 3, "min_side": 4, "max_side": 5})
    rng = np.random.default_rng(8)
    library = build_library(sample_sites(2, rng=rng), small, rng=rng)
    rows = []
    for number, each in enumerate(simulate(40, library, small, rng=rng)):
        slide = each.patient
        save_graph(replace(each.graph, slide_id=slide), out / slide / "graph.safetensors")
        outcome = each.outcome
        stage = None if outcome.stage is None else settings.model.stage_names[outcome.stage]
        rows.append(
            ManifestRow(
                line=number + 2,
                slide_id=slide,
                patient_id=slide,
                site=f"site{number % 2}",
                path=None,
                mpp=None,
                stage=stage,
                grade=None,
                time_days=outcome.time_days,
                event=outcome.event,
                split="test" if number == 0 else None,
                sha256=None,
                free={"age": str(40 + number)},
            )
        )
    write_manifest(rows, out / "data_manifest.csv")
    return out


@pytest.fixture(scope="module")
def model_dir(cohort_dir: Path) -> Path:
    out = cohort_dir / "model"
    done = run(
        "train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(out),
        "--folds", "2", "--workers", "1", "--json", *FAST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["n_patients"] == 39
    assert "1 slides of split 'test' are left alone" in done.stderr
    return out


def test_further_divisions_are_scored_and_the_first_is_kept(cohort_dir: Path, model_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    done = run(
        "train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(out),
        "--folds", "2", "--workers", "1", "--repeats", "3", "--json", *FAST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (model_dir / "model.safetensors").read_bytes()
    found = json.loads((out / "repeats.json").read_text())
    assert json.loads(done.stdout)["over_repeats"] == found["over_repeats"]
    values = [each["c_index"]["value"] for each in found["repeats"]]
    assert values[0] == json.loads((out / "card.json").read_text())["metrics"]["c_index"]["value"]
    assert len(set(values)) == 3
    assert found["over_repeats"]["c_index"]["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    assert found["over_repeats"]["c_index"]["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-4)
    assert not (out / "checkpoints").exists()


def test_a_finished_model_of_other_settings_is_left_alone(cohort_dir: Path, model_dir: Path) -> None:
    kept = {path: path.read_bytes() for path in model_dir.iterdir()}
    asked = ("train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(model_dir))
    done = run(*asked, "--folds", "3", "--workers", "1", *FAST)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) <= 2
    assert f"the finished model in {model_dir}" in done.stderr
    assert "--folds was 2 and is 3 now" in done.stderr
    assert "--restart" in done.stderr
    assert {path: path.read_bytes() for path in model_dir.iterdir()} == kept


def test_training_leaves_a_whole_directory(model_dir: Path) -> None:
    names = ["card.json", "held_out.json", "losses.csv", "losses.png", "model.safetensors", "run.json"]
    assert set(names) <= {path.name for path in model_dir.iterdir()}
    assert not (model_dir / "checkpoints").exists()
    table = (model_dir / "losses.csv").read_text().splitlines()
    assert table[0] == "fold,epoch,training,validation,best"
    assert len(table) == 1 + 2 * 2
    card = json.loads((model_dir / "card.json").read_text())
    assert card["split_by"] == "patient"
    assert card["training"]["simulated"]
    assert set(card["metrics"]) >= {"c_index", "stage_auc"}


def test_training_leaves_what_explanations_must_know(model_dir: Path, cohort_dir: Path) -> None:
    bundle = load_bundle(model_dir)
    reference = load_reference(model_dir, bundle)
    assert reference is not None
    assert reference.site_names == ("site0", "site1")
    assert len(reference.output_risk) == bundle.card.training.n_patients == 39
    assert (len(reference.cluster_names), len(reference.broad_cluster_names)) == (8, 4)
    rows = read_manifest(cohort_dir / "data_manifest.csv", stage_names=bundle.card.stage_names, check_files=False).rows
    known = [row for row in rows if row.split != "test"]
    assert reference.survival.n_events == sum(bool(row.event) for row in known)
    fine = load_graph(cohort_dir / rows[0].slide_id / "graph.safetensors")
    coarse = coarsen(fine)
    found = explain(coarse, fine, model_dir, config=ExplanationConfig(steps=10, random_orders=2))
    assert found.reference_input_id == f"cluster {reference.reference_id}"
    assert set(found.curves) == {"drop", "replace"}
    assert found.output_sd == pytest.approx(reference.output_risk.std())


def test_the_evaluation_has_its_own_scores_first_and_every_baseline(model_dir: Path) -> None:
    done = run("evaluate", str(model_dir), "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found)[:4] == ["survival", "stage", "folds", "baselines"]
    assert set(found["survival"]["c_index"]) == {"value", "low", "high", "n_pairs"}
    for name in ("uno_c", "integrated_brier", "time_auc", "d_calibration", "log_rank", "permutation_p"):
        assert name in found["survival"]
    assert found["survival"]["c_index"]["n_pairs"] > 0
    assert all(fold["c_index"] is None or fold["c_index"]["n_pairs"] > 0 for fold in found["folds"])
    assert found["n_configurations"] == 1
    for name in ("auc", "balanced_accuracy", "quadratic_kappa", "brier", "calibration_slope", "calibration_curve"):
        assert name in found["stage"]
    assert len(found["folds"]) == 2
    baseline_models = found["baselines"]
    assert set(baseline_models) == {
        "means@1",
        "edge@1",
        "attention_mil",
        "pooled_forest",
        "pooled_ridge",
        "edge_product_ridge",
        "uncoarsened_gat",
        "site_only",
        "stain_only",
        "clinical",
        "clinical_and_image",
    }
    for name, baseline in baseline_models.items():
        assert set(baseline["survival"]["c_index"]) == {"value", "low", "high"}, name
        gap = found["survival"]["c_index"]["value"] - baseline["survival"]["c_index"]["value"]
        assert baseline["model_above"]["survival"]["c_index"]["value"] == pytest.approx(gap, abs=2e-4)
    # asked again, nothing is trained again and the answer is the same
    before = (model_dir / "evaluation.json").read_bytes()
    again = evaluate(model_dir)
    assert again == found
    assert list(again)[:4] == list(found)[:4]
    assert (model_dir / "evaluation.json").read_bytes() == before


def test_the_page_needs_nothing_beside_itself(model_dir: Path) -> None:
    evaluate(model_dir)
    page = (model_dir / "evaluation.html").read_text()
    links: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend(value or "" for name, value in attrs if name in ("src", "href"))

    Parser().feed(page)
    assert all(link.startswith("data:") for link in links)
    assert page.count('<svg class="chart"') == 2, "survival by risk, and calibration of stage"
    for text in ("edge product ridge", "D-calibration", "no medical meaning", "Quadratic kappa"):
        assert text in page


def test_without_its_cohort_a_model_is_scored_alone_and_says_so(model_dir: Path, tmp_path: Path) -> None:
    for name in ("card.json", "model.safetensors", "held_out.json"):
        (tmp_path / name).write_bytes((model_dir / name).read_bytes())
    found = evaluate(tmp_path)
    assert found["baselines"] == {}
    assert "no baseline model was fitted" in found["warnings"][0]
    (tmp_path / "held_out.json").unlink()
    with pytest.raises(ModelError, match=r"no held_out\.json"):
        evaluate(tmp_path)
    with pytest.raises(ModelError, match="no out-of-fold predictions to score"):
        evaluate(SHIPPED if not (SHIPPED / "held_out.json").is_file() else tmp_path)


def test_a_graph_that_is_missing_is_named(cohort_dir: Path, tmp_path: Path) -> None:
    names = Config().model.stage_names
    rows = read_manifest(cohort_dir / "data_manifest.csv", stage_names=names, check_files=False).rows
    with pytest.raises(CohortError, match=r"40 of 40 slides have no graph under .* and 30 more; .*--allow-missing"):
        load_cohort(rows, tmp_path, stage_names=names)


def test_equal_bytes_under_two_patients_are_refused(cohort_dir: Path) -> None:
    names = Config().model.stage_names
    rows = read_manifest(cohort_dir / "data_manifest.csv", stage_names=names, check_files=False).rows
    twins = [replace(rows[1], sha256="a" * 64), replace(rows[2], sha256="a" * 64)]
    with pytest.raises(CohortError, match=r"have a slide of the same bytes \(digest aaaaaaaaaaaa\)"):
        load_cohort(twins, cohort_dir, stage_names=names)


def document(site: float, low: float, gap: float) -> dict[str, object]:
    baseline = {
        "survival": {"c_index": {"value": site, "low": low, "high": site + 0.1}},
        "model_above": {"survival": {"c_index": {"value": gap, "low": gap - 0.05, "high": gap + 0.05}}},
    }
    return {
        "survival": {"c_index": {"value": site + gap, "low": 0.5, "high": 0.8}},
        "stage": {},
        "baselines": {"site_only": baseline},
    }


def test_a_site_that_predicts_as_well_is_told_and_one_at_chance_is_not() -> None:
    (told,) = site_warnings(document(0.66, 0.58, 0.02))
    assert "the site alone, without a pixel, predicts as well as the model: C-index 0.660 against 0.680" in told
    assert site_warnings(document(0.66, 0.58, 0.09)) == []
    assert site_warnings(document(0.53, 0.44, -0.02)) == []


def test_a_model_that_coarsens_on_its_own_is_trained_and_evaluated(cohort_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "joint"
    done = run(
        "train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(out),
        "--folds", "2", "--workers", "1", "--json", *FAST,
        "--set", "model.design=network", "--set", "model.train_coarsening=true",
        "--set", "model.recoarsen_every=1", "--set", "coarsening.ratio=8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(out)
    assert bundle.embedding is not None
    assert bundle.card.coarsening is not None
    assert bundle.card.coarsening.ratio == 8
    assert bundle.card.coarsening_embedding_id == bundle.embedding.embedding_id
    rows = read_manifest(cohort_dir / "data_manifest.csv", stage_names=bundle.card.stage_names, check_files=False).rows
    graph = load_graph(cohort_dir / rows[0].slide_id / "graph.safetensors")
    seen = predict(graph, bundle)
    assert seen.relation == "external"
    coarse = coarsen(graph, bundle.card.coarsening, embedding=bundle.embedding)
    why = explain(coarse, graph, out, config=ExplanationConfig(steps=4, random_orders=0))
    assert why.value == pytest.approx(seen.risk, abs=1e-5)
    assert why.reference_input_id.startswith("cluster ")
    cohort = load_cohort(
        rows[1:], cohort_dir, stage_names=bundle.card.stage_names, coarsening=bundle.card.coarsening,
        model=bundle.card.config,
    )  # fmt: skip
    stage, _ = bundle.members[0].read(bundle.members[0].inputs(cohort))
    assert len(stage) == 39
    with pytest.raises(ModelError, match="keeps no superpixel graphs"):
        bundle.members[0].inputs(replace(cohort, superpixel_graphs=None, embedding_id="another"))
    # a slide is coarsened by the model's own embedding and budget, whatever the settings say
    done = run("predict", str(SLIDE), "--model", str(out), "--out", str(tmp_path / "slides"), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["patient"] == "external"
    assert not any("coarsened by" in warning for warning in shown["warnings"])
    directory = tmp_path / "slides" / SLIDE.stem
    superpixels = load_graph(directory / "graph.safetensors")
    regions = load_coarse_graph(directory / "coarse.safetensors")
    assert regions.embedding_id == bundle.embedding.embedding_id
    own = coarsen(superpixels, bundle.card.coarsening, embedding=bundle.embedding)
    assert (regions.assignment == own.assignment).all()
    assert shown["nodes"] == own.graph.n_nodes < superpixels.n_nodes / 4
    assert predict(superpixels, bundle).stage_probability.tolist() == list(shown["stage"].values())


def test_a_model_with_a_linear_offset_is_trained_explained_and_evaluated(cohort_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "started"
    done = run(
        "train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(out),
        "--folds", "2", "--workers", "1", "--json", *FAST,
        "--set", "model.design=network", "--set", "model.survival_head=cox", "--set", "model.linear_offset=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_bundle(out).card.config.linear_offset
    done = run(
        "predict", str(SLIDE), "--model", str(out), "--out", str(tmp_path / "slides"), "--explain", "risk", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(json.loads(done.stdout)["risk"])
    told = json.loads((tmp_path / "slides" / SLIDE.stem / "explanation.json").read_text())
    assert told["facts"]["target"] == "risk"
    assert told["facts"]["completeness"]["is_complete"]
    found = evaluate(out)
    assert set(found["baselines"]) >= {"attention_mil", "pooled_ridge", "edge_product_ridge", "clinical_and_image"}
    for name in ("attention_mil", "uncoarsened_gat", "clinical_and_image"):
        assert np.isfinite(found["baselines"][name]["survival"]["c_index"]["value"]), name
    # the head of discrete hazards has no ratio to start at
    done = run(
        "train", str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(tmp_path / "no"),
        "--folds", "2", "--workers", "1", *FAST, "--set", "model.design=network", "--set", "model.linear_offset=true",
    )  # fmt: skip
    assert done.returncode == 1
    assert "set model.survival_head=cox" in done.stderr
    assert len(done.stderr.splitlines()) == 1 + done.stderr.count("left alone")
