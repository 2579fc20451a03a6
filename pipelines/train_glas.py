"""Train on GlaS by ``wsigraph train`` itself, with one patient left out at a time, and score malignancy.

    python -m pipelines.train_glas DIR OUT [--encoder efficientnet_lite0] [--design earned --design offset ...]

DIR is as for ``pipelines.score_glas``. Graphs and a manifest are written into OUT, then the command trains on them as
a user would: ``--task stage --group site --folds 15``, with the two stage names. Three patients have benign and
malignant images, and a patient has one stage, so the manifest lists images as patients and patients as sites; a fold
holds out all images of a patient. ``--design`` adds the offset alone, and the correction in full, beside the default.
Prints JSON: AUC over all images and within patients of both kinds, log loss, and what the corrections earned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.score_glas import CLASSES, malignancy, read_images
from wsigraph.cohort.manifest.manifest import write_manifest
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.config import Config, load
from wsigraph.run.train_cohort import train
from wsigraph.store import save_graph
from wsigraph.training.dataset import Example

MANIFEST = "data_manifest.csv"
N_PATIENTS = 15
DESIGNS = ("earned", "offset", "full")


def write_cohort(examples: list[Example], out: Path) -> Path:
    """Write superpixel graphs and a manifest in which an image is a patient and a patient is a site."""
    rows = []
    for number, example in enumerate(examples):
        name = f"image{number + 1:02d}"
        save_graph(example.graph, out / "graphs" / name / "graph.safetensors")  # type: ignore[arg-type]
        rows.append(
            ManifestRow(
                line=number + 2,
                slide_id=name,
                patient_id=name,
                site=f"patient{example.patient}",
                path=None,
                mpp=None,
                stage=None if example.stage is None else CLASSES[example.stage],
                grade=None,
                time_days=None,
                event=None,
                split=None,
                sha256=None,
                free={},
            )
        )
    write_manifest(rows, out / MANIFEST)
    return out / MANIFEST


def score_design(manifest: Path, out: Path, settings: Config, *, seed: int, workers: int) -> dict[str, Any]:
    """Train one design on the written cohort and return its scores."""
    result = train(
        manifest,
        manifest.parent / "graphs",
        out,
        settings,
        n_folds=N_PATIENTS,
        group="site",
        seed=seed,
        workers=workers,
        restart=True,
    )
    held_out = result.ensemble.held_out
    patient = np.unique(held_out.site, return_inverse=True)[1]
    probability = held_out.stage_probability[:, 1]
    own = np.where(held_out.stage == 1, probability, 1.0 - probability)
    cards = [member.correction for member in result.ensemble.bundle.card.members if member.correction is not None]
    return {
        **malignancy(probability, held_out.stage, patient),
        "log_loss": round(float(-np.log(np.maximum(own, 1e-6)).mean()), 4),
        "earned": [card.stage_fraction for card in cards],
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--design", choices=DESIGNS, action="append", default=None, help="all by default")
    parser.add_argument("--inputs", choices=("features", "encoding", "both"), action="append", default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    encoder = [] if options.encoder is None else [f"feature.encoder={options.encoder}"]
    cohort = ["model.task=stage", f"model.stage_names={json.dumps(CLASSES)}"]
    manifest = options.out / MANIFEST
    if not manifest.is_file():
        _, superpixels, _, _ = read_images(options.directory, load([], encoder))
        write_cohort(superpixels, options.out)
    inputs = options.inputs or (["features"] if options.encoder is None else ["features", "encoding", "both"])
    shown: dict[str, Any] = {}
    for name in inputs:
        for design in options.design or DESIGNS:
            settings = load([], [*cohort, f"model.inputs={name}", f"model.design={design}"])
            directory = options.out / f"{name}_{design}"
            shown[f"{name}, {design}"] = score_design(
                manifest, directory, settings, seed=options.seed, workers=options.workers
            )
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
