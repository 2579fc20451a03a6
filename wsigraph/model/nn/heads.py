"""From a slide embedding to stage and survival.

Stage is ordinal: a cumulative-logit model (McCullagh, "Regression models for ordinal data", JRSS B 1980) with one
score and rising thresholds, so the probability of lying beyond a stage never rises from one stage to the next.
Survival is a discrete-time hazard (Gensheimer and Narasimhan, "A scalable discrete-time survival model for neural
networks", PeerJ 2019) with one logit an interval, or a proportional hazard (Cox, JRSS B 1972) on Breslow's baseline,
expressed as hazards of the same intervals. Other survival heads are found by entry point, group
``wsigraph.survival_heads`` (see docs/plugins.md), and chosen by ``model.survival_head``. The ordinal head is not
optimal where stages differ in kind rather than degree, and proportional hazards are not where survival curves cross.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from wsigraph import registry
from wsigraph.errors import PluginError
from wsigraph.model.nn.losses import breslow_increments, cox_loss, survival_loss

MIN_GAP = 1e-2
"""Least distance of neighbouring stage thresholds, in logits; keeps every stage's probability above zero."""
SLOPE = 5.0
"""Logits per unit of the stage score. Sharp stages need thresholds many logits apart; at a learning rate that suits the
other weights, the thresholds alone would not get there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SurvivalOutcomes:
    """Follow-up of B patients, as a survival head reads it.

    Attributes
    ----------
    time_days : Tensor float64 (B,)
        Follow-up, days; NaN where unknown.
    event : Tensor bool (B,)
        Whether follow-up ended with the event.
    survived, died : Tensor float32 (B, T)
        The same by interval; see `wsigraph.model.nn.losses.SurvivalTarget`.
    offset : Tensor float32 (B,)
        Known part of the log hazard ratio (``model.linear_offset``); 0 where there is none.
    """

    time_days: Tensor
    event: Tensor
    survived: Tensor
    died: Tensor
    offset: Tensor


class SurvivalHead(Protocol):
    """A module from slide embeddings to hazards; built as ``Head(width, n_intervals)``.

    Training calls `initialise_baseline` once before the first epoch, `loss` for every batch, and `fit_baseline` once
    after the last epoch. Prediction and explanation call the module itself. All that prediction needs must be in the
    module's parameters and buffers, which the bundle stores.
    """

    def __call__(self, embedding: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return hazard logits.

        Parameters
        ----------
        embedding : Tensor float32 (B, width)
            Slide embeddings.
        offset : Tensor float32 (B,), optional
            Known part of the log hazard ratio; given with ``model.linear_offset`` only.

        Returns
        -------
        Tensor float32 (B, T)
            Logit of the hazard in every interval.
        """
        ...

    def initialise_baseline(self, hazard: Tensor) -> None:
        """Set starting values from the hazards of the training patients, float32 (T,) in (0, 1)."""
        ...

    def loss(self, embedding: Tensor, outcomes: SurvivalOutcomes) -> Tensor:
        """Return the mean loss of a batch, a scalar; 0 with a gradient of 0 where no outcome is known."""
        ...

    def fit_baseline(self, embedding: Tensor, outcomes: SurvivalOutcomes, ends_days: Tensor) -> None:
        """Fit the baseline hazard after training.

        Parameters
        ----------
        embedding : Tensor float32 (B, width)
            Embeddings of the training patients, without gradient.
        outcomes : SurvivalOutcomes
            Their follow-up.
        ends_days : Tensor float64 (T,)
            Right ends of the intervals, days.
        """
        ...


class OrdinalHead(nn.Module):
    """Cumulative logits of K ordered stages.

    Parameters
    ----------
    width : int
        Channels of a slide embedding.
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

    def forward(self, embedding: Tensor) -> Tensor:
        """Return cumulative logits.

        Parameters
        ----------
        embedding : Tensor float32 (B, width)
            Slide embeddings.

        Returns
        -------
        Tensor float32 (B, K - 1)
            Logit of the stage lying beyond the k-th; falls along k.
        """
        logits: Tensor = SLOPE * (self.score(embedding) - self.thresholds())
        return logits


class HazardHead(nn.Module):
    """Discrete-time hazards: one logit for each of T intervals, without an assumption of proportionality.

    Parameters
    ----------
    width : int
        Channels of a slide embedding.
    n_intervals : int
        T.
    """

    def __init__(self, width: int, n_intervals: int) -> None:
        super().__init__()
        self.logit = nn.Linear(width, n_intervals)

    def initialise_baseline(self, hazard: Tensor) -> None:
        """Set the biases to the logits of the hazards of the training patients, float32 (T,) in (0, 1)."""
        with torch.no_grad():
            self.logit.bias.copy_(torch.logit(hazard, eps=1e-3))

    def loss(self, embedding: Tensor, outcomes: SurvivalOutcomes) -> Tensor:
        """Return the mean negative log-likelihood; see `wsigraph.model.nn.losses.survival_loss`."""
        return survival_loss(self(embedding), outcomes.survived, outcomes.died)

    def fit_baseline(self, embedding: Tensor, outcomes: SurvivalOutcomes, ends_days: Tensor) -> None:
        """Do nothing: the biases are the baseline, and they are trained."""

    def forward(self, embedding: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return hazard logits.

        Parameters
        ----------
        embedding : Tensor float32 (B, width)
            Slide embeddings.
        offset : None
            This head has no log hazard ratio to add an offset to.

        Returns
        -------
        Tensor float32 (B, T)
            Logit of the hazard in every interval.

        Raises
        ------
        ValueError
            If there is an offset.
        """
        if offset is not None:
            raise ValueError("HazardHead takes no offset, for it has no log hazard ratio; use CoxHead")
        logits: Tensor = self.logit(embedding)
        return logits


