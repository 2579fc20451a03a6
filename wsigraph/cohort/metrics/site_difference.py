"""Differences between two models, averaged over whole sites.

Patients of one site are alike, so a difference between two models is known as well as the sites are many, not as the
patients are. Each site gives one difference, from its own patients alone. Their mean is weighted by patients; its
standard error is the jackknife's that leaves out one site after another (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 11), and its interval is that of Student's t with one degree of freedom fewer than there are
effective sites (Kish, "Survey Sampling", 1965): as many sites of equal size would be as informative. A percentile
interval over whole sites is too narrow below about thirty sites; ``python -m pipelines.score_intervals`` compares both.
Under six effective sites the interval is wide and rests on the assumption that sites differ as a normal variable does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

FEW_SITES = 6.0
"""Effective sites below which an interval over sites has a warning."""


@dataclass(frozen=True, slots=True)
class SiteMean:
    """A patient-weighted mean over sites.

    Attributes
    ----------
    value : float
        The mean; NaN if no site has a value.
    low, high : float
        Ends of its 95 % confidence interval; NaN with fewer than two sites.
    n_sites : int
        Sites with a value.
    effective_sites : float
        Sites of equal size that would be as informative.
    """

    value: float
    low: float
    high: float
    n_sites: int
    effective_sites: float

    @property
    def has_few_sites(self) -> bool:
        """Whether there are fewer than `FEW_SITES` effective sites."""
        return self.effective_sites < FEW_SITES


def effective_sites(n_patients: NDArray[np.float64]) -> float:
    """Return how many sites of equal size are as informative as sites of given sizes (s,); 0 without patients."""
    total = float(n_patients.sum())
    return total**2 / float((n_patients**2).sum()) if total > 0 else 0.0


def mean_over_sites(values: NDArray[np.float64], n_patients: NDArray[np.float64]) -> SiteMean:
    """Return the patient-weighted mean of a quantity over sites.

    Parameters
    ----------
    values : float64 (s,)
        One a site, e.g. the difference of two C-indices; NaN where it is undefined, which leaves the site out.
    n_patients : float64 (s,)
        Patients of each site.

    Returns
    -------
    SiteMean
        With its interval.
    """
    defined = np.isfinite(values) & (n_patients > 0)
    value, weight = values[defined], n_patients[defined].astype(np.float64)
    n, nan = len(value), float("nan")
    if not n:
        return SiteMean(nan, nan, nan, 0, 0.0)
    mean = float(weight @ value / weight.sum())
    effective = effective_sites(weight)
    if n < 2:
        return SiteMean(mean, nan, nan, n, effective)
    without = (weight @ value - weight * value) / (weight.sum() - weight)
    error = float(np.sqrt((n - 1) / n * ((without - mean) ** 2).sum()))
    half = error * float(student_t.ppf(0.975, max(effective - 1.0, 1.0)))
    return SiteMean(mean, mean - half, mean + half, n, effective)
