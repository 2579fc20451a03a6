"""Images with known outlines, and how well regions match them.

Gland masks (GlaS) and nucleus masks (MoNuSeg), if they are available beside the checkout; otherwise images made of two
real tissues that meet along a known, smooth outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.measure import label
from skimage.segmentation import find_boundaries

from tests.benchmarks.slide_maker import SOURCE

SHARED = Path(__file__).parents[3] / "shared" / "data"
"""Folder of further real data, if available."""
RECALL_PX = 2
"""Tolerance of boundary recall, pixels along rows and columns."""
_WINDOWS = ((1990, 700), (900, 860))

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scene:
    """An image uint8 (h, w, 3) and its true regions int64 (h, w), 0 for the background."""

    rgb: Pixels
    truth: Labels


@dataclass(frozen=True, slots=True)
class Quality:
    """How well regions match the truth; higher recall and accuracy are better, lower error is better."""

    boundary_recall: float
    undersegmentation: float
    accuracy: float


def glands(step: int = 4) -> list[Scene]:
    """Return every `step`-th GlaS image with its glands; empty if the data is absent."""
    paths = sorted((SHARED / "glas_train" / "images").glob("*.png"))[::step]
    return [
        Scene(
            np.asarray(Image.open(path).convert("RGB")),
            np.asarray(Image.open(path.parents[1] / "labels" / path.name)).astype(np.int64),
        )
        for path in paths
    ]


def nuclei() -> list[Scene]:
    """Return the MoNuSeg tiles with their nuclei, both reduced twofold to 0.5 um/px; empty if they are absent."""
    scenes = []
    for path in sorted((SHARED / "monuseg_train").glob("*_nuclei.png")):
        rgb = np.asarray(Image.open(path.with_name(path.name.replace("_nuclei", ""))).convert("RGB"))
        mask = np.asarray(Image.open(path).convert("L")) > 0
        scenes.append(Scene(halved(rgb).round().astype(np.uint8), regions_of(halved(mask) >= 0.5)))
    return scenes


def regions_of(mask: NDArray[np.bool_]) -> Labels:
    """Return the 8-connected parts of a mask, numbered from 1."""
    numbered: Any = label
    return np.asarray(numbered(mask), np.int64)


def halved(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return an image averaged twofold along both axes."""
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    parts = pixels[: rows * 2, : columns * 2].reshape(rows, 2, columns, 2, *pixels.shape[2:])
    return np.asarray(parts.mean((1, 3)))


def made(n_scenes: int = 6, side: int = 512) -> list[Scene]:
    """Return scenes of two real tissues, one inside smooth random outlines and one outside them."""
    with tifffile.TiffFile(SOURCE) as tif:
        slide = tif.pages[0].asarray()
    outer, inner = (slide[y : y + side, x : x + side] for y, x in _WINDOWS)
    scenes = []
    for seed in range(n_scenes):
        field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(side, side)), side / 24, mode="wrap")
        truth = regions_of(field > field.std() * 0.6)
        turn = (seed % 2, seed // 2 % 2)
        pair = [np.flip(tissue, tuple(axis for axis in (0, 1) if turn[axis])) for tissue in (outer, inner)]
        scenes.append(Scene(np.where(truth[..., None] > 0, pair[1], pair[0]), truth))
    return scenes


def boundary_quality(regions: NDArray[np.int32], truth: Labels) -> Quality:
    """Return how well regions match the truth.

    Parameters
    ----------
    regions : int32 (h, w)
        Superpixels.
    truth : int64 (h, w)
        True regions.

    Returns
    -------
    Quality
        Boundary recall within `RECALL_PX`. Undersegmentation error after Neubert and Protzel (2012): for each region
        and each true region that cuts it, the smaller part, over all pixels. Achievable accuracy: the fraction of
        correct pixels if every region takes its commonest true region.
    """
    outlines: Any = find_boundaries
    edges = outlines(truth, mode="inner")
    side = 2 * RECALL_PX + 1
    near = ndimage.binary_dilation(outlines(regions), structure=np.ones((side, side), bool))
    table = np.zeros((int(regions.max()) + 1, int(truth.max()) + 1), np.int64)
    np.add.at(table, (regions.ravel(), truth.ravel()), 1)
    spill = np.minimum(table, table.sum(axis=1, keepdims=True) - table).sum()
    return Quality(
        float((near & edges).sum() / max(edges.sum(), 1)),
        float(spill / regions.size),
        float(table.max(axis=1).sum() / regions.size),
    )


def mean_quality(qualities: list[Quality]) -> Quality:
    """Return the mean over images."""
    values = np.array([(quality.boundary_recall, quality.undersegmentation, quality.accuracy) for quality in qualities])
    return Quality(*(float(value) for value in values.mean(axis=0)))