class CoxHead(nn.Module):
    """Proportional hazards: a log hazard ratio, and Breslow's baseline for T intervals.

    Parameters
    ----------
    width : int
        Channels of a slide embedding.
    n_intervals : int
        T.
    """

    def __init__(self, width: int, n_intervals: int) -> None:
        super().__init__()
        # without a bias: a constant belongs to the baseline
        self.score = nn.Linear(width, 1, bias=False)
        self.log_increment = nn.Parameter(torch.zeros(n_intervals), requires_grad=False)

    def initialise_baseline(self, hazard: Tensor) -> None:
        """Set the baseline to the hazards of the training patients, float32 (T,) in (0, 1)."""
        with torch.no_grad():
            self.log_increment.copy_((-torch.log1p(-hazard)).log())

    def loss(self, embedding: Tensor, outcomes: SurvivalOutcomes) -> Tensor:
        """Return the mean negative log partial likelihood; see `wsigraph.model.nn.losses.cox_loss`."""
        return cox_loss(self.log_hazard_ratio(embedding) + outcomes.offset, outcomes.time_days, outcomes.event)

    def fit_baseline(self, embedding: Tensor, outcomes: SurvivalOutcomes, ends_days: Tensor) -> None:
        """Set the baseline to Breslow's estimate; arguments as for `SurvivalHead`."""
        ratio = self.log_hazard_ratio(embedding).cpu().double().numpy()
        log_hazard = ratio + outcomes.offset.cpu().double().numpy()
        increment = breslow_increments(
            log_hazard, outcomes.time_days.cpu().numpy(), outcomes.event.cpu().numpy(), ends_days.cpu().numpy()
        )
        with torch.no_grad():
            self.log_increment.copy_(torch.from_numpy(increment.astype(np.float32)).to(embedding.device).log())

    def log_hazard_ratio(self, embedding: Tensor) -> Tensor:
        """Return the log hazard ratio, float32 (B,), of embeddings (B, width), without an offset."""
        ratio: Tensor = self.score(embedding).squeeze(1)
        return ratio

    def scale_log_hazard_ratio(self, factor: float) -> None:
        """Multiply the log hazard ratio of every slide by a factor; 0 leaves the offset alone."""
        with torch.no_grad():
            self.score.weight.mul_(factor)

    def forward(self, embedding: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return hazard logits, float32 (B, T); arguments as for `SurvivalHead`.

        With r the log hazard ratio plus offset and H_t the increment of the baseline's cumulative hazard in interval t,
        the hazard is ``1 - exp(-H_t e^r)``.
        """
        ratio = self.log_hazard_ratio(embedding) + (0.0 if offset is None else offset)
        return proportional_hazard_logits(ratio, self.log_increment)


def proportional_hazard_logits(ratio: Tensor, log_increment: Tensor) -> Tensor:
    """Return hazard logits of proportional hazards.

    Parameters
    ----------
    ratio : Tensor float32 (B,)
        Log hazard ratios.
    log_increment : Tensor float32 (T,)
        Logarithm of the increment of the baseline's cumulative hazard in every interval.

    Returns
    -------
    Tensor float32 (B, T)
        Logit of ``1 - exp(-H_t e^r)``.
    """
    # below e^-60 a hazard is 0 and above e^60 it is 1, for any float
    cumulative = (ratio[:, None] + log_increment).clamp(-60.0, 60.0).exp()  # (B, T)
    # logit(1 - exp(-x)) = log(expm1(x)), which is x itself where expm1 would overflow
    bounded = cumulative.clamp_max(30.0)
    return torch.where(cumulative > 30.0, cumulative, torch.expm1(bounded).log())


BUILT_IN_SURVIVAL_HEADS: dict[str, Callable[[int, int], nn.Module]] = {"hazard": HazardHead, "cox": CoxHead}
"""The package's own, known without a search of the installed packages, which costs more than reading a slide."""


def make_survival_head(name: str, width: int, n_intervals: int) -> nn.Module:
    """Return a new survival head.

    Parameters
    ----------
    name : str
        As in ``model.survival_head``: the package's own, or a plugin of group ``wsigraph.survival_heads``.
    width : int
        Channels of a slide embedding.
    n_intervals : int
        T.

    Returns
    -------
    torch.nn.Module
        It meets `SurvivalHead`.

    Raises
    ------
    PluginError
        If there is no such plugin, it does not load, or what it names is no survival head.
    """
    factory = BUILT_IN_SURVIVAL_HEADS.get(name) or registry.load(registry.SURVIVAL_HEADS, name)
    head = factory(width, n_intervals)
    missing = [part for part in ("initialise_baseline", "loss", "fit_baseline") if not hasattr(head, part)]
    if missing or not isinstance(head, nn.Module):
        raise PluginError(
            f"survival head {name!r} gives {type(head).__name__} without {', '.join(missing) or 'weights'}, expected a "
            "torch.nn.Module with initialise_baseline, loss and fit_baseline (wsigraph.model.nn.heads.SurvivalHead)"
        )
    return head


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
