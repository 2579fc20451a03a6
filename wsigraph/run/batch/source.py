"""Where slides come from and where their outcomes go: what a `SlideSupervisor` needs to know of it.

A cohort has a manifest (`wsigraph.run.batch.manifest_source`), the service its stored jobs
(``wsigraph.service.jobs.job_source``). Everything that happens between the claim of a slide and its outcome is in
`wsigraph.run.batch.slide_supervisor`, once for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.running_slide import RunningSlide

SlideT = TypeVar("SlideT", bound=RunningSlide)


class Source(ABC, Generic[SlideT]):
    """Slides to process.

    Attributes
    ----------
    until : str
        Last step of any slide.
    is_endless : bool
        Whether more slides may come when none is left.
    is_closed : bool
        Whether no task may be started any more; those that run may end.
    uses_idle_threads : bool
        Whether a slide uses the idle threads of this machine itself, because it cannot be split among workers.
    """

    until: str
    is_endless: bool = False
    is_closed: bool = False
    uses_idle_threads: bool = False

    @abstractmethod
    def limit(self, n_threads: int) -> int:
        """Return the largest number of slides in flight on workers with so many threads."""

    @abstractmethod
    def claim(self, n: int) -> Iterator[SlideT]:
        """Yield the next slides, at most `n`. Each belongs to this process once it is yielded."""

    @abstractmethod
    def make_job(self, slide: SlideT, seen_stale: Holder | None) -> Job:
        """Return the current task of a slide for its worker. It may take over a lease that was seen to be stale."""

    @abstractmethod
    def finish(self, slide: SlideT, outcome: Outcome) -> None:
        """Note that the last task of a slide is done."""

    @abstractmethod
    def fail(self, slide: SlideT, outcome: Outcome) -> None:
        """Note that a slide has failed for good."""

    @abstractmethod
    def retry(self, slide: SlideT) -> None:
        """Note that a slide has failed and is tried again; ``slide.attempt`` is the next attempt."""

    def count_attempt(self, slide: SlideT, outcome: Outcome) -> None:
        """Count the time of one task of a slide, whether or not it succeeded."""

    def maintain(self) -> None:
        """Do what is due from time to time, such as the renewal of claims. Called in every turn."""

    def record(self) -> None:
        """Store what was noted. Called in every turn, also if the turn before failed."""

    def cancelled(self) -> Iterable[SlideT]:
        """Return the slides that a user has cancelled since the last call."""
        return ()

    def taken_over(self) -> Iterable[SlideT]:
        """Return the slides that another process has taken over since the last call."""
        return ()
