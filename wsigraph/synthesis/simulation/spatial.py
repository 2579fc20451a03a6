"""The scenario of contact: hazard by the fraction of lymphocytes that touch tumour.

Nests of tumour and of glands are placed first, independently of the outcome. Lymphocytes are then placed between them:
a given fraction beside tumour, the others beside glands or free. In all patients, lymphocytes have equal numbers of
contacts among themselves, with stroma and in total. So the class, size and degree of single regions carry no
information about the outcome; only the classes of neighbours do. Graphs drawn from these layouts have regions of one
class, because a region that included part of its neighbour would reveal it.

Not modelled: lymphocytes attracted by tumour, which correlates number and contact in real tissue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.synthesis.simulation.arrange import Contacts, arrange, touches
from wsigraph.synthesis.simulation.layout import (
    FAT,
    LYMPHOCYTES,
    STROMA,
    TUMOUR,
    VESSEL,
    Layout,
    Tessellation,
    place,
    random_field,
    set_nests,
)
from wsigraph.synthesis.simulation.scenario import Planted, standardised

_TOUCHING = (0.05, 0.95)
_LYMPHOCYTES = (0.10, 0.15)
_TUMOUR = (0.35, 0.45)
_GLANDS = 0.18
_REST = ((FAT, 0.02), (VESSEL, 0.02))
_AMONG, _WITH_STROMA = 0.55, 1.6
"""Contacts per lymphocyte region with others of its class, each counted once, and with stroma."""
_MIN_FREE = 1.15
"""Free regions needed beside tumour, and away from it, per lymphocyte region that may have to be placed there."""
_TRIES = 50


class Spatial:
    """Hazard and stage by the fraction of lymphocytes that touch tumour, uniform between 5 and 95 %.

    Lymphocytes take 10 to 15 % of the regions and tumour 35 to 45 %, independently of that fraction.
    """

    effect = 2.0
    censoring_days = (200.0, 4200.0)

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return the tissue of a patient and the outcome that follows from its contacts."""
        touching, lymphocytes, tumour = (float(rng.uniform(*bounds)) for bounds in (_TOUCHING, _LYMPHOCYTES, _TUMOUR))
        layouts = tuple(
            _layout(tessellation, touching=touching, lymphocytes=lymphocytes, tumour=tumour, rng=rng)
            for tessellation in tessellations
        )
        pairs = zip(layouts, tessellations, strict=True)
        fraction = float(np.mean([contact_fraction(layout, tessellation) for layout, tessellation in pairs]))
        severity = standardised(fraction, *_TOUCHING)
        return Planted(
            layouts=layouts, severity=severity, staged_severity=severity, measures={"contact_fraction": fraction}
        )


def contact_fraction(layout: Layout, tessellation: Tessellation) -> float:
    """Return the fraction of lymphocytes that touch tumour.

    Parameters
    ----------
    layout : Layout
        Classes.
    tessellation : Tessellation
        Its regions.

    Returns
    -------
    float
        0 where there are no lymphocytes.
    """
    classes = tessellation.region_classes(layout)
    here = classes.ravel() == LYMPHOCYTES
    touching = touches(classes, TUMOUR, tessellation.regions)
    return float((here & touching).sum() / max(1, here.sum()))


def _layout(
    tessellation: Tessellation, *, touching: float, lymphocytes: float, tumour: float, rng: np.random.Generator
) -> Layout:
    n_lymphocytes = round(lymphocytes * tessellation.regions.shape.area)
    n_touching = round(touching * n_lymphocytes)
    classes, beside = _nests(tessellation, tumour, n_lymphocytes, rng)
    free = (classes == STROMA).ravel()
    n_neighbours = np.bincount(tessellation.regions.edge_index[0], minlength=classes.size)
    flat = classes.ravel()
    for cells, number in ((free & beside, n_touching), (free & ~beside, n_lymphocytes - n_touching)):
        flat[rng.permutation(np.flatnonzero(cells))[:number]] = LYMPHOCYTES
    contacts = Contacts(
        pairs={
            (LYMPHOCYTES, LYMPHOCYTES): (_AMONG * n_lymphocytes, 1.0),
            (LYMPHOCYTES, STROMA): (_WITH_STROMA * n_lymphocytes, 1.0),
        },
        marked=beside,
        tissue=LYMPHOCYTES,
        n_marked=n_touching,
        cost=3.0,
        # the mean degree of free regions: otherwise lymphocytes away from tumour would gather at the tissue's border
        crowded=LYMPHOCYTES,
        n_neighbours=float(n_neighbours[free].mean()) * n_lymphocytes,
        crowding_cost=1.0,
    )
    classes = arrange(classes, free.reshape(classes.shape), contacts, tessellation.regions, rng=rng)
    for tissue, fraction in _REST:
        place(classes, tissue, random_field(tessellation.regions.shape, 0.0, rng=rng), round(fraction * classes.size))
    return tessellation.to_layout(classes)


def _nests(
    tessellation: Tessellation, tumour: float, n_lymphocytes: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return tumour and glands in stroma with enough free regions for lymphocytes, and which regions touch tumour."""
    needed = _TOUCHING[1] * n_lymphocytes
    candidates: list[tuple[float, NDArray[np.uint8], NDArray[np.bool_]]] = []
    for _ in range(_TRIES):
        classes = set_nests(tessellation.regions.shape, tumour_fraction=tumour, gland_fraction=_GLANDS, rng=rng)
        beside = touches(classes, TUMOUR, tessellation.regions)
        free = (classes == STROMA).ravel()
        n_free = min(int((free & beside).sum()), int((free & ~beside).sum())) / max(needed, 1.0)
        candidates.append((n_free, classes, beside))
        if n_free >= _MIN_FREE:
            break
    return max(candidates, key=lambda candidate: candidate[0])[1:]
