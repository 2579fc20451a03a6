"""What a law is: it plants the outcome of a patient in tissue, in the patient's hospital, or in nothing at all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wsigraph.synthesis.simulation.layout import Lattice, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """The tissue of a patient and what a law reads from it.

    Attributes
    ----------
    layouts : tuple of Layout
        One a slide.
    severity : float
        What decides the hazard; mean 0 and standard deviation 1 over the law's patients.
    staged_severity : float
        What decides the stage, likewise.
    measures : mapping of str to float
        What the law read from the tissue, by name; the mean over the slides.
    """

    layouts: tuple[Layout, ...]
    severity: float
    staged_severity: float
    measures: Mapping[str, float] = field(default_factory=dict)


class Law(Protocol):
    """What decides the outcome of simulated patients.

    Attributes
    ----------
    effect : float
        Log hazard ratio of one standard deviation of severity.
    censoring_days : (float, float)
        Follow-up ends at a uniform time in this range, days.
    """

    effect: float
    censoring_days: tuple[float, float]

    def plant(self, lattices: Sequence[Lattice], *, site_effect: float, rng: np.random.Generator) -> Planted:
        """Return the tissue of a patient and what follows from it.

        Parameters
        ----------
        lattices : sequence of Lattice
            Shapes of the patient's slides, at least one; all of them follow one draw of the law.
        site_effect : float
            What the hospital adds where the law heeds it; mean 0 and standard deviation 1 over hospitals.
        rng : numpy.random.Generator
            Source of chance.

        Returns
        -------
        Planted
            One layout a lattice.
        """
        ...


def standardised(value: float, low: float, high: float) -> float:
    """Return a value drawn uniformly between two bounds in standard deviations from its mean."""
    return (value - (low + high) / 2) / ((high - low) / math.sqrt(12))
