"""Score malignancy on GlaS with whole patients left out.

    python -m pipelines.score_glas DIR [--encoder efficientnet_lite0]

DIR holds ``images/`` and ``grades.csv`` (Sirinukunwattana et al., Medical Image Analysis 2017): 85 images of 15
patients, three of them with benign and malignant images. Each patient is left out in turn. Intervals draw whole
patients; "within mixed patients" compares only images of one patient. Prints JSON.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph import build_graph, coarsen, read, segment
from wsigraph.cohort.metrics.bootstrap import draw_weights, estimate
from wsigraph.cohort.metrics.concordance import area_under_curve
from wsigraph.cohort.metrics.stage import quadratic_kappa
from wsigraph.config import Config, load
from wsigraph.graph.feature.interpret import FEATURE_GROUPS
from wsigraph.model.columns import NodeColumns
from wsigraph.records import TissueGraph
from wsigraph.training.dataset import Example, collect
from wsigraph.training.evaluation.baselines import BaselineTask, network, ridge_on
from wsigraph.training.evaluation.pooled import means_and_stds
from wsigraph.training.evaluation.ridge import mean_stage_ridge

MPP = 0.62
CLASSES = ("benign", "malignant")
GRADES = (
    "healthy",
    "adenomatous",
    "moderately differentiated",
    "moderately-to-poorly differentated",
    "poorly differentiated",
)


def read_images(
    directory: Path, settings: Config
) -> tuple[list[Example], list[Example], NDArray[np.float64], NDArray[np.int64]]:
    """Return images as regions and as superpixels, the mean encoding of each, and their differentiation grade."""
    with (directory / "grades.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    regions, superpixels, encodings = [], [], []
    for row in rows:
        with read(directory / "images" / f"{row['image']}.png", mpp=MPP) as slide:
            graph = build_graph(slide, segment(slide, settings), settings)
        encodings.append(mean_encoding(graph))
        stage = CLASSES.index(row["grade"].strip())
        superpixels.append(Example(graph=graph, patient=row["patient_id"], stage=stage))
        regions.append(replace(superpixels[-1], graph=coarsen(graph, settings.coarsening)))
    grades = np.array([GRADES.index(row["differentiation"].strip()) for row in rows])
    return regions, superpixels, np.array(encodings), grades


def mean_encoding(graph: TissueGraph) -> NDArray[np.float64]:
    """Return the mean over an image's pixels of its encoding, or one zero where there is no encoder."""
    sums = graph.encoding_sum
    return np.zeros(1) if sums is None else sums.sum(axis=0) / graph.moment("n").sum()


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="a setting, e.g. model.layers=2")
    options = parser.parse_args()
    encoder = [] if options.encoder is None else [f"feature.encoder={options.encoder}"]
    own = [
        "model.task=stage",
        "model.design=network",
        'model.stage_names=["benign","malignant"]',
        "model.layers=2",
        "model.channels=8",
    ]
    settings = load([], [*own, "model.epochs=30", "model.dropout=0.3", *encoder, *options.overrides])
    regions, superpixels, encoding, grades = read_images(options.directory, settings)
    cohort = collect(regions, CLASSES)
    patient = np.unique(cohort.patient, return_inverse=True)[1]
    task = BaselineTask(cohort=cohort, fold=patient, config=settings.model, seed=options.seed)
    pooled = means_and_stds(cohort)
    colour = np.tile(np.array(FEATURE_GROUPS) == "stain", 2)
    tables = {"features": pooled, "features_without_colour": pooled[:, ~colour], "colour": pooled[:, colour]}
    if options.encoder is not None:
        tables |= {"encoder": encoding, "encoder_and_features": np.concatenate([encoding, pooled], axis=1)}
    shown: dict[str, Any] = {"images": cohort.n_rows, "patients": int(patient.max()) + 1}
    for name, table in tables.items():
        answers = ridge_on(task, lambda _, table=table: table)  # type: ignore[misc]
        shown[f"ridge on {name}"] = malignancy(answers.stage_probability[:, 1], cohort.stage, patient)
    fine = means_and_stds(collect(superpixels, CLASSES))
    six = [x[:, kept] for x in (pooled, fine, np.concatenate([pooled, fine], axis=1)) for kept in chosen(x, colour)]
    means = {"features": six}
    if options.encoder is not None:
        means |= {"encoder": [encoding], "encoder and features": [np.concatenate([encoding, x], axis=1) for x in six]}
    for name, of in means.items():
        probability = np.zeros(cohort.n_rows)
        for number in task.folds:
            train = np.flatnonzero(patient != number)
            probability[patient == number] = mean_stage_ridge(of, cohort.stage, train, 2)[patient == number, 1]
        shown[f"mean of {3 * len(of)} ridges on {name}"] = malignancy(probability, cohort.stage, patient)
    for name, inputs in networks(options.encoder).items():
        config = settings.model.model_copy(update={"inputs": inputs})
        read = collect(regions, CLASSES, columns=NodeColumns.of(config))
        answers = network(replace(task, cohort=read, config=config), {}, workers=options.workers)
        shown[f"graph attention network on {name}"] = malignancy(answers.stage_probability[:, 1], cohort.stage, patient)
    five = settings.model.model_copy(update={"stage_names": GRADES})
    graded = replace(task, cohort=replace(cohort, stage=grades), config=five)
    predicted = ridge_on(graded, lambda _: pooled).stage_probability.argmax(axis=1)
    shown["ridge on features, five grades, quadratic kappa"] = round(float(quadratic_kappa(predicted, grades, 5)[0]), 3)
    print(json.dumps(shown, indent=1))


def chosen(x: NDArray[np.float64], colour: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which columns of a pooled table count: all of them, and all but those of colour."""
    return np.ones(x.shape[1], np.bool_), ~np.tile(colour, x.shape[1] // len(colour))


def networks(encoder: str | None) -> dict[str, str]:
    """Return what the network reads, by what it is called."""
    with_encoder = {"encoder": "encoding", "encoder and features": "both"}
    return {"features": "features"} | ({} if encoder is None else with_encoder)


def malignancy(
    probability: NDArray[np.float64], stage: NDArray[np.int64], patient: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Return the AUC over all images and within patients of both kinds, with intervals over patients."""
    weights = draw_weights(np.zeros_like(patient), cluster=patient, rng=np.random.default_rng(0))
    shown = {}
    for name, stratum in (("auc", None), ("within_mixed_patients", patient)):
        positive, negative = weights * (stage == 1), weights * (stage == 0)
        if stratum is not None:
            # a patient drawn twice is two patients, whose images are not compared with each other
            positive = np.minimum(positive, 1.0)
        interval = estimate(area_under_curve(probability, positive, negative, stratum=stratum))
        shown[name] = {
            "value": round(interval.value, 4),
            "low": round(interval.low, 4),
            "high": round(interval.high, 4),
        }
    return shown


if __name__ == "__main__":
    main()
