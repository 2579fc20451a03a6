"""Scenario ``hospital``: cohorts of feature bags whose sites differ, for choosing how a model is trained.

A cohort has sites of unequal size. A site has a stain of its own (it shifts all embeddings and scales how far they
differ), a case mix of its own (the fractions of tissue classes) and a hazard of its own, which no pixel causes. The
tissue carries a signal too: most of it is a diffuse change of all regions, a little is a grade that only tumour regions
show. So a model can score well on patients of known sites by recognising the hospital, and only the tissue helps at a
site that it has not seen. A bag has one row of numbers per region. Edges join similar regions (``feature_bags.py``), or
with coordinates neighbouring ones, and then the arrangement can carry a part of the signal: how often tumour and
lymphocytes touch.

Numbers of patients, sites and events are drawn for each cohort. Embeddings are linear in a few latent directions, with
noise, which real encoders are not. A method that is chosen here still has to be shown on real cohorts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.synthesis.simulation.cohort import SimulatedCohort
from wsigraph.synthesis.simulation.scenarios import N_STAGES
from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.feature_bags import bag_input, placed_bag_input

if TYPE_CHECKING:
    from wsigraph.model.inputs import GraphInput

N_TISSUES = 5
"""Tissue classes: tumour, lymphocytes, stroma, necrosis and normal tissue."""
_TUMOUR, _LYMPHOCYTES = 0, 1
_BASE_MIX = np.array([0.4, 0.15, 0.25, 0.1, 0.1])
_STAGE_QUANTILES = (0.45, 0.6, 0.85)


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalDesign:
    """How strong each cause is in a cohort of scenario ``hospital``.

    Attributes
    ----------
    n_columns : int
        Numbers per region, D.
    n_latent : int
        Latent directions behind them.
    stain : float
        Standard deviation over sites of the stain's shift, in units of that of a region.
    gain : float
        Standard deviation over sites of the logarithm of the stain's gain.
    slide_gain : float
        The same over the slides of a site.
    case_mix : float
        Standard deviation over sites of the logits of the tissue fractions.
    site_hazard : float
        Log hazard ratio of one standard deviation over sites.
    tissue : float
        Log hazard ratio of one standard deviation of the tissue's severity.
    unobserved : float
        Log hazard ratio of one standard deviation of a cause that nothing shows.
    arrangement : float
        Fraction of the variance of the severity that comes from the arrangement; needs `coordinates`.
    coordinates : bool
        Whether regions have places, so that edges join neighbours instead of similar regions.
    """

    n_columns: int = 192
    n_latent: int = 24
    stain: float = 0.5
    gain: float = 0.2
    slide_gain: float = 0.1
    case_mix: float = 0.4
    site_hazard: float = 0.6
    tissue: float = 0.9
    unobserved: float = 0.5
    arrangement: float = 0.0
    coordinates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sites:
    share: NDArray[np.float64]
    shift: NDArray[np.float64]
    gain: NDArray[np.float64]
    mix: NDArray[np.float64]
    hazard: NDArray[np.float64]
    follow_up: NDArray[np.float64]


def sample_hospital_cohort(design: HospitalDesign | None = None, *, seed: int) -> SimulatedCohort:
    """Return a cohort of scenario ``hospital``, with the oracle's risk.

    Parameters
    ----------
    design : HospitalDesign, optional
        Strength of every cause.
    seed : int
        Decides everything; 200 to 500 patients of 3 to 20 sites, with 40 to 170 events.

    Returns
    -------
    SimulatedCohort
        One row a patient. The oracle's risk holds what the tissue causes, not the site and not the unobserved cause.
    """
    design = design or HospitalDesign()
    rng = np.random.default_rng(seed)
    n_patients, n_sites = int(rng.integers(200, 501)), int(rng.integers(3, 21))
    n_events = int(rng.integers(40, min(171, n_patients // 2)))
    sites = _sample_sites(n_sites, design, rng)
    site = _assign_sites(sites.share, n_patients, rng)
    centres = 0.8 * rng.standard_normal((N_TISSUES, design.n_latent))
    grade_axis = rng.standard_normal(design.n_latent)
    grade_axis /= np.linalg.norm(grade_axis)
    spectrum = 1.0 / np.sqrt(1.0 + np.arange(design.n_latent))
    axes = spectrum[:, None] * rng.standard_normal((design.n_latent, design.n_columns))
    grade, diffuse = rng.standard_normal(n_patients), np.zeros(n_patients)
    inputs, mixes, contacts = [], np.zeros((n_patients, N_TISSUES)), np.zeros(n_patients)
    for patient in range(n_patients):
        logits = np.log(_BASE_MIX) + sites.mix[site[patient]] + 0.7 * rng.standard_normal(N_TISSUES)
        mixes[patient] = np.exp(logits) / np.exp(logits).sum()
        tissue = rng.choice(N_TISSUES, int(rng.integers(20, 61)), p=mixes[patient])
        place = None
        if design.coordinates:
            tissue, place, contacts[patient] = _arrange(tissue, rng)
        own = 0.5 * rng.standard_normal(design.n_latent)
        diffuse[patient] = own @ grade_axis
        latent = centres[tissue] + own + sites.shift[site[patient]]
        latent += 0.5 * (tissue == _TUMOUR)[:, None] * grade[patient] * grade_axis
        varied = rng.standard_normal((len(tissue), design.n_latent)) @ axes
        varied += rng.standard_normal((len(tissue), design.n_columns))
        # the gain of a stain changes how far regions differ, not their mean
        gain = np.exp(sites.gain[site[patient]] + design.slide_gain * rng.standard_normal(design.n_columns))
        inputs.append(_bag(latent @ axes + gain * varied, place))
    severity = _standard(_standard(diffuse) + 0.15 * grade + 0.05 * _standard(np.log(mixes[:, _TUMOUR])))
    if design.arrangement > 0.0:
        severity = np.sqrt(1 - design.arrangement) * severity + np.sqrt(design.arrangement) * _standard(contacts)
    return _with_outcomes(inputs, severity, site, sites, n_events, design, rng)


def _sample_sites(n_sites: int, design: HospitalDesign, rng: np.random.Generator) -> _Sites:
    return _Sites(
        share=rng.dirichlet(np.full(n_sites, 0.8)),
        shift=design.stain * rng.standard_normal((n_sites, design.n_latent)),
        gain=design.gain * rng.standard_normal((n_sites, design.n_columns)),
        mix=design.case_mix * rng.standard_normal((n_sites, N_TISSUES)),
        hazard=rng.standard_normal(n_sites),
        follow_up=np.exp(0.3 * rng.standard_normal(n_sites)),
    )


def _assign_sites(share: NDArray[np.float64], n_patients: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the site of every patient, int64 (n,); the first two patients of each are drawn before the others."""
    first = np.repeat(np.arange(len(share)), 2)
    return np.concatenate([first, rng.choice(len(share), n_patients - len(first), p=share)])


