"""Make the small cohort that the notebooks read: ``python -m pipelines.make_notebook_cohort``.

Writes ``notebooks/made/``: a simulated cohort as graphs, a model trained on it, and the slides and clinical table of a
simulated hospital. All are small enough to run interactively. Commands that a user would type are printed. Existing
files are not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd

from wsigraph.config import load
from wsigraph.synthesis.simulation.write_cohort import simulate_cohort, write_cohort

_CLINICAL = ("patient_id", "site", "stage", "time_days", "event")
_SMALL = ("synthesis.min_side=5", "synthesis.max_side=6", "synthesis.second_slide_fraction=0", "synthesis.sites=2")


def main(arguments: list[str] | None = None) -> int:
    """Make the files that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("notebooks/made"), help="where to write")
    parser.add_argument("--patients", type=int, default=160, help="patients of the cohort of graphs")
    parser.add_argument("--slides", type=int, default=24, help="slides of the hospital")
    options = parser.parse_args(arguments)
    cohort, model, hospital = (options.out / name for name in ("cohort", "model", "hospital"))
    if not (cohort / "data_manifest.csv").is_file():
        _wsigraph("simulate", "--out", cohort, "--patients", options.patients, "--seed", 1)
    if not (model / "held_out.json").is_file():
        _wsigraph("train", cohort / "data_manifest.csv", "--graphs", cohort, "--out", model, "--folds", 3)
    if not (hospital / "clinical.csv").is_file():
        print(f"painting {options.slides} slides into {hospital}", flush=True)
        settings = load([], _SMALL)
        write_cohort(simulate_cohort(options.slides, settings, seed=2), hospital, settings, seed=2, images=True)
        _reduce_to_clinical_table(hospital)
    return 0


def _wsigraph(*arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print(f"wsigraph {' '.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "wsigraph", *words], check=True)  # noqa: S603 - our own command


def _reduce_to_clinical_table(hospital: Path) -> None:
    """Replace the manifest by a clinical table, with one row for each slide file."""
    manifest = pd.read_csv(hospital / "data_manifest.csv")
    clinical = manifest[list(_CLINICAL)].assign(file=manifest["path"].map(lambda path: Path(path).name))
    clinical.to_csv(hospital / "clinical.csv", index=False)
    (hospital / "data_manifest.csv").unlink()


if __name__ == "__main__":
    raise SystemExit(main())
