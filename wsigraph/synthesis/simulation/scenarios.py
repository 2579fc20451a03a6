"""Planted laws: how simulated tissue decides stage and survival.

A law plants a severity, of mean 0 and standard deviation 1 over its patients, in tissue (``planted``). Survival is
Weibull with hazards proportional to ``exp(effect x severity)`` (Bender, Augustin and Blettner, "Generating survival
times to simulate Cox proportional hazards models", Statistics in Medicine 2005), censored at a uniform time that is
independent of everything; 35-40 % of the patients are. The log hazard ratio is the oracle's risk: nobody can order the
patients better than it, and its C-index lies between 0.80 and 0.86. Stage cuts a noisy, differently weighted severity
into four.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from wsigraph.errors import SynthesisError
from wsigraph.synthesis.simulation.composition import Composition, Null, Site
from wsigraph.synthesis.simulation.interface import Interface
from wsigraph.synthesis.simulation.planted import Law, Planted
from wsigraph.synthesis.simulation.spatial import Spatial

WEIBULL_SHAPE = 1.5
"""Exponent of time in the cumulative hazard."""
WEIBULL_SCALE_DAYS = 1500.0
"""Time by which a patient of severity 0 has survived with probability 1/e, days."""
STAGE_CUTS = (-0.8, 0.0, 0.8)
"""Cuts of the staged severity between the four stages."""
N_STAGES = len(STAGE_CUTS) + 1
"""Number of planted stages."""
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
    staged_severity : float
        What decides the stage, before noise.
    """

    stage: int | None
    time_days: float
    event: bool
    oracle_risk: float
    staged_severity: float


LAWS: dict[str, Law] = {
    "composition": Composition(),
    "spatial": Spatial(),
    "interface": Interface(),
    "site": Site(),
    "null": Null(),
}
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


def site_effect(site: int, n_sites: int) -> float:
    """Return what a hospital adds to severity where a law heeds it.

    Parameters
    ----------
    site : int
        Number of the hospital, from 0.
    n_sites : int
        How many there are.

    Returns
    -------
    float
        Evenly spaced, mean 0 and standard deviation 1 over the hospitals; 0 where there is only one.
    """
    every = np.arange(n_sites, dtype=np.float64)
    return float((site - every.mean()) / every.std()) if n_sites > 1 else 0.0


def sample_outcome(rule: Law, planted: Planted, *, rng: np.random.Generator) -> Outcome:
    """Return what becomes of a patient.

    Parameters
    ----------
    rule : Law
        The law.
    planted : Planted
        What it planted in the patient.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Outcome
        Times above 0.
    """
    risk = rule.effect * planted.severity
    death_days = WEIBULL_SCALE_DAYS * (rng.standard_exponential() * np.exp(-risk)) ** (1.0 / WEIBULL_SHAPE)
    censoring_days = rng.uniform(*rule.censoring_days)
    staged = planted.staged_severity + STAGE_NOISE * rng.standard_normal()
    stage = int(np.searchsorted(STAGE_CUTS, staged))
    return Outcome(
        stage=None if rng.random() < STAGE_MISSING else stage,
        # a tenth of a day is finer than any record and never zero
        time_days=max(0.1, round(float(min(death_days, censoring_days)), 1)),
        event=bool(death_days <= censoring_days),
        oracle_risk=float(risk),
        staged_severity=float(planted.staged_severity),
    )


def stage_probability(staged_severity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true stage probabilities of patients whose severity is known: the oracle's.

    Parameters
    ----------
    staged_severity : float64 (n,)
        What decides the stage, before noise.

    Returns
    -------
    float64 (n, K)
        Rows sum to 1.
    """
    below = ndtr((np.array(STAGE_CUTS) - staged_severity[:, None]) / STAGE_NOISE)  # (n, K - 1)
    return np.asarray(np.diff(below, axis=1, prepend=0.0, append=1.0))
