"""Nuclei compared with outlines drawn by pathologists (MoNuSeg), through the normal pipeline.

Each tile is opened as a slide of 0.25 um/px and walked to its graph; the nuclei are those that the graph counts, which
is checked. They are matched to the outlines one to one: a detection matches an outline that holds its centroid, and
each outline and each detection is used once. Outlines share no pixel, so a centroid lies in one of them at most, and
the largest matching is one pair for every outline that holds a centroid. Recall is pairs over outlines, precision pairs
over detections. The pixel overlap compares what the counter takes for nucleus at working pixel size with the outlines
reduced to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import wsigraph
from tests.benchmarks.table import Table
from tests.benchmarks.truth import SHARED, Labels
from wsigraph.config import Config, load
from wsigraph.geometry import Box
from wsigraph.graph.feature import nuclei
from wsigraph.graph.feature.concentration import concentrations
from wsigraph.graph.feature.moments import OD_UNIT
from wsigraph.graph.superpixel.components import label_components
from wsigraph.records import StainBasis, SuperpixelLabels

MPP = 0.25


@dataclass(frozen=True, slots=True)
class Matches:
    """How detections and outlines pair off: pairs, detections, outlines; then pairs and outlines that are large."""

    pairs: int
    detections: int
    outlines: int
    large_pairs: int
    large_outlines: int

    @property
    def recall(self) -> float:
        """Share of the outlines that have a detection of their own."""
        return self.pairs / max(self.outlines, 1)

    @property
    def precision(self) -> float:
        """Share of the detections that have an outline of their own."""
        return self.pairs / max(self.detections, 1)

    @property
    def large_recall(self) -> float:
        """Recall among large outlines."""
        return self.large_pairs / max(self.large_outlines, 1)

    def __add__(self, other: Matches) -> Matches:
        """Return the sums over two tiles."""
        return Matches(
            self.pairs + other.pairs,
            self.detections + other.detections,
            self.outlines + other.outlines,
            self.large_pairs + other.large_pairs,
            self.large_outlines + other.large_outlines,
        )


def outlines_of(mask: NDArray[np.bool_]) -> Labels:
    """Return the 4-connected parts of a mask, numbered from 1: nuclei that meet at a corner are two."""
    labels: Any = ndimage.label(mask)[0]
    return np.asarray(labels, np.int64)


def match(outlines: Labels, centroids: NDArray[np.int64], *, large_px: int) -> Matches:
    """Return the largest one-to-one matching of detections to outlines.

    Parameters
    ----------
    outlines : int64 (h, w)
        Numbered from 1; 0 is the ground.
    centroids : int64 (n, 2)
        Row and column of each detection, within the image.
    large_px : int
        Pixels of a large outline, at least.

    Returns
    -------
    Matches
        A second centroid in an outline, and one in none, is a detection without a pair.
    """
    large = np.bincount(outlines.ravel(), minlength=1)[1:] >= large_px
    hit = np.unique(outlines[centroids[:, 0], centroids[:, 1]])
    hit = hit[hit > 0] - 1
    return Matches(len(hit), len(centroids), len(large), int(large[hit].sum()), int(large.sum()))


def centroids_of(
    rgb: NDArray[np.uint8], labels: SuperpixelLabels, stain: StainBasis, config: Config
) -> NDArray[np.int64]:
    """Return row and column, in working pixels, of every nucleus that the counter puts into a superpixel."""
    scales = nuclei.NucleusScales.of(config.feature, config.superpixel.mpp)
    hematoxylin, _ = concentrations(rgb, stain)
    tissue = np.asarray(labels.labels[:], np.int32)
    threshold = round(stain.nucleus_threshold * OD_UNIT)
    spots_of: Any = nuclei._spot_mask
    components, n = label_components(spots_of(hematoxylin, tissue, 0, 0, *rgb.shape[:2], threshold, scales.radius_px))
    spots = nuclei.measure_spots(components, n, hematoxylin)
    plausible = (spots[:, nuclei.AREA] >= scales.min_area_px) & (spots[:, nuclei.DIAMETER] <= scales.max_diameter_px)
    y, x = spots[plausible, nuclei.Y], spots[plausible, nuclei.X]
    owned = tissue[y, x] > 0
    return np.stack([y[owned], x[owned]], axis=1)


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


def benchmark(folder: Path = SHARED / "monuseg_train") -> list[Table]:
    """Return the table, empty of rows where the outlines are not at hand.

    Parameters
    ----------
    folder : Path
        ``NAME.png`` at 0.25 um/px beside ``NAME_nuclei.png``, above 0 inside the outlines.

    Returns
    -------
    list of Table
        One table: a row for each tile and one for all.
    """
    config = load(overrides=["tissue.min_area_um2=1000"])
    table = Table(
        f"Nuclei against outlines at {config.superpixel.mpp:g} um/px, matched one to one",
        ("tile", "recall", "precision", "recall, large", "pixel Dice", "pairs", "detected", "outlined", "large"),
    )
    paths = sorted(folder.glob("*_nuclei.png"))
    if not paths:
        table.notes.append("the outlined tiles (monuseg_train) are not available and were left out")
        return [table]
    tiles, overlaps = [], []
    for path in paths:
        truth = np.asarray(Image.open(path).convert("L")) > 0
        found, overlap = _one(path.with_name(path.name.replace("_nuclei", "")), truth, config)
        tiles.append(found)
        overlaps.append(overlap)
        table.rows.append(_row(path.name.removesuffix("_nuclei.png")[:12], found, overlap))
    total = sum(tiles[1:], tiles[0])
    table.rows.append(_row("all", total, float(np.mean(overlaps))))
    table.notes.append(
        f"all: recall {total.recall:.3f}, precision {total.precision:.3f}, recall among large outlines "
        f"{total.large_recall:.3f}"
    )
    table.notes.append(
        "a detection matches the outline that holds its centroid; each outline and each detection is used once, the "
        "largest matching; outlines that touch count as one"
    )
    table.notes.append(f"large: outlines of at least {config.feature.nucleus_min_area_um2:g} um2, the counter's least")
    detected, outlined = (np.array([getattr(each, name) for each in tiles]) for name in ("detections", "outlines"))
    if len(tiles) > 1:
        table.notes.append(f"correlation of counts over tiles: {np.corrcoef(detected, outlined)[0, 1]:.3f}")
    return [table]


def _row(name: str, found: Matches, overlap: float) -> tuple[object, ...]:
    rates = (found.recall, found.precision, found.large_recall, overlap)
    return name, *rates, found.pairs, found.detections, found.outlines, found.large_outlines


def _one(path: Path, truth: NDArray[np.bool_], config: Config) -> tuple[Matches, float]:
    with wsigraph.read(path, mpp=MPP) as slide:
        labels = wsigraph.segment(slide, config)
        graph = wsigraph.build_graph(slide, labels, config)
        mpp = config.superpixel.mpp
        rgb = slide.read(Box.whole(slide.size(mpp)), mpp)
    centroids = centroids_of(rgb, labels, graph.stain, config)
    counted = int(graph.moment("nuclei").sum())
    if len(centroids) != counted:
        raise RuntimeError(f"{path.name}: {len(centroids)} nuclei to match, the graph counts {counted}")
    factor = round(mpp / MPP)
    # the middle of a working pixel, in pixels of the outlines
    middle = np.minimum(factor * centroids + factor // 2, np.array(truth.shape) - 1)
    large_px = round(config.feature.nucleus_min_area_um2 / MPP**2)
    small = reduced(truth, factor)
    mask = spots(rgb, graph.stain, config)[: small.shape[0], : small.shape[1]]
    return match(outlines_of(truth), middle, large_px=large_px), dice(mask, small)
