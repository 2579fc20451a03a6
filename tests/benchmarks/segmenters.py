"""Superpixels of one image by this product and by others, behind one signature.

Each takes an image and the wanted number of regions and returns labels from 1. The method decides how many regions come
back, so `matched` chooses requests until a whole set of images yields the wanted number.
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
from wsigraph.graph.superpixel.components import chunk_components, relabel
from wsigraph.graph.superpixel.connectivity import resolve
from wsigraph.graph.superpixel.lab import rgb_to_lab, smooth, smoothing_passes
from wsigraph.graph.superpixel.slic import SeedGrid, slic

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int32]
Segmenter = Callable[[Pixels, float], Labels]
"""Takes an image and the number of regions wanted."""


@dataclass(frozen=True, slots=True)
class NamedSegmenter:
    """A segmenter with the name of its family and of its settings."""

    family: str
    settings: str
    run: Segmenter


def ours(rgb: Pixels, n_regions: float) -> Labels:
    """Return this product's superpixels with its default settings, one image pixel per working pixel."""
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
        SeedGrid(size, side),
        compactness=settings.compactness,
        iterations=settings.iterations,
    )
    components, table = chunk_components(clusters, whole, size.width)
    # minimum area as a fraction of a cell, as in the defaults
    fraction = settings.min_area_um2 / settings.spacing_um**2
    tables, _, _ = resolve([table], round(side * side * fraction))
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
    segmenter = cv2.ximgproc.createSuperpixelSLIC(lab, cv2.ximgproc.SLIC, side, ruler)
    segmenter.iterate(10)
    segmenter.enforceLabelConnectivity(25)
    return np.asarray(segmenter.getLabels(), np.int32) + 1


def skimage_methods() -> list[NamedSegmenter]:
    """Return scikit-image's SLIC at four compactnesses and two smoothings."""
    return [
        NamedSegmenter(
            "scikit-image SLIC", f"compactness {compactness:g}, sigma {sigma:g}", partial(_skimage, compactness, sigma)
        )
        for compactness in (5.0, 10.0, 20.0, 30.0)
        for sigma in (0.0, 1.0)
    ]


def opencv_methods() -> list[NamedSegmenter]:
    """Return OpenCV's SLIC at three rulers and two smoothings; empty if its extra modules are not installed."""
    try:
        import cv2
    except ImportError:
        return []
    if not hasattr(cv2, "ximgproc"):
        return []
    cv2.setNumThreads(1)
    return [
        NamedSegmenter("OpenCV SLIC", f"ruler {ruler:g}, blur {blur:g}", partial(_opencv, ruler, blur, cv2))
        for ruler in (10.0, 20.0, 40.0)
        for blur in (0.0, 1.0)
    ]


def our_method() -> NamedSegmenter:
    """Return this product's segmenter."""
    return NamedSegmenter("wsigraph", "defaults", ours)


def matched(
    method: NamedSegmenter, images: list[Pixels], wanted: list[int], trials: int = 9
) -> tuple[list[float], list[Labels]]:
    """Return a request for each image so that the total number of regions is as wanted, and the labels.

    Methods seed on a grid of whole pixels, so a request between two spacings yields the count of one of them; counts
    are 15 % apart at 15 px. The two spacings around the wanted count are tried on all images, and each image gets the
    one that keeps the running total closer. If no trial is below or above the wanted total, the nearest is used.
    """
    total = sum(wanted)
    pixels = [rgb.shape[0] * rgb.shape[1] for rgb in images]
    side = max(4, round((sum(pixels) / total) ** 0.5))
    tried: dict[int, list[Labels]] = {}
    while len(tried) < trials:
        tried[side] = [method.run(rgb, n / side**2) for rgb, n in zip(images, pixels, strict=True)]
        ratio = sum(count(labels_of_image) for labels_of_image in tried[side]) / total
        beside = side + 1 if ratio > 1 else max(side - 1, 4)
        side = max(4, round(side * ratio**0.5))
        if side in tried:
            side = beside
        if side in tried:
            break
    above = [s for s in tried if sum(count(labels_of_image) for labels_of_image in tried[s]) >= total]
    below = [s for s in tried if sum(count(labels_of_image) for labels_of_image in tried[s]) < total]
    pair = (max(above, default=max(below, default=4)), min(below, default=max(above, default=4)))
    requests: list[float] = []
    labels: list[Labels] = []
    surplus = 0
    for index, n in enumerate(wanted):
        chosen = min(pair, key=lambda s, index=index, n=n: abs(surplus + count(tried[s][index]) - n))  # type: ignore[misc]
        requests.append(pixels[index] / chosen**2)
        labels.append(tried[chosen][index])
        surplus += count(labels[-1]) - n
    return requests, labels


def count(labels: Labels) -> int:
    """Return the number of regions."""
    return int(np.count_nonzero(np.bincount(labels.ravel())))
