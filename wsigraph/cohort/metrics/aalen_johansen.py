"""The Aalen-Johansen estimate of cumulative incidence where patients may have one of several events.

Who dies of another cause can no longer die of the cancer. One minus Kaplan-Meier, with the other deaths as censored,
says how many would die of it if nobody died otherwise, and is too high. The cumulative incidence of an event is
``F_j = F_{j-1} + S_{j-1} d_j / n_j``, with S the probability of no event of any kind, d_j events of this kind among the
n_j at risk. The band is ``F ** exp(+-z se / (F log F))``, with the variance that lifelines uses. It is implemented here
because lifelines breaks ties of time by random numbers; without ties both agree.

References
----------
Aalen and Johansen, "An empirical transition matrix for non-homogeneous Markov chains based on censored observations",
Scandinavian Journal of Statistics 1978; Marubini and Valsecchi, "Analysing survival data from clinical trials and
observational studies", 1995, section 10.3 (variance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IncidenceSteps:
    """An estimated cumulative incidence.

    Attributes
    ----------
    time_days : float64 (J,)
        Days of the events of this kind, rising.
    incidence, low, high : float64 (J,)
        Probability of the event by each day, and its pointwise 95 % confidence band.
    n_patients, n_events : int
        Size of the sample, and events of this kind.
    last_day : float
        Longest follow-up.
    """

    time_days: NDArray[np.float64]
    incidence: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_patients: int
    n_events: int
    last_day: float

    def incidence_at(self, days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the incidence by some days, float64 like `days`; constant after the last event."""
        steps = np.concatenate([[0.0], self.incidence])
        return np.asarray(steps[np.searchsorted(self.time_days, days, side="right")])


def cumulative_incidence(time_days: NDArray[np.float64], cause: NDArray[np.int64], kind: int = 1) -> IncidenceSteps:
    """Return the Aalen-Johansen estimate of one kind of event.

    Parameters
    ----------
    time_days : float64 (n,)
        Follow-up, days; patients with NaN are left out.
    cause : int64 (n,)
        Event that ended follow-up; 0 where it was censored.
    kind : int
        The event in question.

    Returns
    -------
    IncidenceSteps
        Without steps if there is no such event.
    """
    followed = np.isfinite(time_days)
    time_days, cause = time_days[followed], cause[followed]
    days, index = np.unique(time_days, return_inverse=True)
    leaving = np.bincount(index, minlength=len(days))
    at_risk = (len(time_days) - np.cumsum(leaving) + leaving).astype(np.float64)
    died = np.bincount(index, cause != 0, len(days)).astype(np.float64)
    own = np.bincount(index, cause == kind, len(days)).astype(np.float64)
    survival = np.cumprod(1.0 - died / np.maximum(at_risk, 1.0))
    before = np.concatenate([[1.0], survival[:-1]]) if len(days) else survival
    incidence = np.cumsum(before * own / np.maximum(at_risk, 1.0))
    shown = own > 0
    remaining = at_risk * (at_risk - died)
    greenwood = np.divide(died, remaining, out=np.zeros(len(days)), where=remaining > 0)
    own_part = before**2 * own * (at_risk - own) / np.maximum(at_risk, 1.0) ** 3
    crossed = before * own / np.maximum(at_risk, 1.0) ** 2
    # sums over earlier days of (F_j - F_k)^2, expanded so that each is a running sum
    variance = (
        incidence**2 * np.cumsum(greenwood)
        - 2.0 * incidence * np.cumsum(greenwood * incidence)
        + np.cumsum(greenwood * incidence**2)
        + np.cumsum(own_part)
        - 2.0 * (incidence * np.cumsum(crossed) - np.cumsum(crossed * incidence))
    )
    value, error = incidence[shown], np.sqrt(np.maximum(variance[shown], 0.0))
    inside = (value > 0) & (value < 1)
    safe = np.where(inside, value, 0.5)
    power = np.exp(_Z * error / np.abs(safe * np.log(safe)))
    return IncidenceSteps(
        time_days=days[shown],
        incidence=value,
        low=np.where(inside, safe**power, value),
        high=np.where(inside, safe ** (1.0 / power), value),
        n_patients=len(time_days),
        n_events=int(own.sum()),
        last_day=float(days[-1]) if len(days) else 0.0,
    )
