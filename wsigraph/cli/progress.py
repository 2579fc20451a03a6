"""Progress on stderr if that is a terminal; otherwise one line, and only if kernels must be compiled first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsigraph import compilation
from wsigraph.cli.failure import say

_UNITS = {
    "load": "graphs",
    "folds": "folds",
    "train": "epochs",
    "slides": "slides",
    "digest": "slides",
    "repeats": "divisions",
}
"""What a step counts; steps that read pixels count these."""
_NESTED = ("repeats", "folds", "train")
"""Steps that hold one another, the outermost first."""
_PIXELS_MIN = 65536
"""A total of pixels is larger, and of anything else smaller."""


def progress_text(step: str, done: int, total: int, elapsed_s: float) -> str:
    """Return how far a step is in its own unit: slides, folds or epochs; pixels a second where it reads a slide.

    Parameters
    ----------
    step : str
        Name of the step.
    done, total : int
        As the step reports them; one of one is no count.
    elapsed_s : float
        Time since the step began, s.

    Returns
    -------
    str
        Empty where there is nothing to count.
    """
    unit = _UNITS.get(step)
    if unit is None and total >= _PIXELS_MIN:
        return f"{done / elapsed_s / 1e6:.1f} Mpx/s" if elapsed_s > 0 and done > 1 else ""
    if total <= 1:
        return ""
    return f"{done} of {total} {unit or ''}".rstrip()


class NestedSteps:
    """The steps that run at a moment, the outermost first, and how much of each is done.

    Divisions hold folds and folds hold epochs: when a fold ends, its epochs begin again. A step of another kind ends
    all that came before. What is left of a level is estimated from the time since it began and the part that is done,
    in which the levels below count; it never grows because an inner step begins again.

    Parameters
    ----------
    clock : callable
        Seconds, as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.levels: list[Level] = []

    def update(self, step: str, done: int, total: int) -> None:
        """Take note of what a step reports."""
        if step in _NESTED:
            # a step with a title alone, such as the baseline model that is fitted, encloses what follows
            kept = [one for one in self.levels if one.step in _NESTED or one.total <= 1]
        else:
            kept = [one for one in self.levels if one.step == step]
        self.levels = kept
        level = next((one for one in self.levels if one.step == step), None)
        if level is not None and step not in _NESTED:
            done = max(done, level.done)  # threads report chunks in any order
        if level is None or level.total != total or done < level.done:
            self.levels = [one for one in self.levels if one is not level]
            level = Level(step, total, self._clock())
            self.levels.append(level)
            self.levels.sort(key=lambda one: _NESTED.index(one.step) if one.step in _NESTED else -1)
        if done > level.done:
            self.levels = self.levels[: self.levels.index(level) + 1]
        level.done = done
        inner = 0.0
        for one in reversed(self.levels):
            counted = min(1.0, (one.done + (inner if one.total > 1 else 0.0)) / max(one.total, 1))
            one.fraction = max(one.fraction, counted)
            inner = counted

    def elapsed(self, level: Level) -> float:
        """Return the time since a level began, s."""
        return self._clock() - level.began if level.began else 0.0

    def seconds_left(self, level: Level) -> float | None:
        """Return the time that is left of a level; None before anything of it is done."""
        if level.fraction <= 0.0 or level.total <= 1:
            return None
        return (self._clock() - level.began) * (1.0 - level.fraction) / level.fraction


@dataclass(slots=True, eq=False)
class Level:
    """One step: what it is, how much it counts to, and how much of it is done."""

    step: str
    total: int
    began: float
    done: int = 0
    fraction: float = 0.0


@contextmanager
def progress_line(slide: str, above: str = "") -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function to call with (step, done, total); None if stderr is not a terminal.

    Parameters
    ----------
    slide : str
        Slide file, for the label.
    above : str
        A line over the bars, as the step of a study.
    """
    if not sys.stderr.isatty():
        with compilation.watch(_say_once):
            yield None
        return
    from rich.console import Console
    from rich.live import Live

    steps, name, note = NestedSteps(), Path(slide).name, ""

    def show_compilation(n_compiled: int, is_running: bool) -> None:
        nonlocal note
        note = f"{compilation.MESSAGE}: {n_compiled} functions" if is_running else ""
        live.refresh()

    live = Live(
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
        get_renderable=lambda: _bars(steps, name, above, note),
    )
    with live, compilation.watch(show_compilation):
        yield steps.update


def _bars(steps: NestedSteps, name: str, above: str, below: str) -> Any:
    """Return one bar a level, with a line over and a line under them."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from wsigraph.cli.watch import duration

    table = Table.grid(padding=(0, 1))
    for level in list(steps.levels) or [Level("read", 1, 0.0)]:
        elapsed, left = steps.elapsed(level), steps.seconds_left(level)
        counted = level.total > 1
        table.add_row(
            Text(f"{name}: {level.step}"),
            ProgressBar(total=1.0 if counted else None, completed=level.fraction, width=30, pulse=not counted),
            Text(f"{100 * level.fraction:3.0f} %" if counted else ""),
            Text(progress_text(level.step, level.done, level.total, elapsed)),
            Text(duration(elapsed), style="dim"),
            Text("" if left is None else f"about {duration(left)} left"),
        )
    return Group(*([Text(above)] if above else []), table, *([Text(below)] if below else []))


_is_said = False


def _say_once(n_compiled: int, is_running: bool) -> None:
    """Print one line when the first kernel of this process is compiled."""
    global _is_said
    if is_running and not _is_said:
        _is_said = True
        say(compilation.MESSAGE)
