"""The tasks of a cluster that carry out the steps of one slide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsigraph.run.steps import steps_until


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTask:
    """Consecutive steps of a slide that one task of a cluster carries out.

    Attributes
    ----------
    until : str
        Last step.
    on_gpu : bool
        Whether only a worker that offers a GPU may carry them out.
    """

    until: str
    on_gpu: bool


def plan_tasks(until: str, gpu_steps: Sequence[str]) -> tuple[StepTask, ...]:
    """Return the tasks that carry out a slide one after the other, so that a GPU is only held while it is used.

    Parameters
    ----------
    until : str
        Last step.
    gpu_steps : sequence of str
        Steps that need a GPU.

    Returns
    -------
    tuple of StepTask
        One task if no step needs a GPU.
    """
    tasks: list[StepTask] = []
    for step in steps_until(until):
        on_gpu = step.name in gpu_steps
        if tasks and tasks[-1].on_gpu == on_gpu:
            tasks.pop()
        tasks.append(StepTask(until=step.name, on_gpu=on_gpu))
    return tuple(tasks)
