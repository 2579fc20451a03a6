"""The protocol of generative scenarios: what decides the outcome of a simulated patient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wsigraph.synthesis.simulation.layout import Layout, Tessellation


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The tissue of a patient and the severity that a scenario planted in it.

    Attributes
    ----------
    layouts : tuple of Layout
        One for each slide.
    severity : float
        Decides the hazard; mean 0 and standard deviation 1 over the scenario's patients.
    staged_severity : float
        Decides the stage; mean 0 and standard deviation 1.
    measures : mapping of str to float
        Quantities that the scenario measured in the tissue, by name; means over the slides.
    """

    layouts: tuple[Layout, ...]
    severity: float
    staged_severity: float
    measures: Mapping[str, float] = field(default_factory=dict)


class Scenario(Protocol):
    """A generative scenario: it plants the outcome of a patient in tissue, in the site, or in neither.

    Attributes
    ----------
    effect : float
        Log hazard ratio of one standard deviation of severity.
    censoring_days : (float, float)
        Follow-up ends at a uniform time in this range, days.
    """

    effect: float
    censoring_days: tuple[float, float]

    def plant(self, tessellations: Sequence[Tessellation], *, site_effect: float, rng: np.random.Generator) -> Planted:
        """Return the tissue of a patient and its severity.

        Parameters
        ----------
        tessellations : sequence of Tessellation
            Tessellations of the patient's slides, at least one; one draw of the scenario applies to all of them.
        site_effect : float
            Effect of the site, for scenarios that have one; mean 0 and standard deviation 1 over sites.
        rng : numpy.random.Generator
            Random numbers.

        Returns
        -------
        Planted
            One layout for each tessellation.
        """
        ...


def standardised(value: float, low: float, high: float) -> float:
    """Return the z-score of a value that is uniform between two bounds."""
    return (value - (low + high) / 2) / ((high - low) / math.sqrt(12))
