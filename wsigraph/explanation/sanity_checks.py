"""Sanity checks of attributions: against a known cause, and against a network with random weights.

References
----------
Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018 (the pointing game); Adebayo et al.,
"Sanity checks for saliency maps", NeurIPS 2018 (randomised weights).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.explanation.members import ExplainedMember


def hits_cause(score: NDArray[np.float64], is_cause: NDArray[np.bool_]) -> bool:
    """Return whether the region of highest score is part of the cause (pointing game)."""
    return bool(is_cause[int(np.argmax(score))])


def average_precision(score: NDArray[np.float64], is_cause: NDArray[np.bool_], area: NDArray[np.float64]) -> float:
    """Return the area-weighted average precision of a score for a cause.

    Parameters
    ----------
    score : float64 (N,)
        Score of every region; the cause should have the highest.
    is_cause : bool (N,)
        Whether a region is part of the cause.
    area : float64 (N,)
        Weight of every region.

    Returns
    -------
    float
        A random score reaches the area fraction of the cause. Equal scores share one threshold.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    true_positive = np.cumsum(area[order] * is_cause[order])[last]
    selected = np.cumsum(area[order])[last]
    if not true_positive[-1] > 0:
        return 0.0
    return float(np.sum(np.diff(true_positive, prepend=0.0) * true_positive / selected) / true_positive[-1])


def randomise_weights(members: Sequence[ExplainedMember], *, seed: int) -> tuple[ExplainedMember, ...]:
    """Return members of the same architecture with random weights.

    Parameters
    ----------
    members : sequence of ExplainedMember
        Trained members; not modified.
    seed : int
        Seed of the weights.

    Returns
    -------
    tuple of ExplainedMember
        With the same scalers, temperatures and intervals.
    """
    randomised = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for member in members:
            network = copy.deepcopy(member.network)
            for module in network.modules():
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
            randomised.append(replace(member, network=network))
    return tuple(randomised)
