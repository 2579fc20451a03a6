"""A slide that the client has in hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wsigraph.run.batch.lease import Holder

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow


@dataclass(eq=False)
class Active:
    """A slide that is in flight, waiting to be tried again, or worked on by another client."""

    row: ManifestRow
    attempt: int = 1
    task: int = 0
    future: Any = None
    worker: str = ""
    avoid: set[str] = field(default_factory=set)
    heard_at: float | None = None
    step: str = ""
    fraction: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    held_by: Holder | None = None
    held_since: float = 0.0
    ask_again_at: float = 0.0
