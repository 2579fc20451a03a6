"""Score survival and stage on TCGA-KIRC, by left-out site, and by patient compared with the site alone.

    python -m pipelines.score_tcga_kirc DIR [--set model.linear_offset=false ...]

DIR holds ``slides.csv`` and ``region_embeddings_f16.npy`` (region encodings of Chen et al., CVPR 2022, without
coordinates, so edges go by similarity; outcomes of TCGA-CDR, Liu et al., Cell 2018). By site: each site of 30 patients
or more is left out in turn, the others together; pairs within a site; whole sites are drawn. The network starts at
stacked ridges (``model.linear_offset``). Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.options import add_renamed
from wsigraph.cohort.manifest.splits import folds, site_folds
from wsigraph.cohort.metrics.bootstrap import draw_weights, estimate
from wsigraph.cohort.metrics.concordance import area_under_curve
from wsigraph.config import load
from wsigraph.training.dataset import Cohort, join_patients
from wsigraph.training.ensemble import train_folds
from wsigraph.training.evaluation.baselines import BaselineTask
from wsigraph.training.evaluation.evaluation_document import score_within
from wsigraph.training.evaluation.feature_bags import bag_input
from wsigraph.training.evaluation.refit_baselines import RECIPE

STAGES = {"Stage I": 0, "Stage II": 1, "Stage III": 2, "Stage IV": 3}
BASELINES = (
    "attention_mil",
    "pooled_forest",
    "pooled_ridge",
    "edge_product_ridge",
    "site_only",
    "clinical",
    "clinical_and_image",
)


def read_cohort(directory: Path) -> Cohort:
    """Return one row a patient of known overall survival."""
    table = np.load(directory / "region_embeddings_f16.npy", mmap_mode="r")
    with (directory / "slides.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["os_days"] and float(row["os_days"]) > 0]
    inputs = []
    for row in rows:
        first, n = int(row["first_region"]), int(row["n_regions"])
        inputs.append(bag_input(table[first : first + n].astype(np.float64)))
    return join_patients(
        Cohort(
            inputs=inputs,
            patient=np.array([row["patient_id"] for row in rows]),
            site=np.array([row["site"] for row in rows]),
            slides=tuple((row["slide_id"],) for row in rows),
            covariates=tuple({name: row[name] for name in ("age", "gender", "grade")} for row in rows),
            stain=np.full((len(rows), 8), np.nan),
            stage=np.array([STAGES.get(row["stage"], -1) for row in rows], np.int64),
            time_days=np.array([float(row["os_days"]) for row in rows]),
            event=np.array([float(row["os_event"]) == 1 for row in rows]),
            moment_id="none",
            feature_id="region encodings",
            embedding_id=None,
            feature_names=tuple(f"encoding_{k}" for k in range(table.shape[1])),
        )
    )


def advanced_auc(
    probability: NDArray[np.float64], stage: NDArray[np.int64], fold: NDArray[np.int64]
) -> dict[str, float]:
    """Return the AUC of stages III and IV against I and II, pairs within a fold, with its interval over patients."""
    weights = draw_weights(fold, rng=np.random.default_rng(0))
    interval = estimate(
        area_under_curve(
            probability[:, 2:].sum(axis=1),
            weights * (stage >= 2),
            weights * ((stage == 0) | (stage == 1)),
            stratum=fold,
        )
    )
    return {"value": round(interval.value, 4), "low": round(interval.low, 4), "high": round(interval.high, 4)}


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--split", choices=("by_site", "by_patient"), action="append", default=None, help="both by default"
    )
    add_renamed(
        parser, "--baseline", "--rival", choices=BASELINES, action="append", default=None, help="all by default"
    )
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args()
    cox = ["model.design=network", "model.survival_head=cox", "model.linear_offset=true"]
    small = ["model.layers=1", "model.dropout=0.3", "model.weight_decay=0.1"]
    slow = ["model.batch_graphs=64", "model.learning_rate=1e-3", "model.epochs=40"]
    config = load([], [*cox, *small, *slow, *options.overrides]).model
    cohort = read_cohort(options.directory)
    site = np.unique(cohort.site, return_inverse=True)[1]
    patients, events = cohort.patient.tolist(), cohort.event.tolist()
    shown: dict[str, Any] = {"patients": cohort.n_rows, "events": int(cohort.event.sum()), "sites": int(site.max()) + 1}
    by_site = site_folds(patients, cohort.site.tolist())
    by_patient = folds(patients, n_folds=5, stage=cohort.stage.tolist(), event=events, seed=options.seed)
    for name, fold, stratum, cluster in (
        ("by_site", by_site, site, site),
        ("by_patient", by_patient, by_patient, None),
    ):
        if name not in (options.split or ("by_site", "by_patient")):
            continue
        ensemble = train_folds(cohort, fold, [config], seed=options.seed, about=RECIPE, workers=options.workers)
        task = BaselineTask(cohort=cohort, fold=fold, config=config, seed=options.seed)
        shown[name] = score_within(
            ensemble, task, stratum, options.baseline or BASELINES, cluster=cluster, workers=options.workers
        )
        shown[name]["stage_iii_iv_auc"] = advanced_auc(ensemble.held_out.stage_probability, cohort.stage, fold)
        shown[name]["epochs"] = [fitted.n_epochs for fitted in ensemble.fitted]
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
