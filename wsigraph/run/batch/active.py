"""A row of a manifest that the client of a cohort is working on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.run.batch.running_slide import RunningSlide

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow


@dataclass(eq=False, kw_only=True)
class Active(RunningSlide):
    """A slide of a cohort that runs on a worker, waits for another attempt, or is held by another client.

    Attributes
    ----------
    row : ManifestRow
        The slide.
    seconds : dict of str to float
        Wall time of the steps so far, s.
    """

    row: ManifestRow
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slide_id = self.row.slide_id

    def submitted(self, future: Any, lease: Path) -> None:
        """Note that a task was submitted; its steps begin anew."""
        super().submitted(future, lease)
        self.step, self.fraction = "", 0.0
