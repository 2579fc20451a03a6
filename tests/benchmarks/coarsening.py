"""How well coarsening preserves real tissue at equal region count: glands and nuclei outlined by pathologists.

Embeddings are learned without labels, in five folds by patient: no image is merged by weights that saw its patient.
Purity is the fraction of pixels that belong to their region's majority class (gland or not, nucleus or not); boundary
recall is the fraction of the outlines within 2 px of a region's boundary. Both are means over patients of means over
images; intervals are 95 % of 2,000 bootstrap draws of patients, of paired differences.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import spearmanr

import wsigraph
from tests.benchmarks import merging
from tests.benchmarks.merging import Case, Labels, Method
from tests.benchmarks.table import Table
from tests.benchmarks.truth import SHARED, Scene, boundary_quality, regions_of
from wsigraph.config import load
from wsigraph.geometry import Box
from wsigraph.graph.coarsening.embed import Embedding, load_embedding
from wsigraph.graph.coarsening.train_embedding import train_embedding

RATIOS = (4, 10)
N_FOLDS = 5
DRAWS = 2000
CELL_PX = 80
OURS = "learned (wsigraph)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a data set is segmented, and the settings of the teacher of its embedding."""

    file_mpp: float
    mpp: float
    spacing_um: float
    teacher_ratio: float
    teacher_context: float


GLANDS = Setting(file_mpp=0.62, mpp=1.0, spacing_um=30.0, teacher_ratio=15.0, teacher_context=0.5)
# a nucleus is two or three superpixels of 6 um and stands out from its neighbours
NUCLEI = Setting(file_mpp=0.25, mpp=0.5, spacing_um=6.0, teacher_ratio=2.0, teacher_context=0.0)


def open_case(path: Path, truth: NDArray[np.int64], patient: str, setting: Setting) -> Case:
    """Return an image with superpixels over all of its area, and the truth on their grid."""
    config = load(
        overrides=[
            f"superpixel.mpp={setting.mpp}",
            f"superpixel.spacing_um={setting.spacing_um}",
            f"superpixel.min_area_um2={setting.spacing_um**2 / 6}",
            "tissue.min_area_um2=1000",
        ]
    )
    with wsigraph.read(path, mpp=setting.file_mpp) as slide:
        tissue = wsigraph.find_tissue(slide, config.tissue, working_mpp=setting.mpp)
        everywhere = np.ones_like(tissue.tissue)
        tissue = dataclasses.replace(tissue, tissue=everywhere, artefact=0 * everywhere, section=0 * tissue.section + 1)
        superpixels = wsigraph.segment(slide, config, tissue=tissue)
        graph = wsigraph.build_graph(slide, superpixels, config)
        rgb = slide.read(Box.whole(slide.size(setting.mpp)), setting.mpp)
    labels = np.asarray(superpixels.labels[:])
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * setting.mpp / setting.file_mpp).astype(int), limit - 1)
        for n, limit in zip(labels.shape, truth.shape, strict=True)
    )
    return Case(patient, rgb, labels, graph, truth[np.ix_(rows, columns)])


def gland_cases(step: int = 1) -> list[Case]:
    """Return every `step`-th GlaS image; empty if the data is absent."""
    folder = SHARED / "glas_train"
    if not folder.is_dir():
        return []
    with (folder / "grades.csv").open(encoding="utf-8") as file:
        patient = {row["image"]: row["patient_id"] for row in csv.DictReader(file)}
    return [
        open_case(
            path,
            np.asarray(Image.open(folder / "labels" / path.name)).astype(np.int64),
            patient[path.stem],
            GLANDS,
        )
        for path in sorted((folder / "images").glob("*.png"))[::step]
    ]


def nucleus_cases() -> list[Case]:
    """Return the MoNuSeg tiles, each of another patient; empty if the data is absent."""
    return [
        open_case(
            path.with_name(path.name.replace("_nuclei", "")),
            regions_of(np.asarray(Image.open(path).convert("L")) > 0),
            path.name[:12],
            NUCLEI,
        )
        for path in sorted((SHARED / "monuseg_train").glob("*_nuclei.png"))
    ]


def made_cases(scenes: Sequence[Scene], folder: Path) -> list[Case]:
    """Return made scenes, each as a patient of its own."""
    cases = []
    for k, scene in enumerate(scenes):
        path = folder / f"scene_{k}.png"
        Image.fromarray(scene.rgb).save(path)
        cases.append(open_case(path, scene.truth, str(k), dataclasses.replace(GLANDS, file_mpp=1.0, spacing_um=20.0)))
    return cases


def by_fold(cases: Sequence[Case], setting: Setting) -> list[Embedding]:
    """Return for each case the embedding that was learned without its patient."""
    patients = sorted({case.patient for case in cases})
    fold = {patient: k % N_FOLDS for k, patient in enumerate(patients)}
    trained = {
        k: train_embedding(
            [case.graph for case in cases if fold[case.patient] != k],
            generator=np.random.default_rng(k),
            teacher_ratio=setting.teacher_ratio,
            teacher_context=setting.teacher_context,
        )
        for k in sorted(set(fold.values()))
    }
    return [trained[fold[case.patient]] for case in cases]


def methods(embedding: Embedding) -> dict[str, Method]:
    """Return the compared methods by name, for a case that is merged with this embedding."""
    no_message = dataclasses.replace(embedding, message_weight=0 * embedding.message_weight)
    return {
        OURS: merging.learned(embedding),
        "(a) SLIC, larger superpixels": merging.larger_superpixels,
        "(b) all features, not learned": merging.unlearned(embedding),
        "(c) skimage merge_hierarchical": merging.hierarchical,
        "learned on the slide in the repository (shipped)": merging.learned(load_embedding()),
        "learned, without its message pass": merging.learned(no_message),
        "all features half mixed with neighbours', not learned": merging.unlearned(embedding, 0.5),
        "learned, merged by distance alone": merging.by_other_score(embedding, merging.plain_distance),
        "learned, merged by Felzenszwalb-Huttenlocher": merging.by_other_score(
            embedding, merging.felzenszwalb_huttenlocher
        ),
    }


