"""Score the names of tissue: glands of GlaS against the rest of the tissue, and coverage on painted tissue.

    python -m pipelines.score_tissue_names DIR [--model MODEL] [--painted 16]

DIR holds ``images/``, ``labels/`` and ``grades.csv`` of GlaS (85 images of 15 patients; evaluation only, nothing is
trained on them). Every pixel of tissue has the score of its superpixel; white pixels, lumen among them, are left out
and scored by themselves: how many white pixels of glands are glass on the map. The AUC is computed by patient over all
pixels of the patient, and averaged; intervals draw whole patients. Painted slides have stains and scanners that no
model has seen and known classes; they show how often the conformal set of a region holds its class. Prints JSON, one
object for each.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsigraph import build_graph, read, segment
from wsigraph.cohort.metrics.bootstrap import draw_weights
from wsigraph.config import Config
from wsigraph.geometry import Box, Size
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.graph.tissue_class.annotated import AnnotatedSlide, annotate
from wsigraph.graph.tissue_class.class_features import class_feature_names
from wsigraph.graph.tissue_class.node_classifier import NodeClassifier, load_node_classifier, softmax
from wsigraph.slide.roi import read_roi
from wsigraph.synthesis.simulation.layout import TISSUES, sample_layout, sample_tessellation
from wsigraph.synthesis.simulation.procedural import sample_site
from wsigraph.synthesis.simulation.pyramid import paint_slide
from wsigraph.training.train_tissue_classes import Candidate, train_tissue_classes

MPP = 0.62
PAINTED_FIT = Candidate("regression on own features, ridge 0.01", neighbours=False, hidden=0, penalty=0.01)
"""How the model of painted tissue is fitted: one candidate, so that its held-out scores are of no choice."""
_WHITE = 224


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredImage:
    """Pixels of one image, by superpixel.

    Attributes
    ----------
    patient, grade : str
        Of the image.
    gland, rest : int64 (N,)
        Tissue pixels of each superpixel inside and outside glands.
    white_gland, white_rest : int64 (N,)
        White pixels likewise.
    scores : dict of str to float64 (N,)
        By method.
    glass : bool (N,)
        Superpixels that are glass.
    holds, others : bool (N,)
        Whether the conformal set holds epithelium, and whether it holds another class.
    """

    patient: str
    grade: str
    gland: NDArray[np.int64]
    rest: NDArray[np.int64]
    white_gland: NDArray[np.int64]
    white_rest: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]
    glass: NDArray[np.bool_]
    holds: NDArray[np.bool_]
    others: NDArray[np.bool_]


def score_image(directory: Path, row: dict[str, str], model: NodeClassifier, settings: Config) -> ScoredImage:
    """Return the scores of one image."""
    with read(directory / "images" / f"{row['image']}.png", mpp=MPP) as slide:
        labels = segment(slide, settings)
        graph = build_graph(slide, labels, settings)
        pixels = slide.read(Box.whole(labels.size), labels.mpp)
    region = np.asarray(labels.labels[:])
    mask = np.asarray(Image.open(directory / "labels" / f"{row['image']}.png"))
    mask = mask if mask.ndim == 2 else mask[..., 0]
    y, x = (
        np.minimum(((np.arange(n) + 0.5) * labels.mpp / MPP).astype(np.int64), limit - 1)
        for n, limit in zip(region.shape, mask.shape, strict=True)
    )
    gland, white = mask[y[:, None], x] > 0, pixels.mean(axis=-1) >= _WHITE
    counts = [
        np.bincount(region[chosen & (region > 0)], minlength=graph.n_nodes + 1)[1:]
        for chosen in (gland & ~white, ~gland & ~white, gland & white, ~gland & white)
    ]
    classes = model.classify(graph)
    column = model.class_names.index("Epithelium")
    features = interpret(graph).values
    return ScoredImage(
        patient=row["patient_id"],
        grade=row["grade"].strip(),
        gland=counts[0],
        rest=counts[1],
        white_gland=counts[2],
        white_rest=counts[3],
        scores={
            "tissue classes": classes.probability[:, column],
            "hematoxylin": features[:, FEATURE_NAMES.index("hematoxylin_mean")],
            "hematoxylin, 10th percentile": features[:, FEATURE_NAMES.index("hematoxylin_p10")],
        },
        glass=classes.is_glass,
        holds=classes.inside[:, column],
        others=np.asarray(np.delete(classes.inside, column, axis=1).any(axis=1)),
    )


def weighted_auc(score: NDArray[np.float64], positive: NDArray[np.int64], negative: NDArray[np.int64]) -> float:
    """Return the AUC over pixels that share the score of their superpixel; ties count half."""
    value, place = np.unique(score, return_inverse=True)
    up = np.bincount(place, positive, len(value)).astype(np.float64)
    down = np.bincount(place, negative, len(value)).astype(np.float64)
    below = np.cumsum(down) - down
    return float((up * (below + 0.5 * down)).sum() / (up.sum() * down.sum()))


def by_patient(images: list[ScoredImage], method: str) -> NDArray[np.float64]:
    """Return the AUC of every patient."""
    scores = []
    for patient in sorted({image.patient for image in images}):
        own = [image for image in images if image.patient == patient]
        scores.append(
            weighted_auc(
                np.concatenate([image.scores[method] for image in own]),
                np.concatenate([image.gland for image in own]),
                np.concatenate([image.rest for image in own]),
            )
        )
    return np.array(scores)


def mean_and_interval(values: NDArray[np.float64], *, seed: int = 1) -> list[float]:
    """Return the mean and its 95 % interval over draws of patients."""
    weights = draw_weights(np.zeros(len(values), np.int64), rng=np.random.default_rng(seed))
    means = weights @ values / weights.sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [round(float(value), 3) for value in (values.mean(), low, high)]


def score_glands(directory: Path, model: NodeClassifier) -> dict[str, Any]:
    """Return the table of GlaS."""
    settings = Config()
    with (directory / "grades.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    images = [score_image(directory, row, model, settings) for row in rows]
    parts = {"all": images} | {
        grade: [image for image in images if image.grade == grade] for grade in ("benign", "malignant")
    }
    table: dict[str, Any] = {}
    for name, part in parts.items():
        table[name] = {
            "images": len(part),
            "patients": len({image.patient for image in part}),
            **{method: mean_and_interval(by_patient(part, method)) for method in part[0].scores},
        }
    lumen = sum(int(image.white_gland.sum()) for image in images)
    as_glass = sum(int(image.white_gland[image.glass].sum()) for image in images)
    tissue = sum(int((image.gland + image.rest).sum()) for image in images)
    tissue_glass = sum(int((image.gland + image.rest)[image.glass].sum()) for image in images)
    table["white pixels of glands inside the tissue mask that are glass on the map"] = round(
        as_glass / max(lumen, 1), 3
    )
    table["tissue pixels that are glass on the map"] = round(tissue_glass / tissue, 4)
    table["sets that can be right"] = {name: score_sets(part) for name, part in parts.items()}
    return table


def score_sets(images: list[ScoredImage]) -> dict[str, float]:
    """Return how often the sets of superpixels that are at least 90 % gland, or rest, can be right.

    The set of a gland must hold epithelium. The rest is stroma, muscle, lymphocytes and mucin, which GlaS does not tell
    apart, so its set must hold anything else.
    """
    pure = np.concatenate([image.gland / np.maximum(image.gland + image.rest, 1) for image in images])
    counted = np.concatenate([~image.glass & (image.gland + image.rest > 0) for image in images])
    holds, others = (np.concatenate([getattr(image, name) for image in images]) for name in ("holds", "others"))
    return {
        "gland": round(float(holds[counted & (pure >= 0.9)].mean()), 3),
        "rest": round(float(others[counted & (pure <= 0.1)].mean()), 3),
    }


def paint_annotated(folder: Path, *, seed: int) -> AnnotatedSlide:
    """Paint a slide of a random stain and scanner, and return its superpixels with their true classes."""
    rng = np.random.default_rng([20, seed])
    tumour, necrosis = float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.05, 0.12))
    tessellation = sample_tessellation(Size(7, 7), 26, rng=rng, grain=4)
    regions = sample_layout(tessellation.regions.shape, tumour_fraction=tumour, necrosis_fraction=necrosis, rng=rng)
    layout = tessellation.to_layout(regions)
    image = paint_slide(layout, tessellation, mpp=1.0, glass_um=60.0, site=sample_site(rng=rng), rng=rng)
    path, truth = folder / f"painted_{seed}.png", folder / f"painted_{seed}_classes.png"
    Image.fromarray(image).save(path)
    classes = np.zeros(image.shape[:2], np.uint8)
    inner = tessellation.labels[1:-1, 1:-1]
    margin = (image.shape[0] - inner.shape[0]) // 2
    own = layout.classes.ravel()[inner - 1] + 1
    classes[margin : margin + inner.shape[0], margin : margin + inner.shape[1]] = own
    Image.fromarray(classes).save(truth)
    with read(path, mpp=1.0) as slide:
        labels = segment(slide, Config())
        graph = build_graph(slide, labels, Config())
        annotated = annotate(graph, labels, read_roi(truth, slide))
    names = tuple(TISSUES[int(name) - 1] for name in annotated.class_names)
    return replace(annotated, class_names=names)


def score_painted(n_train: int, n_test: int) -> dict[str, Any]:
    """Return the coverage of the sets on painted slides of stains and scanners that were not trained on."""
    with tempfile.TemporaryDirectory() as folder:
        slides = [paint_annotated(Path(folder), seed=number) for number in range(n_train + n_test)]
    trained = train_tissue_classes(slides[:n_train], candidates=[PAINTED_FIT])
    model, width = trained.model, len(class_feature_names(neighbours=trained.model.neighbours))
    covered: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in model.class_names}
    sizes = []
    for slide in slides[n_train:]:
        probability = softmax(model.logits(slide.values[:, :width]) / model.temperature)
        inside = probability >= model.thresholds
        sizes.append(inside.sum(axis=1))
        for number, name in enumerate(slide.class_names):
            rows = slide.label == number
            if name in covered and rows.any():
                covered[name].append(inside[rows, model.class_names.index(name)])
    size = np.concatenate(sizes)
    return {
        "slides": [n_train, n_test],
        "chosen": trained.scores["chosen"],
        "balanced_accuracy_held_out": trained.scores["balanced_accuracy"],
        "coverage": {
            name: [round(float(np.concatenate(parts).mean()), 3), int(sum(len(part) for part in parts)), len(parts)]
            for name, parts in covered.items()
        },
        "one class": round(float((size == 1).mean()), 3),
        "unnamed": round(float(((size == 0) | (size > 2)).mean()), 3),
    }


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--model", type=Path, default=None, help="model of train-tissue; by default the shipped one")
    parser.add_argument("--painted", type=int, default=16, help="painted slides to train on, and as many to test on")
    options = parser.parse_args()
    model = load_node_classifier(options.model)
    print(json.dumps({"glands": score_glands(options.directory, model)}, indent=1), flush=True)
    if options.painted:
        print(json.dumps({"painted": score_painted(options.painted, options.painted)}, indent=1))


if __name__ == "__main__":
    main()
