"""What a model predicts for one slide: cancer stage and survival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.records.display import RecordDisplay
from wsigraph.records.faults import refuse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Prediction(RecordDisplay):
    """Stage and survival read from one graph; what a model did not learn is empty.

    Attributes
    ----------
    slide_id, model_id, model_name : str
        The slide, the digest of the model bundle, and the name on its card.
    stage_names, stage_probability : tuple of str, float64 (K,)
        The K stages; their probabilities sum to one.
    time_days, hazard, survival : float64 (T,)
        Right ends of intervals; probability of the event in each given survival to its start, of survival to its end.
    risk, median_survival_days : float or None
        Log cumulative hazard at the last interval (higher is worse), and first time at which survival is 0.5 or less,
        interpolated; None where it is not reached.
    notice, warnings : str, tuple of str
        What must be known about the model before reading a number, and what is special about this slide.
    stage_set, survival_band : tuple of str, float64 (2, T) or None
        Conformal set and pointwise bootstrap band; empty and None where too few patients were held out.
    distance, relation : float or None, str
        From the training slides, about 1 for a slide like them; ``"external"``, ``"out of fold"``, ``"in training"``.
    composition_risk, arrangement_risk : float or None
        Log hazard ratio from the composition of the tissue (offset) and from its arrangement (earned correction), means
        over members; 0 is an average training patient. None for a network without an offset, or without survival.
    survival_fraction, stage_fraction : float or None
        Fraction of the correction that was earned in training, mean over members; 0 is the offset alone.
    percentile : float or None
        Percent of the held-out training slides that are nearer to the training slides than this one; None where the
        model's card has no held-out distances.
    withheld : str
        Why no number is given, in which case all of them are empty; empty where they are given.
    assumes : str
        What the model takes for granted about the slide.
    is_demonstration : bool
        Whether the model was trained on simulated tissue alone, so that its numbers mean nothing on real slides.
    """

    slide_id: str
    model_id: str
    model_name: str
    stage_names: tuple[str, ...]
    stage_probability: NDArray[np.float64]
    time_days: NDArray[np.float64]
    hazard: NDArray[np.float64]
    survival: NDArray[np.float64]
    risk: float | None
    median_survival_days: float | None
    notice: str
    warnings: tuple[str, ...] = ()
    stage_set: tuple[str, ...] = ()
    survival_band: NDArray[np.float64] | None = None
    distance: float | None = None
    relation: str = "external"
    composition_risk: float | None = None
    arrangement_risk: float | None = None
    survival_fraction: float | None = None
    stage_fraction: float | None = None
    percentile: float | None = None
    withheld: str = ""
    assumes: str = ""
    is_demonstration: bool = False

    def __post_init__(self) -> None:
        n_stages, n_times = len(self.stage_names), len(self.time_days)
        shares = np.concatenate([self.hazard, self.survival, self.stage_probability])
        refuse(
            "Prediction",
            {
                "stage_probability and stage_names differ in length": len(self.stage_probability) != n_stages,
                "stage probabilities do not sum to 1": abs(float(self.stage_probability.sum()) - bool(n_stages)) > 1e-6,
                "hazard, survival and time_days differ in length": {len(self.hazard), len(self.survival)} != {n_times},
                "survival rises with time": bool((np.diff(self.survival) > 1e-12).any()),
                "a probability is outside [0, 1]": not bool(((shares >= 0) & (shares <= 1 + 1e-9)).all()),
                "risk is not a finite number": self.risk is not None and not np.isfinite(self.risk),
                "numbers are given and withheld": bool(self.withheld) and (len(shares) > 0 or self.risk is not None),
                "the band is not (2, T)": self.survival_band is not None and self.survival_band.shape != (2, n_times),
            },
        )

    def risk_parts(self) -> dict[str, float] | None:
        """Return composition, arrangement and earned fractions by name; None for a network without an offset."""
        names = ("composition_risk", "arrangement_risk", "survival_fraction", "stage_fraction")
        values = {name: getattr(self, name) for name in names}
        return {name: float(value) for name, value in values.items() if value is not None} or None

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        stages = zip(self.stage_names, self.stage_probability, strict=True)
        median = self.median_survival_days
        return {
            "slide": self.slide_id,
            "stage": "  ".join(f"{name} {probability:.2f}" for name, probability in stages) or "none",
            "risk": "none" if self.risk is None else f"{self.risk:.3f}",
            "median survival": (
                "none" if self.risk is None else "not reached" if median is None else f"{median:,.0f} days"
            ),
            **({"withheld": self.withheld} if self.withheld else {}),
            "model": f"{self.model_name} {self.model_id[:12]}",
            "warnings": str(len(self.warnings)),
        }
