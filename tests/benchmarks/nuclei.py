"""Nuclei compared with outlines drawn by pathologists (MoNuSeg), through the normal pipeline.

Each tile is opened as a slide of 0.25 um/px and processed to its graph. The count is the sum of the graph's nuclei; the
pixel overlap compares the nucleus mask at working pixel size with the outlines reduced to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import wsigraph
from tests.benchmarks.table import Table
from tests.benchmarks.truth import SHARED, regions_of
from wsigraph.config import Config, load
from wsigraph.geometry import Box
from wsigraph.graph.feature import nuclei
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.moments import OD_UNIT
from wsigraph.records import StainBasis

MPP = 0.25


def spots(rgb: NDArray[np.uint8], stain: StainBasis, config: Config) -> NDArray[np.bool_]:
    """Return the nucleus mask before components that are too small or too large are dropped."""
    scales = nuclei.NucleusScales.of(config.feature, config.superpixel.mpp)
    hematoxylin, _ = concentrations(rgb, stain)
    everywhere = np.ones(rgb.shape[:2], np.int32)
    threshold = round(stain.nucleus_threshold * OD_UNIT)
    spots_of: Any = nuclei._spot_mask
    mask = spots_of(hematoxylin, everywhere, 0, 0, *rgb.shape[:2], threshold, scales.radius_px)
    return np.asarray(mask > 0)


def dice(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return twice the common pixels over the sum of both."""
    return float(2 * (predicted & truth).sum() / max(predicted.sum() + truth.sum(), 1))


def reduced(mask: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return a mask reduced by an integer factor, true where at least half of the pixels are."""
    rows, columns = (length // factor * factor for length in mask.shape)
    return np.asarray(mask[:rows, :columns].reshape(rows // factor, factor, -1, factor).mean((1, 3)) >= 0.5)


def benchmark() -> list[Table]:
    """Return the table, without rows if the outlines are not available."""
    config = load(overrides=["tissue.min_area_um2=1000"])
    mpp = config.superpixel.mpp
    table = Table(
        f"Nuclei against outlines at {mpp:g} um/px",
        ("tile", "count over truth", "pixel Dice", "counted", "outlined", "of them large enough"),
    )
    paths = sorted((SHARED / "monuseg_train").glob("*_nuclei.png"))
    if not paths:
        table.notes.append("the outlined tiles (monuseg_train) are not available and were left out")
        return [table]
    triples, overlaps = [], []
    for path in paths:
        truth = np.asarray(Image.open(path).convert("L")) > 0
        n_counted, overlap = _one(path.with_name(path.name.replace("_nuclei", "")), truth, config)
        areas = np.bincount(regions_of(truth).ravel())[1:]
        n_large = int((areas * MPP**2 >= config.feature.nucleus_min_area_um2).sum())
        triples.append((n_counted, len(areas), n_large))
        overlaps.append(overlap)
        table.rows.append((path.name[:12], n_counted / len(areas), overlap, *triples[-1]))
    counted, true, large = np.array(triples).T
    sums = (int(counted.sum()), int(true.sum()), int(large.sum()))
    table.rows.append(("all", sums[0] / sums[1], float(np.mean(overlaps)), *sums))
    for name, counts in (("all outlines", true), ("outlines of at least the counter's least area", large)):
        table.notes.append(
            f"against {name}: correlation of counts {np.corrcoef(counted, counts)[0, 1]:.3f}, mean absolute error "
            f"{np.mean(np.abs(counted / counts - 1)):.0%}"
        )
    table.notes.append(
        f"large enough: {config.feature.nucleus_min_area_um2:g} um2; touching outlines count as one: the truth is low"
    )
    return [table]


def _one(path: Path, truth: NDArray[np.bool_], config: Config) -> tuple[int, float]:
    with wsigraph.read(path, mpp=MPP) as slide:
        labels = wsigraph.segment(slide, config)
        graph = wsigraph.build_graph(slide, labels, config)
        mpp = config.superpixel.mpp
        rgb = slide.read(Box.whole(slide.size(mpp)), mpp)
    small = reduced(truth, round(mpp / MPP))
    mask = spots(rgb, graph.stain, config)[: small.shape[0], : small.shape[1]]
    return int(graph.moment("nuclei").sum()), dice(mask, small)
