from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command import command
from wsigraph.cohort.manifest.manifest import ManifestRow, read_manifest, write_manifest
from wsigraph.config import Config
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle, patient_digest, save_bundle
from wsigraph.run.validate_model import validate
from wsigraph.store import save_graph
from wsigraph.synthesis.simulation.simulate import build_library, sample_sites, simulate
from wsigraph.training.evaluation.refit_baselines import predict_new_patients
from wsigraph.training.load_cohort import load_cohort

N = 48


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with graphs and manifest of 48 simulated patients of two sites; the first has two slides."""
    out = tmp_path_factory.mktemp("other_cohort")
    settings = Config()
    small = settings.synthesis.model_copy(update={"sites": 2, "library_side": 3, "min_side": 4, "max_side": 5})
    rng = np.random.default_rng(9)
    library = build_library(sample_sites(2, rng=rng), small, rng=rng)
    rows, names = [], settings.model.stage_names
    for number, patient in enumerate(simulate(N + 1, library, small, rng=rng)):
        slide = f"slide-{number}"
        save_graph(replace(patient.graph, slide_id=slide), out / slide / "graph.safetensors")
        outcome = rows[0] if number == N else None
        time_days = patient.outcome.time_days if outcome is None else outcome.time_days
        event = bool(patient.outcome.event) if outcome is None else bool(outcome.event)
        stage = None if patient.outcome.stage is None else names[patient.outcome.stage]
        rows.append(
            ManifestRow(
                line=number + 2,
                slide_id=slide,
                patient_id=f"patient-{number % N}",
                site=f"site{number % N % 2}",
                path=None,
                mpp=None,
                stage=stage if outcome is None else outcome.stage,
                grade=None,
                time_days=time_days,
                event=event,
                split=None,
                sha256=None,
                free={"DSS.time": str(time_days), "DSS": str(int(event and number % 3 > 0)), "OS": str(int(event))},
            )
        )
    write_manifest(rows, out / "data_manifest.csv")
    return out


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("validate", *arguments), capture_output=True, text=True, check=False)


def test_one_command_writes_document_page_and_table(cohort_dir: Path, tmp_path: Path) -> None:
    done = run(
        str(SHIPPED),
        str(cohort_dir / "data_manifest.csv"),
        "--graphs",
        str(cohort_dir),
        "--out",
        str(tmp_path),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["n_patients"] == N
    assert document["cohort"]["n_slides"] == N + 1
    for score in (document["survival"]["c_index"], document["calibration"]["slope"]):
        assert score["low"] <= score["value"] <= score["high"]
    assert document["survival"]["c_index"]["n_pairs"] > 0
    assert {site["site"] for site in document["sites"]} == {"site0", "site1"}
    assert document["recalibration"]["cumulative_hazard"] == sorted(document["recalibration"]["cumulative_hazard"])
    assert "count like 2.0 of equal size" in done.stderr
    page = (tmp_path / "validation.html").read_text()
    assert "Decision curve" in page
    assert "Recalibration" in page
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == N + 1


def test_the_slides_of_a_patient_are_joined_as_in_training(cohort_dir: Path, tmp_path: Path) -> None:
    validate(SHIPPED, cohort_dir / "data_manifest.csv", cohort_dir, tmp_path, days=(365,))
    bundle = load_bundle(SHIPPED)
    names = bundle.card.config.stage_names
    rows = read_manifest(cohort_dir / "data_manifest.csv", stage_names=names, check_files=False).rows
    two = [row for row in rows if row.patient_id == "patient-0"]
    assert len(two) == 2
    joined = load_cohort(two, cohort_dir, stage_names=names, model=bundle.card.config)
    expected = predict_new_patients(bundle, joined).average.risk[0]
    lines = (tmp_path / "predictions.csv").read_text().splitlines()
    risk = float(lines[1].split(",")[lines[0].split(",").index("risk")])
    # the network is of 32 bits, and graphs are read in batches
    assert risk == pytest.approx(expected, abs=1e-6)


def test_patients_of_the_training_cohort_are_refused(cohort_dir: Path, tmp_path: Path) -> None:
    bundle = load_bundle(SHIPPED)
    known = bundle.card.seen.model_copy(
        update={"patients": {**bundle.card.seen.patients, patient_digest("patient-7"): 0}}
    )
    save_bundle(
        ModelBundle(card=bundle.card.model_copy(update={"seen": known}), weights=bundle.weights), tmp_path / "m"
    )
    done = run(
        str(tmp_path / "m"), str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(tmp_path)
    )
    assert done.returncode == 1
    assert "1 of 48 patients belong to the training cohort" in done.stderr
    assert "(patient-7)" in done.stderr
    assert not (tmp_path / "validation.json").exists()


def test_another_endpoint_with_competing_events_has_its_incidences(cohort_dir: Path, tmp_path: Path) -> None:
    done = run(
        str(SHIPPED), str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(tmp_path),
        "--time", "DSS.time", "--event", "DSS", "--competing", "OS", "--json",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["cohort"]["endpoint"] == "DSS in DSS.time, competing: OS"
    own, other = (
        sum(part["n_events"] for name, part in document["competing"].items() if name.startswith(prefix))
        for prefix in ("event", "competing")
    )
    assert own == document["n_events"]
    assert other == document["cohort"]["n_competing"] > 0
    assert "Aalen-Johansen" in (tmp_path / "validation.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--time", "PFI.time"), "no column 'PFI.time'; it has time_days, event, DSS.time, DSS, OS"),
        (("--event", "DSS.time"), "expected 0 (none), 1 (event)"),
        (("--graphs", "nowhere"), "49 of 49 slides have no graph"),
    ],
)
def test_bad_input_says_what_to_do(cohort_dir: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    given = [str(SHIPPED), str(cohort_dir / "data_manifest.csv"), "--graphs", str(cohort_dir), "--out", str(tmp_path)]
    done = run(*given, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
