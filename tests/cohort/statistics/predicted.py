"""What a model and a run leave behind, made without training: known hazards, known folds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from wsigraph import store
from wsigraph.cohort.manifest.manifest import write_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow, patient_digest
from wsigraph.records import Prediction
from wsigraph.training.held_out import HeldOut, save_held_out

STAGES = ("I", "II", "III", "IV")
ENDS = np.array([200.0, 400.0, 800.0, 1600.0])


def patients(n: int, *, rng: np.random.Generator, risk_slope: float = 1.0) -> list[ManifestRow]:
    """Patients whose hazard is ``exp(0.3 stage + risk_slope x)`` a thousand days, x in column ``truth``."""
    rows = []
    for number in range(n):
        stage, truth = int(rng.integers(4)), float(rng.normal())
        died = 1000.0 * rng.exponential() / np.exp(0.3 * stage + risk_slope * truth)
        lost = float(rng.uniform(100.0, 3000.0))
        rows.append(
            ManifestRow(
                line=number + 2,
                slide_id=f"slide-{number}",
                patient_id=f"patient-{number}",
                site=f"site-{number % 3}",
                path=None,
                mpp=None,
                stage=STAGES[stage],
                grade=None,
                time_days=round(min(died, lost), 3),
                event=bool(died <= lost),
                split=None,
                sha256=None,
                free={"age": str(int(rng.integers(30, 90))), "sex": "fm"[number // 4 % 2], "truth": repr(truth)},
            )
        )
    return rows


def risk_of(row: ManifestRow) -> float:
    return float(row.free["truth"])


def survival_of(risk: float) -> np.ndarray:
    """Survival to `ENDS` of one whose hazard is ``exp(risk)`` a thousand days."""
    return np.exp(-np.exp(risk) * ENDS / 1000.0)


def model_directory(directory: Path, rows: list[ManifestRow], *, n_folds: int = 4) -> Path:
    """Write what ``wsigraph train`` leaves for `load`."""
    directory.mkdir(parents=True, exist_ok=True)
    fold = np.arange(len(rows)) % n_folds
    stage = np.array([STAGES.index(row.stage) if row.stage else -1 for row in rows])
    # the true stage is the likeliest of two patients in three
    told = np.where(np.arange(len(rows)) % 3 == 0, (np.maximum(stage, 0) + 1) % 4, np.maximum(stage, 0))
    held_out = HeldOut(
        patient=np.array([patient_digest(row.patient_id) for row in rows], np.str_),
        site=np.array([row.site or "" for row in rows], np.str_),
        fold=fold,
        stage=stage,
        time_days=np.array([np.nan if row.time_days is None else row.time_days for row in rows]),
        event=np.array([bool(row.event) for row in rows]),
        stage_probability=np.where(np.eye(4, dtype=bool)[told], 0.7, 0.1),
        ends_days=np.tile(ENDS, (n_folds, 1)),
        survival=np.stack([survival_of(risk_of(row)) for row in rows]),
        risk=np.array([risk_of(row) for row in rows]),
        risk_cut=np.zeros(n_folds),
    )
    save_held_out(held_out, directory, "abc")
    write_manifest(rows, directory / "data_manifest.csv")
    (directory / "card.json").write_text(json.dumps({"stage_names": STAGES}))
    (directory / "run.json").write_text(json.dumps({"manifest": str(directory / "data_manifest.csv")}))
    return directory


def run_directory(directory: Path, rows: list[ManifestRow], relations: list[str]) -> Path:
    """Write what ``wsigraph run`` leaves for `load`."""
    for row, relation in zip(rows, relations, strict=True):
        survival = survival_of(risk_of(row))
        hazard = 1.0 - survival / np.concatenate([[1.0], survival[:-1]])
        prediction = Prediction(
            slide_id=row.slide_id,
            model_id="abc",
            model_name="made",
            stage_names=STAGES,
            stage_probability=np.array([0.1, 0.2, 0.3, 0.4]),
            time_days=ENDS,
            hazard=hazard,
            survival=survival,
            risk=float(np.log(-np.log(survival[-1]))),
            median_survival_days=None,
            notice="made",
            stage_set=("III", "IV"),
            relation=relation,
        )
        (directory / row.slide_id).mkdir(parents=True)
        store.save_prediction(prediction, directory / row.slide_id / "prediction.json")
    write_manifest(rows, directory / "data_manifest.csv")
    (directory / "summary.json").write_text(json.dumps({"manifest": str(directory / "data_manifest.csv")}))
    return directory
