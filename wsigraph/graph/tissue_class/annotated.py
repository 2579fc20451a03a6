"""Regions of a graph that a user's annotations cover, with the exact purity of each.

The pixels of every class in every superpixel are counted on the label image. A superpixel counts as annotated if one
class covers at least three quarters of its pixels. Where annotations of two classes lie on one superpixel, its purity
is the share of its annotated pixels that belong to the larger; what is below three quarters is not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RegionError
from wsigraph.geometry import grid
from wsigraph.graph.tissue_class.class_features import class_features
from wsigraph.records import SuperpixelLabels, TissueGraph
from wsigraph.slide.roi import Roi

LEAST_PURITY = 0.75
"""Share of a superpixel's pixels that one class must cover."""
_BLOCK_PX = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnnotatedSlide:
    """The annotated superpixels of one slide.

    Attributes
    ----------
    slide_id : str
        The slide.
    group : str
        Slides of one group are held out together.
    class_names : tuple of str
        Classes of its annotations.
    values : float64 (n, F)
        Features of the annotated superpixels, neighbours' means included.
    label : int64 (n,)
        Class of each.
    centre_um : float64 (n, 2)
        Where they are.
    nuclei : str
        What found the nuclei of the graph.
    stain : str
        What the section is stained with.
    mark : str
        Why it is no H&E section, where it was forced.
    notes : tuple of str
        What was left out, as sentences.
    """

    slide_id: str
    group: str
    class_names: tuple[str, ...]
    values: NDArray[np.float64]
    label: NDArray[np.int64]
    centre_um: NDArray[np.float64]
    nuclei: str
    stain: str = "h&e"
    mark: str = ""
    notes: tuple[str, ...] = ()


def count_class_pixels(labels: SuperpixelLabels, roi: Roi) -> NDArray[np.int64]:
    """Return the pixels of every superpixel inside annotations of each class.

    Parameters
    ----------
    labels : SuperpixelLabels
        Superpixels 1..N.
    roi : Roi
        Annotations of the slide.

    Returns
    -------
    int64 (N, K)
        In the order of ``roi.class_names``. A pixel under two classes counts for both.
    """
    counts = np.zeros((len(roi.class_names), labels.n_superpixels + 1), np.int64)
    for box in grid(labels.size, _BLOCK_PX):
        masks = roi.in_classes(box, labels.mpp)
        if masks.any():
            block = np.asarray(labels.labels[box.slices])
            for number, mask in enumerate(masks):
                counts[number] += np.bincount(block[mask], minlength=labels.n_superpixels + 1)
    return counts[:, 1:].T.copy()


def annotate(graph: TissueGraph, labels: SuperpixelLabels, roi: Roi, *, group: str = "") -> AnnotatedSlide:
    """Return the annotated superpixels of a slide.

    Parameters
    ----------
    graph : TissueGraph
        Graph of the superpixels.
    labels : SuperpixelLabels
        The superpixels.
    roi : Roi
        Annotations with classes.
    group : str
        What the slide is held out with, such as a patient; by default the slide alone.

    Returns
    -------
    AnnotatedSlide
        Features and classes.

    Raises
    ------
    RegionError
        If no annotation has a class, or no superpixel lies under one.
    """
    if not roi.class_names:
        raise RegionError(
            f"annotations {roi.name!r} have no classes, expected a class on each; set them (in QuPath: Annotations > "
            "Set class) and export again"
        )
    pixels = count_class_pixels(labels, roi)
    values, is_glass = class_features(graph, neighbours=True)
    largest = pixels.max(axis=1)
    cover = largest / graph.moment("n")
    total = pixels.sum(axis=1)
    mixed = (total > largest) & ~is_glass
    purity = largest / np.maximum(total, 1)
    used = (cover >= LEAST_PURITY) & (purity >= LEAST_PURITY) & ~is_glass
    if not used.any():
        raise RegionError(
            f"annotations {roi.name!r} cover no superpixel of tissue by three quarters or more; draw larger areas, or "
            "check that they are of this slide"
        )
    notes = []
    if mixed.any():
        notes.append(
            f"{graph.slide_id}: {int(mixed.sum())} regions lie under two classes, with a median purity of "
            f"{float(np.median(purity[mixed])):.2f}; {int((mixed & ~used).sum())} of them, purity or cover below "
            f"{LEAST_PURITY:g}, are not used"
        )
    if graph.mark:
        notes.append(f"{graph.slide_id}: {graph.mark}")
    return AnnotatedSlide(
        slide_id=graph.slide_id,
        group=group or graph.slide_id,
        class_names=roi.class_names,
        values=values[used],
        label=pixels[used].argmax(axis=1).astype(np.int64),
        centre_um=graph.centroid_um[used],
        nuclei=graph.nuclei,
        stain=graph.stain.name,
        mark=graph.mark,
        notes=tuple(notes),
    )
