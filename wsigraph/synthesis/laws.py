"""Planted laws: how simulated tissue decides stage and survival.

A law samples layouts and reads a severity from each, of mean 0 and standard deviation 1 over its layouts. Survival
is Weibull with hazards proportional to ``exp(EFFECT x severity)`` (Bender, Augustin and Blettner, "Generating survival
times to simulate Cox proportional hazards models", Statistics in Medicine 2005), censored at a uniform time that is
independent of everything; 35-40 % of the patients are. The log hazard ratio is the oracle's risk: nobody can order the
patients better than it, and its C-index lies between 0.80 and 0.86. Stage cuts a noisy, differently weighted severity
into four.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wsigraph.errors import SynthesisError
from wsigraph.geometry import Size
from wsigraph.synthesis.layout import NECROSIS, TUMOUR, Layout, sample_layout

EFFECT = 1.8
"""Log hazard ratio of one standard deviation of severity."""
WEIBULL_SHAPE = 1.5
"""Exponent of time in the cumulative hazard."""
WEIBULL_SCALE_DAYS = 1500.0
"""Time by which a patient of severity 0 has survived with probability 1/e, days."""
CENSORING_DAYS = (200.0, 3900.0)
"""Follow-up ends at a uniform time in this range, days."""
STAGE_CUTS = (-0.8, 0.0, 0.8)
"""Cuts of the staged severity between the four stages."""
STAGE_NOISE = 0.35
"""Standard deviation of what is added to the staged severity."""
STAGE_MISSING = 0.1
"""Share of the patients whose stage is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a simulated patient.

    Attributes
    ----------
    stage : int or None
        0 to 3; None where unknown.
    time_days : float
        End of follow-up, days.
    event : bool
        Whether follow-up ended with the event.
    oracle_risk : float
        The true log hazard ratio.
    """

    stage: int | None
    time_days: float
    event: bool
    oracle_risk: float


class Law(Protocol):
    """What decides the outcome of simulated patients."""

    def sample(self, size: Size, *, rng: np.random.Generator) -> Layout:
        """Return a random layout of the law."""
        ...

    def severity(self, layout: Layout) -> float:
        """Return what decides the hazard; mean 0 and standard deviation 1 over the law's layouts."""
        ...

    def staged_severity(self, layout: Layout) -> float:
        """Return what decides the stage, likewise standardised."""
        ...


class Composition:
    """Hazard by the shares of tumour and necrosis, necrosis counting double; stage with both counting alike.

    Tumour takes 10 to 60 % of the cells and necrosis 0 to 25 %, uniformly and independently. Position says nothing.
    """

    _TUMOUR = (0.10, 0.60)
    _NECROSIS = (0.0, 0.25)

    def sample(self, size: Size, *, rng: np.random.Generator) -> Layout:
        """Return a random layout of the law."""
        return sample_layout(
            size,
            tumour_fraction=float(rng.uniform(*self._TUMOUR)),
            necrosis_fraction=float(rng.uniform(*self._NECROSIS)),
            rng=rng,
        )

    def severity(self, layout: Layout) -> float:
        """Return the standardised weighted share of tumour and twice necrosis."""
        return self._standardised(layout, 2.0)

    def staged_severity(self, layout: Layout) -> float:
        """Return the standardised share of tumour and necrosis."""
        return self._standardised(layout, 1.0)

    def _standardised(self, layout: Layout, weight: float) -> float:
        (t0, t1), (n0, n1) = self._TUMOUR, self._NECROSIS
        mean = (t0 + t1) / 2 + weight * (n0 + n1) / 2
        variance = ((t1 - t0) ** 2 + (weight * (n1 - n0)) ** 2) / 12
        return (layout.fraction(TUMOUR) + weight * layout.fraction(NECROSIS) - mean) / math.sqrt(variance)


LAWS: dict[str, Law] = {"composition": Composition()}
"""Every law by its name in the configuration."""


def law(name: str) -> Law:
    """Return a law by name.

    Parameters
    ----------
    name : str
        Key of `LAWS`.

    Returns
    -------
    Law
        The law.

    Raises
    ------
    SynthesisError
        If there is no such law.
    """
    if name not in LAWS:
        raise SynthesisError(f"no law {name!r}, expected one of {', '.join(LAWS)}")
    return LAWS[name]


def sample_outcome(rule: Law, layout: Layout, *, rng: np.random.Generator) -> Outcome:
    """Return what becomes of a patient with a layout.

    Parameters
    ----------
    rule : Law
        The planted law.
    layout : Layout
        The patient's tissue.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Outcome
        Times above 0.
    """
    risk = EFFECT * rule.severity(layout)
    death_days = WEIBULL_SCALE_DAYS * (rng.standard_exponential() * np.exp(-risk)) ** (1.0 / WEIBULL_SHAPE)
    censoring_days = rng.uniform(*CENSORING_DAYS)
    staged = rule.staged_severity(layout) + STAGE_NOISE * rng.standard_normal()
    stage = int(np.searchsorted(STAGE_CUTS, staged))
    return Outcome(
        stage=None if rng.random() < STAGE_MISSING else stage,
        # a tenth of a day is finer than any record and never zero
        time_days=max(0.1, round(float(min(death_days, censoring_days)), 1)),
        event=bool(death_days <= censoring_days),
        oracle_risk=float(risk),
    )
