"""The law of contact: hazard by the share of lymphocytes that touch tumour.

Nests of tumour and of glands are set first, knowing nothing of the outcome. Lymphocytes are then placed between
them, as many beside tumour as the patient's share asks for and the others beside glands or free, with as many
contacts among themselves, with stroma and in all in every patient. What a region is, how large it is and how many
neighbours it has therefore say nothing; who its neighbours are says everything. A region that held a piece of its
neighbour would betray it, so graphs drawn from these layouts hold pure regions.

Not modelled: that lymphocytes seek tumour, which would make counts and contact go together as in real tissue.
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
    Lattice,
    Layout,
    place,
    random_field,
    set_nests,
)
from wsigraph.synthesis.simulation.planted import Planted, standardised

_TOUCHING = (0.05, 0.95)
_LYMPHOCYTES = (0.10, 0.15)
_TUMOUR = (0.35, 0.45)
_GLANDS = 0.18
_REST = ((FAT, 0.02), (VESSEL, 0.02))
_AMONG, _WITH_STROMA = 0.55, 1.6
"""Contacts of a lymphocyte with others, each counted once, and with stroma."""
_ROOM = 1.15
"""Regions beside tumour, and regions away from it, for each lymphocyte that may have to lie there."""
_TRIES = 50


class Spatial:
    """Hazard by the share of lymphocytes that touch tumour, uniform between 5 and 95 %; stage likewise.

    Lymphocytes take 10 to 15 % of the regions and tumour 35 to 45 %, independently of that share.
    """

    effect = 2.0
    censoring_days = (200.0, 4200.0)

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return the tissue of a patient and what follows from its contacts."""
        touching, lymphocytes, tumour = (float(rng.uniform(*each)) for each in (_TOUCHING, _LYMPHOCYTES, _TUMOUR))
        layouts = tuple(
            _layout(lattice, touching=touching, lymphocytes=lymphocytes, tumour=tumour, rng=rng) for lattice in lattices
        )
        share = float(np.mean([contact_share(each, lattice) for each, lattice in zip(layouts, lattices, strict=True)]))
        severity = standardised(share, *_TOUCHING)
        return Planted(layouts=layouts, severity=severity, staged_severity=severity, measures={"contact_share": share})


def contact_share(layout: Layout, lattice: Lattice) -> float:
    """Return the share of lymphocytes that touch tumour.

    Parameters
    ----------
    layout : Layout
        Classes.
    lattice : Lattice
        Its regions.

    Returns
    -------
    float
        0 where there are no lymphocytes.
    """
    classes = lattice.gather(layout)
    here = classes.ravel() == LYMPHOCYTES
    touching = touches(classes, TUMOUR, lattice.regions)
    return float((here & touching).sum() / max(1, here.sum()))


def _layout(
    lattice: Lattice, *, touching: float, lymphocytes: float, tumour: float, rng: np.random.Generator
) -> Layout:
    n_lymphocytes = round(lymphocytes * lattice.regions.shape.area)
    n_touching = round(touching * n_lymphocytes)
    classes, beside = _nests(lattice, tumour, n_lymphocytes, rng)
    free = (classes == STROMA).ravel()
    n_neighbours = np.bincount(lattice.regions.edge_index[0], minlength=classes.size)
    flat = classes.ravel()
    for cells, number in ((free & beside, n_touching), (free & ~beside, n_lymphocytes - n_touching)):
        flat[rng.permutation(np.flatnonzero(cells))[:number]] = LYMPHOCYTES
    wanted = Contacts(
        pairs={
            (LYMPHOCYTES, LYMPHOCYTES): (_AMONG * n_lymphocytes, 1.0),
            (LYMPHOCYTES, STROMA): (_WITH_STROMA * n_lymphocytes, 1.0),
        },
        marked=beside,
        tissue=LYMPHOCYTES,
        n_marked=n_touching,
        cost=3.0,
        # as many neighbours as any free region has, or lymphocytes away from tumour would lie at the rim of the tissue
        crowded=LYMPHOCYTES,
        n_neighbours=float(n_neighbours[free].mean()) * n_lymphocytes,
        crowding_cost=1.0,
    )
    classes = arrange(classes, free.reshape(classes.shape), wanted, lattice.regions, rng=rng)
    for tissue, share in _REST:
        place(classes, tissue, random_field(lattice.regions.shape, 0.0, rng=rng), round(share * classes.size))
    return lattice.spread(classes)


def _nests(
    lattice: Lattice, tumour: float, n_lymphocytes: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return tumour and glands in stroma, and the regions beside tumour, with room for lymphocytes at both extremes."""
    need = _TOUCHING[1] * n_lymphocytes
    tries: list[tuple[float, NDArray[np.uint8], NDArray[np.bool_]]] = []
    for _ in range(_TRIES):
        classes = set_nests(lattice.regions.shape, tumour_fraction=tumour, gland_fraction=_GLANDS, rng=rng)
        beside = touches(classes, TUMOUR, lattice.regions)
        free = (classes == STROMA).ravel()
        room = min(int((free & beside).sum()), int((free & ~beside).sum())) / max(need, 1.0)
        tries.append((room, classes, beside))
        if room >= _ROOM:
            break
    return max(tries, key=lambda each: each[0])[1:]
