"""The law of the invasion front: stage and hazard by how long the front is and how deep it has come.

Tumour borders on glands, which it pushes aside, or invades: first the stroma, then the fat beyond, as in the staging
of carcinomas by the layer they have reached. The front is its border with stroma and fat; a stretch in fat counts
double. Nests of tumour are set first, knowing nothing of the outcome; what lies against them is then exchanged, with
as many regions of every class and as many contacts within every class in all patients, so that only the border tells.

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
    Lattice,
    Layout,
    set_nests,
)
from wsigraph.synthesis.simulation.planted import Planted

_TUMOUR = (0.25, 0.40)
_FRONT = (0.03, 0.20)
"""Contacts of tumour with stroma, and with fat, for each region of the slide; uniform and independent."""
_SHARES = ((FAT, 0.30), (GLAND, 0.30), (LYMPHOCYTES, 0.06), (VESSEL, 0.04))
"""Classes of what is no tumour; the others are stroma."""
_OWN = 1.2
"""Contacts within fat, glands and stroma for each of their regions."""


class Interface:
    """Stage and hazard by the length of the invasion front, each stretch weighted by the depth it has come.

    Depth is 1 in stroma and 2 in fat. Tumour takes 25 to 40 % of the regions, independently of the front.
    """

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return the tissue of a patient and what follows from its front."""
        tumour = float(rng.uniform(*_TUMOUR))
        asked = (float(rng.uniform(*_FRONT)), float(rng.uniform(*_FRONT)))
        layouts = tuple(_layout(lattice, tumour=tumour, front=asked, rng=rng) for lattice in lattices)
        fronts = [front(each, lattice) for each, lattice in zip(layouts, lattices, strict=True)]
        length, depth = (float(np.mean(each)) for each in zip(*fronts, strict=True))
        low, high = _FRONT
        spread = math.sqrt(1.0 + 2.0**2) * (high - low) / math.sqrt(12)
        severity = (length * depth - 3.0 * (low + high) / 2) / spread
        return Planted(
            layouts=layouts,
            severity=severity,
            staged_severity=severity,
            measures={"front_length": length, "front_depth": depth},
        )


def front(layout: Layout, lattice: Lattice) -> tuple[float, float]:
    """Return the length and depth of the invasion front.

    Parameters
    ----------
    layout : Layout
        Classes.
    lattice : Lattice
        Its regions.

    Returns
    -------
    length : float
        Contacts of tumour with stroma and fat for each region of the slide.
    depth : float
        Mean layer reached along them: 1 stroma, 2 fat; 1 where there is no front.
    """
    classes = lattice.gather(layout)
    pairs = count_contacts(classes, lattice.regions)
    stroma, fat = int(pairs[TUMOUR, STROMA]), int(pairs[TUMOUR, FAT])
    return (stroma + fat) / classes.size, (stroma + 2 * fat) / (stroma + fat) if stroma + fat else 1.0


def _layout(lattice: Lattice, *, tumour: float, front: tuple[float, float], rng: np.random.Generator) -> Layout:
    n_cells = lattice.regions.shape.area
    classes = set_nests(lattice.regions.shape, tumour_fraction=tumour, gland_fraction=0.0, rng=rng)
    others = classes.ravel() != TUMOUR
    filled = np.full(int(others.sum()), STROMA, np.uint8)
    first = 0
    for tissue, share in _SHARES:
        last = first + round(share * len(filled))
        filled[first:last] = tissue
        first = last
    classes.ravel()[others] = rng.permutation(filled)
    wanted = {(TUMOUR, tissue): (part * n_cells, 2.0) for tissue, part in zip((STROMA, FAT), front, strict=True)}
    for tissue in (STROMA, FAT, GLAND):
        wanted[tissue, tissue] = (_OWN * int((classes == tissue).sum()), 1.0)
    arranged = arrange(classes, others.reshape(classes.shape), Contacts(pairs=wanted), lattice.regions, rng=rng)
    return lattice.spread(arranged)
