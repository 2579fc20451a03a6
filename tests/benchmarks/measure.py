"""Times of several ways to do one thing, taken in turns.

Every round runs every way once, so that whatever else the machine does meanwhile hits all of them alike; a ratio is
the median of the rounds' own ratios, never a ratio of two medians taken at different times. CPU time counts every
thread of the process.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Way:
    """One way to do the thing.

    Attributes
    ----------
    run : callable
        What is timed; takes what `prepare` returned.
    prepare : callable, optional
        Called before each run, not timed.
    finish : callable, optional
        Called with what `prepare` returned after each run, not timed.
    """

    run: Callable[[Any], Any]
    prepare: Callable[[], Any] = lambda: None
    finish: Callable[[Any], Any] = lambda _: None


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of every round, in order."""

    wall_s: list[float]
    cpu_s: list[float]

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall_s)

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu_s)

    def over(self, other: Times) -> float:
        """Return the median ratio of wall times to another way's in the same round."""
        return statistics.median(own / theirs for own, theirs in zip(self.wall_s, other.wall_s, strict=True))

    def cpu_over(self, other: Times) -> float:
        """Return the median ratio of CPU times to another way's in the same round."""
        return statistics.median(own / theirs for own, theirs in zip(self.cpu_s, other.cpu_s, strict=True))


def clocked(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return what a call returned, its wall seconds and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def compare(ways: Mapping[str, Way], repeats: int, *, warm: bool = True) -> dict[str, Times]:
    """Return the times of each way over `repeats` rounds; `warm` runs each once before, unmeasured."""
    found = {name: Times([], []) for name in ways}
    gc.collect()
    gc.disable()  # or a sweep of the whole heap would fall into whichever way is running
    try:
        for round_ in range(-1 if warm else 0, repeats):
            for name, way in ways.items():
                at_hand = way.prepare()
                _, wall, cpu = clocked(lambda way=way, at_hand=at_hand: way.run(at_hand))  # type: ignore[misc]
                way.finish(at_hand)
                if round_ >= 0:
                    found[name].wall_s.append(wall)
                    found[name].cpu_s.append(max(cpu, 1e-9))
    finally:
        gc.enable()
    return found
