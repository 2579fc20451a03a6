from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines import (
    goal_figures,
    score_conformal,
    score_null,
    score_offset_parts,
    score_simulated,
    score_site,
    time_fold,
    time_training,
)
from wsigraph.cohort.manifest.manifest import read_manifest
from wsigraph.config import Config, load
from wsigraph.model.bundle import SHIPPED, load_bundle
from wsigraph.synthesis.simulation.cohort import gather_simulated
from wsigraph.synthesis.simulation.scenario import Planted
from wsigraph.synthesis.simulation.scenarios import Outcome, find_scenario, sample_outcome, stage_probability
from wsigraph.synthesis.simulation.write_cohort import simulate_cohort, write_cohort
from wsigraph.training.load_cohort import load_cohort

SMALL = ("sites=2", "library_side=3", "grain=2", "min_side=4", "max_side=5")
QUICK = ("layers=1", "heads=1", "channels=4", "epochs=2")


@pytest.fixture(scope="module")
def settings() -> Config:
    return load([], ["synthesis.scenario=spatial", *(f"synthesis.{each}" for each in SMALL)])


def test_patients_are_those_that_simulate_writes(settings: Config, tmp_path: Path) -> None:
    write_cohort(simulate_cohort(6, settings, seed=3), tmp_path, settings, seed=3)
    names = settings.model.stage_names
    manifest = read_manifest(tmp_path / "data_manifest.csv", stage_names=names, check_files=False)
    written = load_cohort(manifest.rows, tmp_path, stage_names=names, coarsening=settings.coarsening)
    drawn = gather_simulated(6, settings, seed=3)
    for name in ("patient", "site", "stage", "time_days", "event", "stain"):
        assert (getattr(drawn.cohort, name) == getattr(written, name)).all(), name
    for one, other in zip(drawn.cohort.inputs, written.inputs, strict=True):
        assert (one.features == other.features).all()
        assert (one.edge_index == other.edge_index).all()
    told = [float(each["oracle_risk"]) for each in written.covariates]
    assert drawn.oracle_risk == pytest.approx(told, abs=1e-4)
    assert drawn.cohort.embedding_id == written.embedding_id


def test_nodes_are_superpixels_regions_or_what_coarsening_made(settings: Config) -> None:
    count = {
        nodes: [len(each.features) for each in gather_simulated(4, settings, seed=3, nodes=nodes).cohort.inputs]
        for nodes in ("superpixels", "regions", "coarse")
    }
    assert (np.array(count["superpixels"]) == 4 * np.array(count["regions"])).all()
    assert (np.array(count["coarse"]) < np.array(count["superpixels"])).all()


def test_the_first_patients_of_a_longer_cohort_are_those_of_a_shorter_one(settings: Config) -> None:
    short, long = (gather_simulated(n, settings, seed=5, nodes="regions") for n in (3, 5))
    first = long.take(np.arange(3))
    assert (first.oracle_stage == short.oracle_stage).all()
    assert (first.cohort.patient == short.cohort.patient).all()
    assert all(
        (one.features == other.features).all()
        for one, other in zip(first.cohort.inputs, short.cohort.inputs, strict=True)
    )


