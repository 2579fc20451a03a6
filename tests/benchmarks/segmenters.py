"""Superpixels of one image by this product and by others, behind one signature.

Each takes an image and the number of regions wanted and returns labels from 1. How many regions come back is decided by
the method, so `matched` scales the request until a whole set of images yields the number that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic as skimage_slic

from wsigraph.config import SuperpixelConfig
from wsigraph.geometry import Box, Size
from wsigraph.superpixel.components import chunk_components, relabel
from wsigraph.superpixel.connectivity import resolve
from wsigraph.superpixel.lab import rgb_to_lab, smooth, smoothing_passes
from wsigraph.superpixel.slic import Lattice, slic

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32]
Segmenter = Callable[[Pixels, float], Labels]
"""Takes an image and the number of regions wanted."""

_COUNT_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Named:
    """A segmenter with its settings in words."""

    family: str
    settings: str
    run: Segmenter


def ours(rgb: Pixels, n_regions: float) -> Labels:
    """Return this product's superpixels with its default settings, one pixel taken for a working pixel."""
    settings = SuperpixelConfig()
    size = Size(*rgb.shape[:2])
    side = max(4, round((size.area / n_regions) ** 0.5))
    whole = Box.whole(size)
    lab = rgb_to_lab(rgb)
    for _ in range(smoothing_passes(settings.smoothing_um, 1.0)):
        lab = smooth(lab)
    clusters = slic(
        lab,
        np.ones((size.height, size.width), bool),
        whole,
        whole,
        Lattice(size, side),
        compactness=settings.compactness,
        iterations=settings.iterations,
    )
    components, table = chunk_components(clusters, whole, size.width)
    # the default minimum area is this share of the default spacing's cell
    share = settings.min_area_um2 / settings.spacing_um**2
    tables, _, _ = resolve([table], round(side * side * share))
    return relabel(components, tables[0])


def _skimage(compactness: float, sigma: float, rgb: Pixels, n_regions: float) -> Labels:
    labels = skimage_slic(
        rgb, n_segments=max(2, round(n_regions)), compactness=compactness, sigma=sigma, start_label=1, channel_axis=-1
    )
    return np.asarray(labels, np.int32)


def _opencv(ruler: float, blur: float, cv2: Any, rgb: Pixels, n_regions: float) -> Labels:
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    if blur > 0:
        lab = cv2.GaussianBlur(lab, (0, 0), blur)
    side = max(4, round((rgb.shape[0] * rgb.shape[1] / n_regions) ** 0.5))
    found = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, ruler)
    found.iterate(10)
    found.enforceLabelConnectivity(25)
    return np.asarray(found.getLabels(), np.int32) + 1


def skimage_ways() -> list[Named]:
    """Return scikit-image's SLIC at four compactnesses and two smoothings."""
    return [
        Named(
            "scikit-image SLIC", f"compactness {compactness:g}, sigma {sigma:g}", partial(_skimage, compactness, sigma)
        )
        for compactness in (5.0, 10.0, 20.0, 30.0)
        for sigma in (0.0, 1.0)
    ]


def opencv_ways() -> list[Named]:
    """Return OpenCV's SLIC at three rulers and two smoothings; empty where its extra modules are not installed."""
    try:
        import cv2
    except ImportError:
        return []
    if not hasattr(cv2, "ximgproc"):
        return []
    cv2.setNumThreads(1)
    return [
        Named("OpenCV SLIC", f"ruler {ruler:g}, blur {blur:g}", partial(_opencv, ruler, blur, cv2))
        for ruler in (10.0, 20.0, 40.0)
        for blur in (0.0, 1.0)
    ]


def our_way() -> Named:
    """Return this product's way."""
    return Named("wsigraph", "defaults", ours)


def matched(way: Named, images: list[Pixels], wanted: list[int], rounds: int = 4) -> tuple[float, list[Labels]]:
    """Return the factor on the request at which the regions of all images add up to what is wanted, and the labels.

    The factor is sought on every fifth image, which costs little, and corrected twice on all of them where they miss by
    more than 2 %. Methods that round the request to a grid of seeds may not come as near; the nearest trial counts.
    """
    few = slice(None, None, 5 if len(images) > 10 else 2)
    factor = 1.0
    for _ in range(rounds):
        share = _share([way.run(rgb, factor * n) for rgb, n in zip(images[few], wanted[few], strict=True)], wanted[few])
        if abs(share - 1) <= _COUNT_TOLERANCE / 2:
            break
        factor /= share
    trials: list[tuple[float, float, list[Labels]]] = []
    while len(trials) < 3 and (not trials or trials[-1][0] > _COUNT_TOLERANCE):
        labels = [way.run(rgb, factor * n) for rgb, n in zip(images, wanted, strict=True)]
        share = _share(labels, wanted)
        trials.append((abs(share - 1), factor, labels))
        factor /= share
    _, factor, labels = min(trials, key=lambda trial: trial[0])
    return factor, labels


def _share(labels: list[Labels], wanted: list[int]) -> float:
    return sum(count(each) for each in labels) / sum(wanted)


def count(labels: Labels) -> int:
    """Return how many regions there are."""
    return len(np.unique(labels))
