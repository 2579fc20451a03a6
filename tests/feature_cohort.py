"""A cohort of feature files alone: a stage planted in a direction of the features, and survival that follows it."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np

STAGES = ("I", "II", "III", "IV")
SIDE = 512


def write_feature_cohort(folder: Path, n_patients: int, *, n_features: int = 512, seed: int = 5) -> Path:
    """Write ``features/P000.h5`` ..., the clinical table ``clinical.csv``, and ``manifest.csv``; return the folder."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal(n_features) / 8
    (folder / "features").mkdir(parents=True, exist_ok=True)
    clinical, manifest = [], []
    for number in range(n_patients):
        stage = number % 4
        n_tiles = int(rng.integers(30, 60))
        features = rng.standard_normal((n_tiles, n_features))
        tumour = rng.random(n_tiles) < 0.5
        features[tumour] += 3 * (stage - 1.5) * direction
        name = f"P{number:03d}"
        with h5py.File(folder / "features" / f"{name}.h5", "w") as file:
            file["coords"] = np.array([(SIDE * (tile % 8), SIDE * (tile // 8)) for tile in range(n_tiles)]) + SIDE
            file["features"] = features.astype(np.float32)
        event_days = rng.exponential(1500 / np.exp(0.8 * (stage - 1.5)))
        censored_days = rng.uniform(300, 3000)
        days, event = round(min(event_days, censored_days)) + 1, int(event_days <= censored_days)
        site = ("Nord", "Süd", "West")[number % 3]
        clinical.append([name, STAGES[stage], days, ("alive", "dead")[event], site, 50 + number % 30])
        manifest.append([name, name, f"features/{name}.h5", 0.5, STAGES[stage], days, event, site])
    write_rows(folder / "clinical.csv", ["patient", "stage", "OS_days", "vital_status", "site", "age"], clinical)
    columns = ["slide_id", "patient_id", "features", "mpp", "stage", "time_days", "event", "site"]
    write_rows(folder / "manifest.csv", columns, manifest)
    return folder


def write_rows(path: Path, header: list[str], rows: list[list[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
