"""The model output that is explained.

An output is a function of the reported prediction, so that an ensemble is explained as one model, not as the mean of
several explanations: members are averaged as in `wsigraph.model.predict`, and the output is computed from the average.
``stage`` is the log-odds of a higher stage: the mean, over the K - 1 borders between stages, of the logit of the
reported probability beyond the border. For a single network that is its stage score up to a constant. ``risk`` is the
reported risk, the log cumulative hazard of the mean survival at the last reported day. ``survival@DAYS`` is the mean
survival probability at that day, with a constant hazard inside each time interval of a member.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from wsigraph.errors import ConfigError
from wsigraph.explanation.members import ExplainedMember, Logits
from wsigraph.model.nn.heads import log_survival

_KINDS = ("stage", "risk", "survival")
# as in the prediction, so that the risk at a survival of one is finite
_LEAST_HAZARD = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Target:
    """An output to explain.

    Attributes
    ----------
    kind : str
        ``"stage"``, ``"risk"`` or ``"survival"``.
    days : float or None
        Day of ``survival``; None for the other outputs.
    """

    kind: str
    days: float | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Return the target of a name.

        Parameters
        ----------
        text : str
            ``stage``, ``risk`` or ``survival@DAYS``.

        Returns
        -------
        Target
            The target.

        Raises
        ------
        ConfigError
            If the name is unknown.
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
        """Unit of the output."""
        return {
            "stage": "log-odds of a higher stage",
            "risk": "log cumulative hazard",
            "survival": "probability of survival",
        }[self.kind]

    def check(self, ends_days: Sequence[NDArray[np.float64]], n_stages: int) -> None:
        """Refuse an output that a model does not predict.

        Parameters
        ----------
        ends_days : sequence of float64 (T,)
            Right ends of the time intervals of every member, days.
        n_stages : int
            Number of stages; 0 if the model does not predict stage.

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
            raise ConfigError(f"target '{self}' is beyond the model's last interval; expected at most {last:g} days")

    def read(self, members: Sequence[ExplainedMember], logits: Sequence[Logits]) -> Tensor:
        """Return the output of an ensemble for every version of a slide.

        Parameters
        ----------
        members : sequence of ExplainedMember
            At least one member.
        logits : sequence of (Tensor (S, K - 1), Tensor (S, T))
            Stage logits and hazard logits of every member.

        Returns
        -------
        Tensor float64 (S,)
            In the target's unit.
        """
        if self.kind == "stage":
            scaled = torch.stack(
                [stage.double() / member.temperature for member, (stage, _) in _pairs(members, logits)]
            )  # (M, S, K - 1)
            # both probabilities as logarithms, so that one close to 1 keeps its odds
            above, beyond = (torch.logsumexp(logsigmoid(sign * scaled), dim=0) for sign in (1, -1))
            return (above - beyond).mean(dim=1)
        return self.combine(torch.stack([self.member_number(member, own) for member, own in _pairs(members, logits)]))

    @property
    def is_of_survival(self) -> bool:
        """Whether the output depends on the members only through the log survival of each at one day."""
        return self.kind != "stage"

    def member_number(self, member: ExplainedMember, logits: Logits) -> Tensor:
        """Return a member's log survival at the output's day, for every version of a slide, Tensor float64 (S,)."""
        day = member.risk_days if self.days is None else self.days
        return mean_log_survival([member], [logits], np.array([day]))[:, 0]

    def combine(self, numbers: Tensor) -> Tensor:
        """Return the output of an ensemble from the log survival of its members, (M, S) to (S,)."""
        log_alive = torch.logsumexp(numbers, dim=0) - math.log(len(numbers))
        return log_alive.exp() if self.days is not None else (-log_alive).clamp_min(_LEAST_HAZARD).log()

    def of_training(
        self,
        stage: NDArray[np.float64],
        risk_: NDArray[np.float64],
        log_alive: NDArray[np.float64],
        ends_days: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the output for slides of which only the stored outputs are known.

        Parameters
        ----------
        stage, risk_ : float64 (B,)
            Stage output and risk of every slide.
        log_alive : float64 (B, T)
            Logarithm of predicted survival at every reported day.
        ends_days : float64 (T,)
            Reported days.

        Returns
        -------
        float64 (B,)
            In the target's unit. The hazard between two reported days is taken as constant, which is approximate for
            an ensemble.
        """
        if self.days is None:
            return stage if self.kind == "stage" else risk_
        left, fraction = _interval(ends_days, self.days)
        curve = np.concatenate([np.zeros((len(log_alive), 1)), log_alive], axis=1)
        return np.asarray(np.exp((1 - fraction) * curve[:, left] + fraction * curve[:, left + 1]))


def mean_log_survival(
    members: Sequence[ExplainedMember], logits: Sequence[Logits], days: NDArray[np.float64]
) -> Tensor:
    """Return the logarithm of the mean survival over members.

    Parameters
    ----------
    members : sequence of ExplainedMember
        At least one member.
    logits : sequence of (Tensor (S, K - 1), Tensor (S, T))
        Stage logits and hazard logits of every member.
    days : float64 (D,)
        Days at which to evaluate. Survival is constant after a member's last interval.

    Returns
    -------
    Tensor float64 (S, D)
        By version and day.
    """
    curves = []
    for member, (_, hazard) in _pairs(members, logits):
        alive = torch.nn.functional.pad(log_survival(hazard.double()), (1, 0))
        positions = [_interval(member.ends_days, float(day)) for day in days]
        curves.append(
            torch.stack([torch.lerp(alive[:, k], alive[:, k + 1], fraction) for k, fraction in positions], dim=1)
        )
    return torch.logsumexp(torch.stack(curves), dim=0) - math.log(len(curves))


def _pairs(members: Sequence[ExplainedMember], logits: Sequence[Logits]) -> Iterator[tuple[ExplainedMember, Logits]]:
    return zip(members, logits, strict=True)


def _interval(ends_days: NDArray[np.float64], days: float) -> tuple[int, float]:
    """Return the index of the interval that contains a day (the last if it is later), and the fraction of it passed."""
    ends = np.concatenate([[0.0], ends_days])
    days = min(days, float(ends[-1]))
    left = min(int(np.searchsorted(ends, days, side="left")) - 1, len(ends) - 2)
    return left, float((days - ends[left]) / (ends[left + 1] - ends[left]))
