"""From a slide's vector to stage and survival.

Stage is ordinal: a cumulative-logit model (McCullagh, "Regression models for ordinal data", JRSS B 1980) with one
score and rising thresholds, so that being of a higher stage can never be likelier than being of a lower one or above.
Survival is a discrete-time hazard (Gensheimer and Narasimhan, "A scalable discrete-time survival model for neural
networks", PeerJ 2019): one logit an interval, hazards not tied by proportionality; or a proportional hazard (Cox,
JRSS B 1972) on Breslow's baseline, stated as hazards of the same intervals. The ordinal head is not optimal where
stages differ in kind rather than degree, proportional hazards where curves cross.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MIN_GAP = 1e-2
"""Least distance of neighbouring stage thresholds, in logits; keeps every stage's probability above zero."""
SLOPE = 5.0
"""Logits a unit of the stage score: sharp stages need thresholds many logits apart, which steps of the size that suits
the other weights would not reach."""


class OrdinalHead(nn.Module):
    """Cumulative logits of K ordered stages.

    Parameters
    ----------
    width : int
        Channels of the slide's vector.
    n_stages : int
        K, at least 2.
    """

    def __init__(self, width: int, n_stages: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        # softplus(0.5413) = 1: the thresholds start one unit of the score apart and centred on 0
        self.first = nn.Parameter(torch.tensor([-0.5 * (n_stages - 2)]))
        self.gap = nn.Parameter(torch.full((n_stages - 2,), 0.5413))

    def thresholds(self) -> Tensor:
        """Return the rising thresholds in units of the score, float32 (K - 1,)."""
        gaps = nn.functional.softplus(self.gap) + MIN_GAP / SLOPE
        return torch.cat([self.first, self.first + gaps.cumsum(0)])

    def forward(self, g: Tensor) -> Tensor:
        """Return the logits of being above each stage.

        Parameters
        ----------
        g : Tensor float32 (B, width)
            Slides.

        Returns
        -------
        Tensor float32 (B, K - 1)
            Logit of a stage beyond the k-th; falls along k.
        """
        logits: Tensor = SLOPE * (self.score(g) - self.thresholds())
        return logits


class HazardHead(nn.Module):
    """Logits of the hazard in each of T intervals.

    Parameters
    ----------
    width : int
        Channels of the slide's vector.
    n_intervals : int
        T.
    """

    def __init__(self, width: int, n_intervals: int) -> None:
        super().__init__()
        self.logit = nn.Linear(width, n_intervals)

    def start_at(self, hazard: Tensor) -> None:
        """Set the biases to the hazards of the training part, float32 (T,) in (0, 1), before training."""
        with torch.no_grad():
            self.logit.bias.copy_(torch.logit(hazard, eps=1e-3))

    def forward(self, g: Tensor) -> Tensor:
        """Return hazard logits, float32 (B, T), of slides (B, width)."""
        logits: Tensor = self.logit(g)
        return logits


class CoxHead(nn.Module):
    """Log hazard ratio, and with a baseline the hazard in each of T intervals.

    Parameters
    ----------
    width : int
        Channels of the slide's vector.
    n_intervals : int
        T.
    """

    def __init__(self, width: int, n_intervals: int) -> None:
        super().__init__()
        # a constant would be the baseline's
        self.score = nn.Linear(width, 1, bias=False)
        self.log_increment = nn.Parameter(torch.zeros(n_intervals), requires_grad=False)

    def start_at(self, hazard: Tensor) -> None:
        """Set the baseline to the hazards of the training part, float32 (T,) in (0, 1), before training."""
        with torch.no_grad():
            self.log_increment.copy_((-torch.log1p(-hazard)).log())

    def set_baseline(self, increment: Tensor) -> None:
        """Set the baseline's cumulative hazard of every interval, (T,), above 0, after training."""
        with torch.no_grad():
            self.log_increment.copy_(increment.log())

    def log_hazard(self, g: Tensor) -> Tensor:
        """Return the log hazard ratio, float32 (B,), of slides (B, width)."""
        ratio: Tensor = self.score(g).squeeze(1)
        return ratio

    def start_from_zero(self) -> None:
        """Set the log hazard ratio of every slide to 0, before training, where it is added to one known already."""
        nn.init.zeros_(self.score.weight)

    def forward(self, g: Tensor, start: Tensor | float = 0.0) -> Tensor:
        """Return hazard logits.

        Parameters
        ----------
        g : Tensor float32 (B, width)
            Slides.
        start : Tensor float32 (B,), optional
            Log hazard ratios to add to those of `log_hazard`.

        Returns
        -------
        Tensor float32 (B, T)
            Of every interval.
        """
        # below e^-60 a hazard is 0 and above e^60 it is 1, for any float
        cumulative = ((self.log_hazard(g) + start)[:, None] + self.log_increment).clamp(-60.0, 60.0).exp()
        # logit(1 - exp(-x)) = log(expm1(x)), which is x itself where expm1 would overflow
        safe = cumulative.clamp_max(30.0)
        return torch.where(cumulative > 30.0, cumulative, torch.expm1(safe).log())


def stage_probability(logits: Tensor) -> Tensor:
    """Return the probability of every stage.

    Parameters
    ----------
    logits : Tensor (B, K - 1)
        Cumulative logits, falling along the second axis.

    Returns
    -------
    Tensor (B, K)
        Sums to one along the second axis.
    """
    above = torch.sigmoid(logits)
    one, zero = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([one, above], dim=1) - torch.cat([above, zero], dim=1)


def log_survival(logits: Tensor) -> Tensor:
    """Return the logarithm of survival to the end of every interval.

    Parameters
    ----------
    logits : Tensor (B, T)
        Hazard logits.

    Returns
    -------
    Tensor (B, T)
        ``sum over intervals so far of log(1 - hazard)``; 0 where all hazards are 0.
    """
    return nn.functional.logsigmoid(-logits).cumsum(dim=1)


def risk(logits: Tensor) -> Tensor:
    """Return the log cumulative hazard at the last interval, (B,); higher is worse.

    Parameters
    ----------
    logits : Tensor (B, T)
        Hazard logits.

    Returns
    -------
    Tensor (B,)
        ``log(-log S(T))``, finite for finite logits.
    """
    smallest = torch.finfo(logits.dtype).tiny
    return (-log_survival(logits)[:, -1]).clamp_min(smallest).log()