def test_the_oracle_knows_how_often_each_stage_comes() -> None:
    rng = np.random.default_rng(0)
    for severity in (-1.0, 0.1, 0.9):
        planted = Planted(layouts=(), severity=0.0, staged_severity=severity)
        drawn: list[Outcome] = [sample_outcome(find_scenario("null"), planted, rng=rng) for _ in range(4000)]
        stages = [each.stage for each in drawn if each.stage is not None]
        fraction = np.bincount(stages, minlength=4) / len(stages)
        # three standard errors of a share of 3,600
        assert stage_probability(np.array([severity]))[0] == pytest.approx(fraction, abs=0.025)
    assert stage_probability(np.linspace(-4, 4, 9)).sum(axis=1) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("recipe", "own", "shown"),
    [
        (
            score_simulated,
            ["--law", "interface", "--train", "40", "--fresh", "40", "--rival", "pooled_ridge"],
            "oracle",
        ),
        (score_null, ["--cohorts", "2", "--patients", "40"], "mean_c_index"),
        (score_site, ["--patients", "60", "--fresh", "40"], "unseen_site_fresh"),
        (score_conformal, ["--patients", "150", "--calibration", "30", "--fresh", "20"], "unseen_site"),
        (time_fold, ["--patients", "20", "--passes", "2"], "processor_seconds_an_epoch"),
        (time_training, ["--patients", "40"], "processor_seconds"),
        (score_offset_parts, ["--draws", "1", "--train", "40", "--fresh", "40"], "summary"),
    ],
)
def test_recipes_print_their_table(recipe, own: list[str], shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    quick = [f"synthesis.{each}" for each in SMALL] + [f"model.{each}" for each in QUICK]
    workers = [] if recipe in (time_fold, score_offset_parts) else ["--workers", "1"]
    recipe.main([*own, *workers, *(part for each in quick for part in ("--set", each))])
    table = json.loads(capsys.readouterr().out)
    assert shown in table
    if recipe is score_simulated:
        # the oracle's stages are scored too
        assert (
            table["oracle"]["stage"]["quadratic_kappa"]["value"] > table["model"]["stage"]["quadratic_kappa"]["value"]
        )
    if recipe is score_null:
        found = table["mean_c_index"]
        assert found["value"] == pytest.approx(np.mean(table["c_index"]), abs=1e-4)
        # of two cohorts: the standard error is half of their difference
        half = 1.96 * abs(table["c_index"][0] - table["c_index"][1]) / 2
        assert found["high"] - found["value"] == pytest.approx(half, abs=2e-4)
        earned = np.array(table["survival_earned"])
        assert table["mean_survival_earned"]["value"] == pytest.approx(earned.mean(), abs=1e-4)
        assert table["survival_earned_in_any_fold"] == (earned > 0).mean()
    if recipe is time_training:
        assert table["mean_nodes"] > 1
        assert len(table["earned"]["survival"]) == 5
    if recipe is score_offset_parts:
        own = score_offset_parts.OWN
        assert table["summary"][own]["above_own"] == 0.0
        assert table["summary"]["oracle"]["mean"] > 0.5
    if recipe is score_conformal:
        assert table["same_sites"]["n"] == 20
        assert table["same_sites"]["n_calibration"] == 30
        # 30 patients in five folds: 1 - 2 alpha - min(1.6 / 7, (25 / 30) / 6)
        assert table["aimed_at"] == 0.9
        assert table["guaranteed"] == pytest.approx(0.8 - 25 / 30 / 6, abs=1e-4)


def test_null_cohorts_of_two_seeds_are_pooled(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    quick = [part for each in (*(f"synthesis.{name}" for name in SMALL), *(f"model.{name}" for name in QUICK))
             for part in ("--set", each)]  # fmt: skip
    score_null.main(["--cohorts", "2", "--patients", "30", "--workers", "1", "--seed", "1", "--seed", "2", *quick])
    both = json.loads(capsys.readouterr().out)
    assert both["cohorts"] == len(both["c_index"]) == 4
    assert both["mean_c_index"]["value"] == pytest.approx(np.mean(both["c_index"]), abs=1e-4)
    assert both["p_below_0.05"] == sum(p < 0.05 for p in both["permutation_p"])
    assert [run["cohorts"] for run in both["runs"]] == [2, 2]
    assert both["runs"][0]["mean_c_index"] != both["runs"][1]["mean_c_index"]
    # of cohorts of another size no mean is taken
    for number, size in enumerate((30, 40)):
        (tmp_path / f"{number}.json").write_text(json.dumps({**both, "patients_each": size}))
    with pytest.raises(SystemExit, match=r"\[30, 40\] patients"):
        score_null.main(["--printed", str(tmp_path / "0.json"), str(tmp_path / "1.json")])


def test_the_pooled_figures_of_nothing_are_those_of_the_runs_that_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    kept = [str(goal_figures.RESULTS / name) for name in ("null.json", "null_seed_2.json")]
    score_null.main(["--printed", *kept])
    assert json.loads(capsys.readouterr().out) == json.loads((goal_figures.RESULTS / "null_pooled.json").read_text())


def test_a_card_takes_the_figures_that_the_recipes_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    shutil.copytree(SHIPPED, model)
    before = load_bundle(model)
    assert goal_figures.main(["--model", str(model)]) == 0
    after = load_bundle(model)
    assert after.weights == before.weights
    found = goal_figures.goal_figures()
    assert {name: each for name, each in after.card.metrics.items() if name.startswith("goal_")} == found
    own = {name for name in before.card.metrics if not name.startswith("goal_")}
    assert own == {name for name in after.card.metrics if not name.startswith("goal_")}
    spatial = json.loads((goal_figures.RESULTS / "spatial.json").read_text())
    assert found["goal_spatial_c_index"].value == spatial["model"]["survival"]["c_index"]["value"]
    assert all(name in capsys.readouterr().out for name in list(found)[:1])
    # what was never run has no figure
    assert goal_figures.goal_figures(tmp_path) == {}