def purity(labels: Labels, truth: NDArray[np.int64]) -> float:
    """Return the fraction of pixels that belong to their region's majority class, object or background."""
    inside = np.bincount(labels.ravel(), truth.ravel() > 0)
    return float(np.maximum(inside, np.bincount(labels.ravel()) - inside).sum() / labels.size)


def recall(labels: Labels, truth: NDArray[np.int64]) -> float:
    """Return the fraction of the outlines within 2 px of a region's boundary."""
    return boundary_quality(labels, truth).boundary_recall


def density_and_entropy(labels: Labels, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return regions per pixel, and entropy of object against background in bits, of every whole cell of the image."""
    regions_per_pixel = 1 / np.bincount(labels.ravel())[labels]
    rows, columns = (length // CELL_PX for length in labels.shape)

    def cells(values: NDArray[np.float64]) -> NDArray[np.float64]:
        cut = values[: rows * CELL_PX, : columns * CELL_PX]
        return np.asarray(cut.reshape(rows, CELL_PX, columns, CELL_PX).mean((1, 3)).ravel())

    p = np.clip(cells((truth > 0).astype(np.float64)), 1e-12, 1 - 1e-12)
    return np.stack([cells(regions_per_pixel), -p * np.log2(p) - (1 - p) * np.log2(1 - p)])


def over_patients(values: NDArray[np.float64], patients: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean of each patient's images."""
    names = np.array(patients)
    return np.array([values[names == name].mean() for name in sorted(set(patients))])


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean over patients and its 95 % bootstrap interval."""
    drawn = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def mean_and_interval(values: NDArray[np.float64]) -> str:
    """Return a mean and its interval as text."""
    mean, low, high = interval(values)
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def quality_table(
    name: str, cases: Sequence[Case], embeddings: Sequence[Embedding], ratio: float, only: Sequence[str] = ()
) -> tuple[Table, Mapping[str, list[Labels]]]:
    """Return the quality of every method at one region in `ratio` superpixels, and its labels."""
    patients = [case.patient for case in cases]
    names = [method for method in methods(embeddings[0]) if not only or method in only]
    labels: dict[str, list[Labels]] = {method: [] for method in names}
    for case, embedding in zip(cases, embeddings, strict=True):
        n_wanted = max(2, round(case.graph.n_nodes / ratio))
        method_runs = methods(embedding)
        for method in names:
            labels[method].append(method_runs[method](case, n_wanted))

    def by_patient(measure: Callable[[Labels, NDArray[np.int64]], float]) -> dict[str, NDArray[np.float64]]:
        return {
            method: over_patients(
                np.array([measure(image, case.truth) for image, case in zip(labels[method], cases, strict=True)]),
                patients,
            )
            for method in names
        }

    pure, recalled = by_patient(purity), by_patient(recall)
    n_regions = {method: sum(len(np.unique(image)) for image in labels[method]) for method in names}
    table = Table(
        f"Coarsening against {name}: {len(cases)} images of {len(set(patients))} patients, "
        f"{n_regions[OURS]} regions of {sum(case.graph.n_nodes for case in cases)} superpixels",
        ("method", "purity", "boundary recall", "ours above it in purity", "in recall", "regions"),
    )
    for method in names:
        gains = [mean_and_interval(ours[OURS] - ours[method]) if method != OURS else "-" for ours in (pure, recalled)]
        table.rows.append(
            (method, float(pure[method].mean()), float(recalled[method].mean()), *gains, n_regions[method])
        )
    table.notes.append("paired differences by patient, with 95 % bootstrap intervals; above 0: ours is better")
    return table, labels


def density_table(name: str, cases: Sequence[Case], labels: Mapping[str, list[Labels]]) -> Table:
    """Return the correlation of the density of regions with the local entropy of the truth."""
    table = Table(
        f"Density of regions against entropy of the outlines, {name}",
        ("method", "Spearman correlation (95 % interval)"),
    )
    names = np.array([case.patient for case in cases])
    for method, images in labels.items():
        cells = [density_and_entropy(image, case.truth) for image, case in zip(images, cases, strict=True)]
        by_patient = []
        for patient in sorted(set(names)):
            joined = np.concatenate([cells[k] for k in np.flatnonzero(names == patient)], axis=1)
            if np.ptp(joined[1]) > 0:
                by_patient.append(float(spearmanr(joined[0], joined[1]).statistic))
        table.rows.append((method, mean_and_interval(np.array(by_patient))))
    table.notes.append(f"over cells of {CELL_PX} px, within each patient; mean over patients")
    return table


def benchmark() -> list[Table]:
    """Return the tables of every available data set, and name the missing ones."""
    tables, missing = [], []
    for name, cases, setting in (("glands", gland_cases(), GLANDS), ("nuclei", nucleus_cases(), NUCLEI)):
        if not cases:
            missing.append(name)
            continue
        embeddings = by_fold(cases, setting)
        for ratio in RATIOS:
            table, labels = quality_table(name, cases, embeddings, ratio)
            tables.append(table)
        tables.append(density_table(name, cases, labels))
    if missing:
        left_out = Table("Coarsening against outlines", ("method",))
        left_out.notes.append(f"images with {' and '.join(missing)} outlined are not available and were left out")
        tables.append(left_out)
    return tables
