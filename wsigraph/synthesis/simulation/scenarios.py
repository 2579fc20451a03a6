"""Generative scenarios: how stage and survival of simulated patients follow from their tissue.

A scenario plants a severity, of mean 0 and standard deviation 1 over its patients, in the tissue (``scenario.py``).
Survival is Weibull with hazards proportional to ``exp(effect x severity)`` (Bender, Augustin and Blettner, "Generating
survival times to simulate Cox proportional hazards models", Statistics in Medicine 2005). Censoring is at a uniform
time, independent of everything else; 35-40 % of the patients are censored. The log hazard ratio is the oracle's risk.
No model can rank the patients better, and its C-index is between 0.80 and 0.86. The four stages are intervals of a
noisy, differently weighted severity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from wsigraph.errors import SynthesisError
from wsigraph.synthesis.simulation.composition import Composition, Null, Site
from wsigraph.synthesis.simulation.interface import Interface
from wsigraph.synthesis.simulation.scenario import Planted, Scenario
from wsigraph.synthesis.simulation.spatial import Spatial

WEIBULL_SHAPE = 1.5
"""Exponent of time in the cumulative hazard."""
WEIBULL_SCALE_DAYS = 1500.0
"""Time at which the survival of a patient of severity 0 is 1/e, days."""
STAGE_CUTS = (-0.8, 0.0, 0.8)
"""Cuts of the staged severity between the four stages."""
N_STAGES = len(STAGE_CUTS) + 1
"""Number of planted stages."""
STAGE_NOISE = 0.35
"""Standard deviation of the noise on the staged severity."""
STAGE_MISSING = 0.1
"""Fraction of the patients whose stage is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of a simulated patient.

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
        Decides the stage, before noise.
    """

    stage: int | None
    time_days: float
    event: bool
    oracle_risk: float
    staged_severity: float


SCENARIOS: dict[str, Scenario] = {
    "composition": Composition(),
    "spatial": Spatial(),
    "interface": Interface(),
    "site": Site(),
    "null": Null(),
}
"""Every generative scenario by its name in ``synthesis.scenario``."""


def find_scenario(name: str) -> Scenario:
    """Return a generative scenario by name.

    Parameters
    ----------
    name : str
        Key of `SCENARIOS`.

    Returns
    -------
    Scenario
        The scenario.

    Raises
    ------
    SynthesisError
        If there is no such scenario.
    """
    if name not in SCENARIOS:
        raise SynthesisError(f"no scenario {name!r}, expected one of {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def site_effect(site: int, n_sites: int) -> float:
    """Return the effect of a site on severity, for scenarios that have one.

    Parameters
    ----------
    site : int
        Number of the site, from 0.
    n_sites : int
        Number of sites.

    Returns
    -------
    float
        Evenly spaced, mean 0 and standard deviation 1 over the sites; 0 where there is only one.
    """
    numbers = np.arange(n_sites, dtype=np.float64)
    return float((site - numbers.mean()) / numbers.std()) if n_sites > 1 else 0.0


def sample_outcome(scenario: Scenario, planted: Planted, *, rng: np.random.Generator) -> Outcome:
    """Return the outcome of a patient.

    Parameters
    ----------
    scenario : Scenario
        Its effect and censoring.
    planted : Planted
        Severity of the patient.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    Outcome
        Times above 0.
    """
    risk = scenario.effect * planted.severity
    death_days = WEIBULL_SCALE_DAYS * (rng.standard_exponential() * np.exp(-risk)) ** (1.0 / WEIBULL_SHAPE)
    censoring_days = rng.uniform(*scenario.censoring_days)
    staged = planted.staged_severity + STAGE_NOISE * rng.standard_normal()
    stage = int(np.searchsorted(STAGE_CUTS, staged))
    return Outcome(
        stage=None if rng.random() < STAGE_MISSING else stage,
        # rounded to a tenth of a day, and never 0
        time_days=max(0.1, round(float(min(death_days, censoring_days)), 1)),
        event=bool(death_days <= censoring_days),
        oracle_risk=float(risk),
        staged_severity=float(planted.staged_severity),
    )


def stage_probability(staged_severity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the true stage probabilities of patients, which are the oracle's predictions.

    Parameters
    ----------
    staged_severity : float64 (n,)
        Decides the stage, before noise.

    Returns
    -------
    float64 (n, K)
        Rows sum to 1.
    """
    below = ndtr((np.array(STAGE_CUTS) - staged_severity[:, None]) / STAGE_NOISE)  # (n, K - 1)
    return np.asarray(np.diff(below, axis=1, prepend=0.0, append=1.0))
