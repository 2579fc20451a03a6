"""How the stages of a slide are cut into tasks, so that a GPU is held only while it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsigraph.run.steps import STAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Stages that one task carries out.

    Attributes
    ----------
    until : str
        Last stage.
    on_gpu : bool
        Whether only a worker that offers a GPU may carry them out.
    """

    until: str
    on_gpu: bool


def plan_steps(until: str, gpu_stages: Sequence[str]) -> tuple[Step, ...]:
    """Return the tasks that carry out a slide one after the other.

    Parameters
    ----------
    until : str
        Last stage.
    gpu_stages : sequence of str
        Stages that want a GPU.

    Returns
    -------
    tuple of Step
        One where no stage wants a GPU.
    """
    wanted = STAGES[: STAGES.index(until) + 1]
    steps: list[Step] = []
    for stage in wanted:
        on_gpu = stage in gpu_stages
        if steps and steps[-1].on_gpu == on_gpu:
            steps.pop()
        steps.append(Step(until=stage, on_gpu=on_gpu))
    return tuple(steps)
