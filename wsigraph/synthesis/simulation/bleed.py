"""How much the features of a single superpixel reveal about its neighbours on painted slides.

In the scenario ``spatial``, single regions should carry no information about the outcome. On graphs drawn from layouts
they carry none. On painted slides, superpixels cross the borders of regions and stain spreads over them, so a
superpixel of lymphocytes beside a nest contains some tumour. This module measures that leak: a ridge regression on the
features of lymphocyte superpixels, fitted on half of the slides, predicts on the other half whether the region of a
superpixel touches tumour. An area under the curve of 0.5 means no leak.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph import store
from wsigraph.config import Config
from wsigraph.errors import SynthesisError
from wsigraph.geometry import um_to_px
from wsigraph.graph.feature.interpret import interpret
from wsigraph.synthesis.simulation.arrange import touches
from wsigraph.synthesis.simulation.layout import LYMPHOCYTES, TUMOUR
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, SimulatedSlide
from wsigraph.synthesis.simulation.write_cohort import GRAPH

LABELS = "superpixels.zarr"
"""Name of the superpixels in a slide's directory."""
_PENALTY = 1.0

Nodes = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Features of the lymphocyte superpixels of a slide, and whether their regions touch tumour."""


def measure_bleed(patients: Iterable[SimulatedPatient], folder: Path, settings: Config) -> dict[str, float]:
    """Return how well the features of single lymphocyte superpixels predict contact, on painted and on drawn graphs.

    Parameters
    ----------
    patients : iterable of SimulatedPatient
        Of the scenario ``spatial``; at least two slides in all.
    folder : Path
        Directory into which ``wsigraph simulate --images`` has written the same patients.
    settings : Config
        The settings they were simulated with.

    Returns
    -------
    dict of str to float
        ``painted`` and ``drawn``, areas under the curve; ``mixed``, the fraction of painted lymphocyte superpixels with
        less than nine tenths of their pixels in one region; ``superpixels``, the number of superpixels.

    Raises
    ------
    StoreError
        If a slide's records are missing or damaged.
    SynthesisError
        If there are not two slides, or none or all of the superpixels touch tumour in a half of them.
    """
    painted: list[Nodes] = []
    drawn: list[Nodes] = []
    mixed: list[NDArray[np.bool_]] = []
    for patient in patients:
        for slide in patient.slides:
            region, purity = _regions_of(slide, folder, settings)
            graph = store.load_graph(folder / slide.slide_id / GRAPH)
            painted.append(_nodes(slide, region, interpret(graph).values))
            drawn.append(_nodes(slide, slide.tessellation.regions.member, interpret(slide.graph).values))
            mixed.append(purity[_is_lymphocytes(slide)[region]] < 0.9)
    fraction = np.concatenate(mixed) if mixed else np.zeros(0)
    return {
        "painted": _curve(painted),
        "drawn": _curve(drawn),
        "mixed": float(fraction.mean()),
        "superpixels": float(len(fraction)),
    }


def _regions_of(slide: SimulatedSlide, folder: Path, settings: Config) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the region of most pixels of each painted superpixel, and the fraction of its pixels in that region."""
    labels = np.asarray(store.load_labels(folder / slide.slide_id / LABELS).labels)
    margin = um_to_px(settings.synthesis.glass_um, settings.synthesis.mpp)
    cells = slide.tessellation.labels[1:-1, 1:-1]
    inside = labels[margin : margin + cells.shape[0], margin : margin + cells.shape[1]]
    n_regions = slide.tessellation.regions.shape.area
    known = inside > 0
    key = (inside[known].astype(np.int64) - 1) * n_regions + slide.tessellation.regions.member[cells[known] - 1]
    table = np.bincount(key, minlength=int(labels.max()) * n_regions).reshape(-1, n_regions)
    return table.argmax(axis=1), table.max(axis=1) / np.maximum(table.sum(axis=1), 1)


def _is_lymphocytes(slide: SimulatedSlide) -> NDArray[np.bool_]:
    return np.asarray(slide.tessellation.region_classes(slide.layout).ravel() == LYMPHOCYTES)


def _nodes(slide: SimulatedSlide, region: NDArray[np.int64], features: NDArray[np.float64]) -> Nodes:
    here = _is_lymphocytes(slide)[region]
    touching = touches(slide.tessellation.region_classes(slide.layout), TUMOUR, slide.tessellation.regions)
    return features[here], touching[region[here]]


def _curve(slides: list[Nodes]) -> float:
    """Return the mean area under the curve within slides of odd number, fitted within those of even number."""
    if len(slides) < 2:
        raise SynthesisError(f"{len(slides)} painted slides, expected at least two: one to fit on and one to score on")
    # centred within slides: otherwise the stain of a site whose patients have much contact would predict it
    centred = [(features - features.mean(axis=0), touching - touching.mean()) for features, touching in slides]
    before = np.concatenate([features for features, _ in centred[::2]])
    known = np.concatenate([touching for _, touching in centred[::2]])
    std = before.std(axis=0)
    varies = std > 1e-9
    weight = np.zeros(len(std))
    x = before[:, varies] / std[varies]
    weight[varies] = np.linalg.solve(x.T @ x / len(x) + _PENALTY / len(x) * np.eye(x.shape[1]), x.T @ known)
    weight[varies] /= std[varies]
    areas, pairs = [], []
    for features, truth in slides[1::2]:
        risk = features @ weight
        rank = np.searchsorted(np.sort(risk[~truth]), risk[truth])
        pairs.append(int(truth.sum() * (~truth).sum()))
        areas.append(float(rank.sum()))
    if not sum(pairs):
        raise SynthesisError("lymphocytes touch tumour everywhere or nowhere, expected both; add patients")
    return sum(areas) / sum(pairs)
