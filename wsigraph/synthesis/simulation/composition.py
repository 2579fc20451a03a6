"""Laws that no arrangement of tissue decides: by its composition, by the hospital, by nothing that can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wsigraph.synthesis.simulation.layout import NECROSIS, TUMOUR, Lattice, Layout, sample_layout
from wsigraph.synthesis.simulation.planted import Planted

_TUMOUR = (0.10, 0.60)
_NECROSIS = (0.0, 0.25)
_SITE_SHARE = 0.65
"""Share of the variance of severity that the hospital makes up under the law of the site."""


class Composition:
    """Hazard by the shares of tumour and necrosis, necrosis counting double; stage with both counting alike.

    Tumour takes 10 to 60 % of the regions and necrosis 0 to 25 %, uniformly and independently. Position says nothing.
    """

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return the tissue of a patient and what follows from its composition."""
        layouts = _any_tissue(lattices, rng)
        tumour, necrosis = (float(np.mean([each.fraction(kind) for each in layouts])) for kind in (TUMOUR, NECROSIS))
        return Planted(
            layouts=layouts,
            severity=self._standardised(tumour, necrosis, 2.0),
            staged_severity=self._standardised(tumour, necrosis, 1.0),
            measures={"tumour_fraction": tumour, "necrosis_fraction": necrosis},
        )

    def _standardised(self, tumour: float, necrosis: float, weight: float) -> float:
        (t0, t1), (n0, n1) = _TUMOUR, _NECROSIS
        mean = (t0 + t1) / 2 + weight * (n0 + n1) / 2
        variance = ((t1 - t0) ** 2 + (weight * (n1 - n0)) ** 2) / 12
        return (tumour + weight * necrosis - mean) / math.sqrt(variance)


class Site:
    """Hazard by the hospital, two thirds of it, and by what nobody sees; tissue tells nothing.

    The hospital also has its own stain, so that a model that reads the stain seems to predict, until it meets a
    hospital that it has not seen.
    """

    effect = 1.8
    censoring_days = (200.0, 4000.0)

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:
        """Return tissue of any composition and an outcome that follows the hospital."""
        layouts = _any_tissue(lattices, rng)
        unseen = float(rng.standard_normal())
        severity = math.sqrt(_SITE_SHARE) * site_effect + math.sqrt(1 - _SITE_SHARE) * unseen
        return Planted(
            layouts=layouts, severity=severity, staged_severity=severity, measures={"site_effect": site_effect}
        )


class Null:
    """Hazard and stage by what nobody sees: nothing to find."""

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of laws
        """Return tissue of any composition and an outcome that has nothing to do with it."""
        layouts = _any_tissue(lattices, rng)
        severity = float(rng.standard_normal())
        return Planted(layouts=layouts, severity=severity, staged_severity=severity)


def _any_tissue(lattices: Sequence[Lattice], rng: np.random.Generator) -> tuple[Layout, ...]:
    tumour, necrosis = float(rng.uniform(*_TUMOUR)), float(rng.uniform(*_NECROSIS))
    return tuple(
        each.spread(sample_layout(each.regions.shape, tumour_fraction=tumour, necrosis_fraction=necrosis, rng=rng))
        for each in lattices
    )
