"""Progress on stderr if that is a terminal; otherwise one line, and only if kernels must be compiled first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def progress_line(slide: str) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function to call with (step, done, total); None if stderr is not a terminal.

    Parameters
    ----------
    slide : str
        Slide file, for the label.
    """
    if not sys.stderr.isatty():
        with compilation.watch(_say_once):
            yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        name = escape(Path(slide).name)
        task = bar.add_task(f"{name}: read", total=None, rate="", note="")
        current = ""

        def show(step: str, done: int, total: int) -> None:
            nonlocal current
            if step != current:
                bar.reset(task, total=total, description=f"{name}: {step}", rate="")
                current = step
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=done, total=total, rate=progress_text(step, done, total, elapsed))

        def show_compilation(n_compiled: int, is_running: bool) -> None:
            bar.update(task, note=f"{compilation.MESSAGE}: {n_compiled} functions" if is_running else "")

        with compilation.watch(show_compilation):
            yield show


_is_said = False


def _say_once(n_compiled: int, is_running: bool) -> None:
    """Print one line when the first kernel of this process is compiled."""
    global _is_said
    if is_running and not _is_said:
        _is_said = True
        say(compilation.MESSAGE)
