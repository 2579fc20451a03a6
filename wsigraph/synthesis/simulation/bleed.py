"""What neighbours lend a region on painted slides, where superpixels straddle borders and stain spreads over them.

Under the law of contact a bag of single regions should tell nothing. On graphs drawn from layouts it cannot; on painted
slides a superpixel of lymphocytes at the rim of a nest holds some tumour. How much that gives away is measured region
by region: a ridge regression on the features of a lymphocyte superpixel, fitted on half of the slides, tells on the
other half whether its region touches tumour. An area under the curve of 0.5 is nothing.
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
    """Return how well the features of single lymphocyte superpixels tell contact, painted and drawn.

    Parameters
    ----------
    patients : iterable of SimulatedPatient
        Of the law ``spatial``; at least two slides in all.
    folder : Path
        Where ``wsigraph simulate --images`` has written the same patients.
    settings : Config
        The settings of both.

    Returns
    -------
    dict of str to float
        ``painted`` and ``drawn``, areas under the curve; ``mixed``, the share of painted lymphocyte superpixels with
        less than nine tenths of their pixels in one region; ``superpixels``, how many were looked at.

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
            drawn.append(_nodes(slide, slide.lattice.regions.member, interpret(slide.graph).values))
            mixed.append(purity[_is_lymphocytes(slide)[region]] < 0.9)
    share = np.concatenate(mixed) if mixed else np.zeros(0)
    return {
        "painted": _curve(painted),
        "drawn": _curve(drawn),
        "mixed": float(share.mean()),
        "superpixels": float(len(share)),
    }


def _regions_of(slide: SimulatedSlide, folder: Path, settings: Config) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the region that most of each painted superpixel lies in, and the share that does."""
    labels = np.asarray(store.load_labels(folder / slide.slide_id / LABELS).labels)
    margin = um_to_px(settings.synthesis.glass_um, settings.synthesis.mpp)
    cells = slide.lattice.labels[1:-1, 1:-1]
    inside = labels[margin : margin + cells.shape[0], margin : margin + cells.shape[1]]
    n_regions = slide.lattice.regions.shape.area
    known = inside > 0
    key = (inside[known].astype(np.int64) - 1) * n_regions + slide.lattice.regions.member[cells[known] - 1]
    table = np.bincount(key, minlength=int(labels.max()) * n_regions).reshape(-1, n_regions)
    return table.argmax(axis=1), table.max(axis=1) / np.maximum(table.sum(axis=1), 1)


def _is_lymphocytes(slide: SimulatedSlide) -> NDArray[np.bool_]:
    return np.asarray(slide.lattice.gather(slide.layout).ravel() == LYMPHOCYTES)


def _nodes(slide: SimulatedSlide, region: NDArray[np.int64], features: NDArray[np.float64]) -> Nodes:
    here = _is_lymphocytes(slide)[region]
    touching = touches(slide.lattice.gather(slide.layout), TUMOUR, slide.lattice.regions)
    return features[here], touching[region[here]]


def _curve(slides: list[Nodes]) -> float:
    """Return the mean area under the curve within slides of odd number, fitted within those of even number."""
    if len(slides) < 2:
        raise SynthesisError(f"{len(slides)} painted slides, expected at least two to fit on one and look at the other")
    # within slides, or a hospital whose patients happen to have much contact would tell it
    centred = [(features - features.mean(axis=0), touching - touching.mean()) for features, touching in slides]
    before = np.concatenate([each[0] for each in centred[::2]])
    known = np.concatenate([each[1] for each in centred[::2]])
    spread = before.std(axis=0)
    varies = spread > 1e-9
    weight = np.zeros(len(spread))
    x = before[:, varies] / spread[varies]
    weight[varies] = np.linalg.solve(x.T @ x / len(x) + _PENALTY / len(x) * np.eye(x.shape[1]), x.T @ known)
    weight[varies] /= spread[varies]
    areas, pairs = [], []
    for features, truth in slides[1::2]:
        risk = features @ weight
        rank = np.searchsorted(np.sort(risk[~truth]), risk[truth])
        pairs.append(int(truth.sum() * (~truth).sum()))
        areas.append(float(rank.sum()))
    if not sum(pairs):
        raise SynthesisError("lymphocytes touch tumour everywhere or nowhere, expected both; add patients")
    return sum(areas) / sum(pairs)
