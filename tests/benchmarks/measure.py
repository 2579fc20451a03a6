"""Times of several methods for the same task, measured in turns.

Every round runs every method once, so that other work on the machine affects all of them alike; a ratio is the median
of the rounds' ratios, never a ratio of two medians taken at different times. CPU time counts all threads of the
process.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Method:
    """One method for the task.

    Attributes
    ----------
    run : callable
        Timed; called with the result of `prepare`.
    prepare : callable, optional
        Called before each run, not timed.
    finish : callable, optional
        Called with the result of `prepare` after each run, not timed.
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
        """Return the median ratio of wall times to another method's in the same round."""
        return statistics.median(own / reference for own, reference in zip(self.wall_s, other.wall_s, strict=True))

    def cpu_over(self, other: Times) -> float:
        """Return the median ratio of CPU times to another method's in the same round."""
        return statistics.median(own / reference for own, reference in zip(self.cpu_s, other.cpu_s, strict=True))


def clocked(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a call, its wall seconds and its CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def compare(methods: Mapping[str, Method], repeats: int, *, warm: bool = True) -> dict[str, Times]:
    """Return the times of each method over `repeats` rounds; `warm` runs each once before, untimed."""
    times = {name: Times([], []) for name in methods}
    gc.collect()
    gc.disable()  # a collection would count for whichever method is running
    try:
        for round_ in range(-1 if warm else 0, repeats):
            for name, method in methods.items():
                at_hand = method.prepare()
                _, wall, cpu = clocked(lambda method=method, at_hand=at_hand: method.run(at_hand))  # type: ignore[misc]
                method.finish(at_hand)
                if round_ >= 0:
                    times[name].wall_s.append(wall)
                    times[name].cpu_s.append(max(cpu, 1e-9))
    finally:
        gc.enable()
    return times
