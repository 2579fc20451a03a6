"""How attributions do against a cause that is known, and against a network that has learned nothing.

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


def points_at(score: NDArray[np.float64], is_cause: NDArray[np.bool_]) -> bool:
    """Return whether the place of highest score lies in the cause; the pointing game."""
    return bool(is_cause[int(np.argmax(score))])


def average_precision(score: NDArray[np.float64], is_cause: NDArray[np.bool_], area: NDArray[np.float64]) -> float:
    """Return the area-weighted average precision of a score for a cause.

    Parameters
    ----------
    score : float64 (N,)
        Higher shall be cause.
    is_cause : bool (N,)
        Truth.
    area : float64 (N,)
        What each place counts.

    Returns
    -------
    float
        The share of the cause in the area is what chance reaches; equal scores are taken together.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    found = np.cumsum(area[order] * is_cause[order])[last]
    taken = np.cumsum(area[order])[last]
    if not found[-1] > 0:
        return 0.0
    return float(np.sum(np.diff(found, prepend=0.0) * found / taken) / found[-1])


def randomised(members: Sequence[ExplainedMember], *, seed: int) -> tuple[ExplainedMember, ...]:
    """Return members of the same architecture whose weights are drawn anew.

    Parameters
    ----------
    members : sequence of ExplainedMember
        Trained members; left as they are.
    seed : int
        Decides the weights.

    Returns
    -------
    tuple of ExplainedMember
        With the same scalers, temperatures and intervals.
    """
    found = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for member in members:
            network = copy.deepcopy(member.network)
            for module in network.modules():
                reset = getattr(module, "reset_parameters", None)
                if reset is not None:
                    reset()
            found.append(replace(member, network=network))
    return tuple(found)
