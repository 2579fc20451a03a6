"""Which output of a model is explained.

``stage`` is the log-odds of a higher stage: the cumulative logits of an ordinal head differ by constants, so that all
of them have the same attributions, and their mean stands for them. ``risk`` is the log cumulative hazard at the last
interval. ``survival@DAYS`` is the probability of being alive at that day, with a constant hazard inside an interval.
An ensemble's output is the mean of its members' outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsigraph.errors import ConfigError
from wsigraph.model.heads import log_survival, risk

_KINDS = ("stage", "risk", "survival")


@dataclass(frozen=True, slots=True)
class Target:
    """An output to explain.

    Attributes
    ----------
    kind : str
        ``"stage"``, ``"risk"`` or ``"survival"``.
    days : float or None
        The day of survival; None otherwise.
    """

    kind: str
    days: float | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target that a text names.

        Parameters
        ----------
        text : str
            ``stage``, ``risk`` or ``survival@DAYS``.

        Returns
        -------
        Target
            As named.

        Raises
        ------
        ConfigError
            If it names none.
        """
        kind, at, days = text.partition("@")
        try:
            number = float(days) if at else None
        except ValueError:
            number = math.nan
        is_survival = kind == "survival"
        if kind not in _KINDS or is_survival != (number is not None) or not (number is None or 0 < number < math.inf):
            raise ConfigError(f"target {text!r} is unknown, expected stage, risk or survival@DAYS, e.g. survival@1825")
        return cls(kind, number)

    def __str__(self) -> str:
        return self.kind if self.days is None else f"{self.kind}@{self.days:g}"

    @property
    def unit(self) -> str:
        """What the output is measured in."""
        return {
            "stage": "log-odds of a higher stage",
            "risk": "log cumulative hazard",
            "survival": "probability of survival",
        }[self.kind]

    def check(self, ends_days: Sequence[NDArray[np.float64]], n_stages: int) -> None:
        """Refuse an output that a model does not have.

        Parameters
        ----------
        ends_days : sequence of float64 (T,)
            Right ends of the time intervals of every member, days.
        n_stages : int
            Stages that the model tells apart; 0 where it tells none.

        Raises
        ------
        ConfigError
            If the model does not predict it, or not that far.
        """
        if self.kind == "stage":
            if n_stages == 0:
                raise ConfigError("target 'stage' is not predicted by this model; expected risk or survival@DAYS")
            return
        last = min((float(ends[-1]) if len(ends) else 0.0) for ends in ends_days)
        if last == 0.0:
            raise ConfigError(f"target '{self}' is not predicted by this model; expected stage")
        if self.days is not None and self.days > last:
            raise ConfigError(f"target '{self}' lies beyond the model's last interval; expected at most {last:g} days")

    def read(self, stage_logits: Tensor, hazard_logits: Tensor, ends_days: NDArray[np.float64]) -> Tensor:
        """Return the output of every slide.

        Parameters
        ----------
        stage_logits : Tensor (S, K - 1)
            Cumulative logits.
        hazard_logits : Tensor (S, T)
            Hazard logits.
        ends_days : float64 (T,)
            Right ends of the intervals, days.

        Returns
        -------
        Tensor (S,)
            In the target's unit.
        """
        if self.kind == "stage":
            return stage_logits.mean(dim=1)
        if self.days is None:
            return risk(hazard_logits)
        left, share = _interval(ends_days, self.days)
        curve = torch.cat([torch.zeros_like(hazard_logits[:, :1]), log_survival(hazard_logits)], dim=1)
        return torch.lerp(curve[:, left], curve[:, left + 1], share).exp()

    def of_training(
        self,
        stage: NDArray[np.float64],
        risk_: NDArray[np.float64],
        log_alive: NDArray[np.float64],
        ends_days: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the output of slides whose logits are not at hand.

        Parameters
        ----------
        stage, risk_ : float64 (B,)
            Those outputs of every slide.
        log_alive : float64 (B, T)
            Logarithm of survival to the end of every interval.
        ends_days : float64 (T,)
            Right ends of the intervals, days.

        Returns
        -------
        float64 (B,)
            In the target's unit.
        """
        if self.days is None:
            return stage if self.kind == "stage" else risk_
        left, share = _interval(ends_days, min(self.days, float(ends_days[-1])))
        curve = np.concatenate([np.zeros((len(log_alive), 1)), log_alive], axis=1)
        return np.asarray(np.exp((1 - share) * curve[:, left] + share * curve[:, left + 1]))


def _interval(ends_days: NDArray[np.float64], days: float) -> tuple[int, float]:
    """Return the interval that holds a day, and how far into it the day lies."""
    ends = np.concatenate([[0.0], ends_days])
    left = min(int(np.searchsorted(ends, days, side="left")) - 1, len(ends) - 2)
    return left, float((days - ends[left]) / (ends[left + 1] - ends[left]))
