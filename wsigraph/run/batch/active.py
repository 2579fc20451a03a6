"""A slide that the client is working on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsigraph.run.batch.lease import Holder

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow


@dataclass(eq=False)
class Active:
    """A slide that runs on a worker, waits for another attempt, or is held by another client.

    Attributes
    ----------
    row : ManifestRow
        The slide.
    attempt : int
        Number of the current attempt, from 1.
    task : int
        Index of the current task among those of `wsigraph.run.step_tasks.plan_tasks`.
    future : distributed.Future or None
        The task on the cluster.
    worker : str
        Address of the worker that runs it.
    avoid : set of str
        Addresses of workers on which it failed.
    reported_at : float or None
        Monotonic time of the last progress message, s.
    step : str
        Step that the worker is carrying out.
    fraction : float
        Part of that step that is done, in [0, 1].
    seconds : dict of str to float
        Wall time of the steps so far, s.
    held_by : Holder or None
        The other client that holds the lease of the slide.
    held_since, retry_at : float
        Monotonic times: since when it is held so, and before when it is not submitted again, s.
    """

    row: ManifestRow
    attempt: int = 1
    task: int = 0
    future: Any = None
    worker: str = ""
    avoid: set[str] = field(default_factory=set)
    reported_at: float | None = None
    step: str = ""
    fraction: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    held_by: Holder | None = None
    held_since: float = 0.0
    retry_at: float = 0.0