def _arrange(
    tissue: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return tissues sorted along a grid as far as a random mixing allows, their places, and the contacts drawn."""
    side = int(np.ceil(np.sqrt(len(tissue))))
    number = np.arange(len(tissue))
    place = np.stack([number % side, number // side], axis=1).astype(np.float64)
    mixing = rng.uniform(0.0, 3.0)
    ordered = tissue[np.argsort(tissue + mixing * rng.standard_normal(len(tissue)))]
    near = np.abs(place[:, None] - place[None]).sum(axis=2) == 1.0
    tumour, immune = ordered == _TUMOUR, ordered == _LYMPHOCYTES
    pairs = near[np.ix_(tumour, immune)].sum()
    expected = near.sum() * tumour.mean() * immune.mean()
    return ordered, place, float(np.log((pairs + 1.0) / (expected + 1.0)))


def _bag(values: NDArray[np.float64], place: NDArray[np.float64] | None) -> GraphInput:
    return bag_input(values) if place is None else placed_bag_input(values, place)


def _with_outcomes(
    inputs: list[GraphInput],
    severity: NDArray[np.float64],
    site: NDArray[np.int64],
    sites: _Sites,
    n_events: int,
    design: HospitalDesign,
    rng: np.random.Generator,
) -> SimulatedCohort:
    n = len(inputs)
    tissue_risk = design.tissue * severity
    risk = tissue_risk + design.site_hazard * sites.hazard[site] + design.unobserved * rng.standard_normal(n)
    death = (rng.standard_exponential(n) * np.exp(-risk)) ** (1 / 1.2)
    unit = rng.uniform(0.05, 1.0, n) * sites.follow_up[site]
    # the length of follow-up that leaves the number of events drawn
    ratio = np.sort(death / unit)
    censoring = unit * ratio[n_events - 1]
    event = death <= censoring
    days = 1500.0 * np.minimum(death, censoring) / np.median(death)
    staged = severity + 0.4 * sites.hazard[site] + 0.8 * rng.standard_normal(n)
    stage = np.searchsorted(np.quantile(staged, _STAGE_QUANTILES), staged)
    cohort = Cohort(
        inputs=inputs,
        patient=np.array([f"synthetic-patient-{number:04d}" for number in range(n)]),
        site=np.array([f"synthetic-site-{number + 1}" for number in site]),
        slides=tuple(() for _ in range(n)),
        covariates=tuple({} for _ in range(n)),
        stain=np.full((n, 8), np.nan),
        stage=np.where(rng.random(n) < 0.05, -1, stage).astype(np.int64),
        time_days=np.maximum(days, 0.1),
        event=event,
        moment_id="none",
        feature_id="region encodings",
        embedding_id=None,
        feature_names=tuple(f"encoding_{number}" for number in range(design.n_columns)),
    )
    return SimulatedCohort(cohort=cohort, oracle_risk=tissue_risk, oracle_stage=np.zeros((n, N_STAGES)))


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / values.std())
