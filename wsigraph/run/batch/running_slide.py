"""A slide that is on its way through a cluster, whatever asked for it: a row of a manifest or a stored job."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsigraph.run.batch.lease import Holder
from wsigraph.run.step_tasks import StepTask


@dataclass(eq=False, kw_only=True)
class RunningSlide:
    """A slide that runs on a worker, waits for another attempt, or is held by another client.

    Attributes
    ----------
    run_id : str
        Run that its progress messages and its lease name.
    slide_id : str
        Name of the slide.
    tasks : tuple of StepTask
        The tasks of its steps, one after the other.
    task_index : int
        Index of the current task.
    attempt : int
        Number of the current attempt, from 1.
    future : distributed.Future or None
        The task on the cluster.
    lease : Path or None
        Lease file of its directory, once it was submitted.
    worker : str
        Address of the worker that runs it; empty before the first message.
    avoid : set of str
        Addresses of workers on which it failed.
    reported_at : float or None
        Monotonic time of the last progress message of this task, s.
    step : str
        Step that the worker is carrying out.
    fraction : float
        Completed fraction, in [0, 1].
    compiled : int or None
        Number of kernels that the worker has compiled, while it compiles.
    held_by : Holder or None
        The other process that holds the lease of the slide.
    held_since, retry_at : float
        Monotonic times: since when it is held so, and before when it is not submitted again, s.
    """

    run_id: str
    slide_id: str = field(init=False, default="")
    tasks: tuple[StepTask, ...] = ()
    task_index: int = 0
    attempt: int = 1
    future: Any = None
    lease: Path | None = None
    worker: str = ""
    avoid: set[str] = field(default_factory=set)
    reported_at: float | None = None
    step: str = ""
    fraction: float = 0.0
    compiled: int | None = None
    held_by: Holder | None = None
    held_since: float = 0.0
    retry_at: float = 0.0

    @property
    def task(self) -> StepTask:
        """The current task."""
        return self.tasks[self.task_index]

    def advance(self) -> bool:
        """Go on to the next task; return False if there is none."""
        self.held_by = None
        if self.task_index + 1 >= len(self.tasks):
            return False
        self.task_index += 1
        return True

    def submitted(self, future: Any, lease: Path) -> None:
        """Note that a task was submitted. Nothing is known of it until its first progress message."""
        self.future, self.lease = future, lease
        self.reported_at, self.worker = None, ""

    def update_progress(self, message: Mapping[str, Any]) -> None:
        """Take in a progress message of its worker."""
        self.reported_at, self.worker = time.monotonic(), str(message.get("worker", ""))
        self.step, self.compiled = str(message["stage"]), message.get("compiling")
        if self.compiled is not None:
            return
        self.fraction = message["done"] / message["total"] if message["total"] else 0.0

    def note_lost_worker(self, present: Collection[str]) -> None:
        """Note that its worker is not among those that are present: the cluster gives the task to another one."""
        if self.worker and self.worker not in present:
            self.worker, self.reported_at = "", None

    def wait_for_lease(self, holder: Holder | None, beat_s: float) -> None:
        """Note that another process holds the lease of its directory; try again after half a heartbeat."""
        now = time.monotonic()
        if holder != self.held_by:
            self.held_by, self.held_since = holder, now
        self.retry_at = now + beat_s / 2

    def stale_holder(self, stale_s: float) -> Holder | None:
        """Return the holder of the lease if it has not renewed it for so long, by the clock of this process."""
        is_stale = self.held_by is not None and time.monotonic() - self.held_since >= stale_s
        return self.held_by if is_stale else None
