"""The scenario of the invasion front: stage and hazard by the length of the front and its depth.

Tumour borders on glands, which it pushes aside, or invades: first the stroma, then the fat beyond, as in the staging
of carcinomas by the layer they have reached. The invasion front is the border with stroma and fat, and fat counts
double. Nests of tumour are placed first, independently of the outcome. The other regions are then swapped. All patients
have equal numbers of regions of every class and of contacts within each class, so that only the border is informative.

References
----------
Depth of invasion as the layer reached: Brierley, Gospodarowicz and Wittekind, "TNM classification of malignant
tumours", 8th edition, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wsigraph.synthesis.simulation.arrange import Contacts, arrange, count_contacts
from wsigraph.synthesis.simulation.layout import (
    FAT,
    GLAND,
    LYMPHOCYTES,
    STROMA,
    TUMOUR,
    VESSEL,
    Layout,
    Tessellation,
    set_nests,
)
from wsigraph.synthesis.simulation.scenario import Planted

_TUMOUR = (0.25, 0.40)
_FRONT = (0.03, 0.20)
"""Contacts of tumour with stroma, and with fat, per region of the slide; each uniform, independent of the other."""
_FRACTIONS = ((FAT, 0.30), (GLAND, 0.30), (LYMPHOCYTES, 0.06), (VESSEL, 0.04))
"""Fractions of classes among the regions that are not tumour; the rest is stroma."""
_OWN = 1.2
"""Contacts within fat, glands and stroma, per region of the class."""


class Interface:
    """Stage and hazard by the length of the invasion front, weighted by its depth.

    Depth is 1 in stroma and 2 in fat. Tumour takes 25 to 40 % of the regions, independently of the front.
    """

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return the tissue of a patient and the outcome that follows from its invasion front."""
        tumour = float(rng.uniform(*_TUMOUR))
        target = (float(rng.uniform(*_FRONT)), float(rng.uniform(*_FRONT)))
        layouts = tuple(_layout(tessellation, tumour=tumour, front=target, rng=rng) for tessellation in tessellations)
        fronts = [front(layout, tessellation) for layout, tessellation in zip(layouts, tessellations, strict=True)]
        length, depth = (float(np.mean(values)) for values in zip(*fronts, strict=True))
        low, high = _FRONT
        std = math.sqrt(1.0 + 2.0**2) * (high - low) / math.sqrt(12)
        severity = (length * depth - 3.0 * (low + high) / 2) / std
        return Planted(
            layouts=layouts,
            severity=severity,
            staged_severity=severity,
            measures={"front_length": length, "front_depth": depth},
        )


def front(layout: Layout, tessellation: Tessellation) -> tuple[float, float]:
    """Return the length and depth of the invasion front.

    Parameters
    ----------
    layout : Layout
        Classes.
    tessellation : Tessellation
        Its regions.

    Returns
    -------
    length : float
        Contacts of tumour with stroma and fat, per region of the slide.
    depth : float
        Mean layer along the front: 1 stroma, 2 fat; 1 where there is no front.
    """
    classes = tessellation.region_classes(layout)
    pairs = count_contacts(classes, tessellation.regions)
    stroma, fat = int(pairs[TUMOUR, STROMA]), int(pairs[TUMOUR, FAT])
    return (stroma + fat) / classes.size, (stroma + 2 * fat) / (stroma + fat) if stroma + fat else 1.0


def _layout(
    tessellation: Tessellation, *, tumour: float, front: tuple[float, float], rng: np.random.Generator
) -> Layout:
    n_cells = tessellation.regions.shape.area
    classes = set_nests(tessellation.regions.shape, tumour_fraction=tumour, gland_fraction=0.0, rng=rng)
    others = classes.ravel() != TUMOUR
    filled = np.full(int(others.sum()), STROMA, np.uint8)
    first = 0
    for tissue, fraction in _FRACTIONS:
        last = first + round(fraction * len(filled))
        filled[first:last] = tissue
        first = last
    classes.ravel()[others] = rng.permutation(filled)
    targets = {(TUMOUR, tissue): (part * n_cells, 2.0) for tissue, part in zip((STROMA, FAT), front, strict=True)}
    for tissue in (STROMA, FAT, GLAND):
        targets[tissue, tissue] = (_OWN * int((classes == tissue).sum()), 1.0)
    arranged = arrange(classes, others.reshape(classes.shape), Contacts(pairs=targets), tessellation.regions, rng=rng)
    return tessellation.to_layout(arranged)
