"""Generative scenarios in which the arrangement of tissue has no effect: composition, site and null."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wsigraph.synthesis.simulation.layout import NECROSIS, TUMOUR, Layout, Tessellation, sample_layout
from wsigraph.synthesis.simulation.scenario import Planted

_TUMOUR = (0.10, 0.60)
_NECROSIS = (0.0, 0.25)
_SITE_FRACTION = 0.65
"""Fraction of the variance of severity that comes from the site."""


class Composition:
    """Hazard by the fractions of tumour and necrosis, with necrosis counting double; stage by their sum.

    Tumour takes 10 to 60 % of the regions and necrosis 0 to 25 %, uniformly and independently. Position has no effect.
    """

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of scenarios
        """Return the tissue of a patient and the outcome that follows from its composition."""
        layouts = _any_tissue(tessellations, rng)
        tumour, necrosis = (
            float(np.mean([layout.fraction(tissue) for layout in layouts])) for tissue in (TUMOUR, NECROSIS)
        )
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
    """Hazard by the site (65 % of the variance) and by an unobserved cause; tissue has no effect.

    Each site also has a stain of its own. A model that reads the stain seems to predict, until it is tested at a site
    that it was not trained on.
    """

    effect = 1.8
    censoring_days = (200.0, 4000.0)

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:
        """Return tissue of any composition and an outcome that depends on the site."""
        layouts = _any_tissue(tessellations, rng)
        unobserved = float(rng.standard_normal())
        severity = math.sqrt(_SITE_FRACTION) * site_effect + math.sqrt(1 - _SITE_FRACTION) * unobserved
        return Planted(
            layouts=layouts, severity=severity, staged_severity=severity, measures={"site_effect": site_effect}
        )


class Null:
    """Hazard and stage by an unobserved cause: nothing can be predicted."""

    effect = 1.8
    censoring_days = (200.0, 3900.0)

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:  # noqa: ARG002 - the protocol of scenarios
        """Return tissue of any composition and an outcome that is independent of it."""
        layouts = _any_tissue(tessellations, rng)
        severity = float(rng.standard_normal())
        return Planted(layouts=layouts, severity=severity, staged_severity=severity)


def _any_tissue(tessellations: Sequence[Tessellation], rng: np.random.Generator) -> tuple[Layout, ...]:
    tumour, necrosis = float(rng.uniform(*_TUMOUR)), float(rng.uniform(*_NECROSIS))
    return tuple(
        tessellation.to_layout(
            sample_layout(tessellation.regions.shape, tumour_fraction=tumour, necrosis_fraction=necrosis, rng=rng)
        )
        for tessellation in tessellations
    )
