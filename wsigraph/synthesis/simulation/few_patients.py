"""Scenario ``few_patients``: small cohorts with several images of a patient, for choosing how stages are calibrated.

A cohort has 12 to 40 patients with one to fifteen images each. Every patient has a stain of their own, which shifts all
their images, and a severity, from which the severity of an image differs a little; so a few patients have images of two
stages. Stages are two or four. A region's numbers follow from a few latent directions, one of which is the severity,
and noise. How strong all this is, how many numbers there are and how frequent the stages are is drawn for each cohort,
so that a method chosen here does not depend on one strength. Like ``hospital.py``, embeddings are linear in the latent
directions, which real ones are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.training.dataset import Cohort
from wsigraph.training.evaluation.feature_bags import bag_input

N_LATENT = 24
"""Latent directions; the first is the severity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewPatientsDesign:
    """Ranges from which a cohort of scenario ``few_patients`` draws evenly.

    Attributes
    ----------
    n_patients : tuple of int, int
        Fewest and most patients.
    mean_images : float
        Mean number of images of a patient before the most are cut off; 1 gives one image each.
    max_images : int
        Most images of a patient.
    n_columns : tuple of int
        Numbers per region, one of which is drawn.
    n_stages : int
        Stages, K.
    signal : tuple of float, float
        Shift of a region's latent severity by one standard deviation of an image's severity.
    stain : tuple of float, float
        Standard deviation over patients of the stain's shift.
    between : tuple of float, float
        Fraction of the variance of the severity between patients.
    """

    n_patients: tuple[int, int] = (12, 40)
    mean_images: float = 5.0
    max_images: int = 15
    n_columns: tuple[int, ...] = (36, 192)
    n_stages: int = 2
    signal: tuple[float, float] = (0.5, 2.0)
    stain: tuple[float, float] = (0.2, 0.8)
    between: tuple[float, float] = (0.6, 0.98)


def sample_few_patients(design: FewPatientsDesign | None = None, *, seed: int) -> Cohort:
    """Return a cohort of scenario ``few_patients``.

    Parameters
    ----------
    design : FewPatientsDesign, optional
        Ranges of every strength.
    seed : int
        Decides everything.

    Returns
    -------
    Cohort
        One row an image. ``patient`` is the image and ``site`` the patient, so that images of a patient may differ in
        stage and a fold can keep a patient whole. All stages occur.
    """
    design = design or FewPatientsDesign()
    rng = np.random.default_rng(seed)
    n_patients = int(rng.integers(design.n_patients[0], design.n_patients[1] + 1))
    n_columns = int(rng.choice(np.array(design.n_columns)))
    n_images = np.minimum(rng.geometric(1.0 / design.mean_images, n_patients), design.max_images)
    patient = np.repeat(np.arange(n_patients), n_images)
    signal, stain, between = (float(rng.uniform(*ends)) for ends in (design.signal, design.stain, design.between))
    own, within = rng.standard_normal(n_patients), rng.standard_normal(len(patient))
    severity = np.sqrt(between) * own[patient] + np.sqrt(1.0 - between) * within
    stage = _stages(severity + 0.3 * rng.standard_normal(len(patient)), design.n_stages, rng)
    scale = 1.0 / np.sqrt(1.0 + np.arange(N_LATENT))
    axes = scale[:, None] * rng.standard_normal((N_LATENT, n_columns))
    shift = stain * rng.standard_normal((n_patients, N_LATENT))
    inputs = []
    for image in range(len(patient)):
        latent = shift[patient[image]] + 0.4 * rng.standard_normal(N_LATENT)
        latent[0] += signal * severity[image]
        regions = latent + rng.standard_normal((int(rng.integers(6, 21)), N_LATENT))
        inputs.append(bag_input(regions @ axes + rng.standard_normal((len(regions), n_columns))))
    n = len(patient)
    return Cohort(
        inputs=inputs,
        patient=np.array([f"synthetic-image-{number:04d}" for number in range(n)]),
        site=np.array([f"synthetic-patient-{number:03d}" for number in patient]),
        slides=tuple(() for _ in range(n)),
        covariates=tuple({} for _ in range(n)),
        stain=np.full((n, 8), np.nan),
        stage=stage,
        time_days=np.full(n, np.nan),
        event=np.zeros(n, np.bool_),
        moment_id="none",
        feature_id="region encodings",
        embedding_id=None,
        feature_names=tuple(f"encoding_{number}" for number in range(n_columns)),
    )


def _stages(severity: NDArray[np.float64], n_stages: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return stages of unequal frequency, int64 (n,); every stage has at least a tenth of the images."""
    while True:
        fraction = rng.dirichlet(np.full(n_stages, 4.0))
        stage = np.searchsorted(np.quantile(severity, np.cumsum(fraction)[:-1]), severity)
        counts = np.bincount(stage, minlength=n_stages)
        if counts.min() >= 0.1 * len(severity):
            return stage.astype(np.int64)
