"""Progress of a cohort: redrawn in place if stderr is a terminal, else a line from time to time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsigraph import compilation
from wsigraph.cli.failure import say

if TYPE_CHECKING:
    from wsigraph.run.batch.active import Active
    from wsigraph.run.batch.tally import Tally

_SHOWN = 12
"""Maximum number of running slides that are drawn; those that have run longest come first."""


@contextmanager
def watching(report_s: float, above: str = "") -> Iterator[Callable[[Tally, list[Active]], None]]:
    """Yield a function to call with the tally and the running slides.

    Parameters
    ----------
    report_s : float
        Time between lines if stderr is not a terminal, s.
    above : str
        A line over the bars, as the step of a study.
    """
    if not sys.stderr.isatty():
        yield _lines(report_s)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def show(tally: Tally, active: list[Active]) -> None:
            live.update(_drawing(tally, active, above), refresh=True)

        yield show


def headline(snapshot: dict[str, Any]) -> str:
    """Return the state of a run as one line, from the snapshot of its tally."""
    finished = snapshot["done"] + snapshot["skipped"] + snapshot["failed"] + snapshot["without_file"]
    parts = [f"{finished} of {snapshot['slides']} slides"]
    for key, word in (("failed", "failed"), ("skipped", "already done"), ("without_file", "without a file")):
        if snapshot[key]:
            parts.append(f"{snapshot[key]} {word}")
    parts.append(f"{snapshot['mpx_per_s']:.1f} Mpx/s")
    if snapshot["seconds_left"]:
        parts.append(f"about {duration(snapshot['seconds_left'])} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _lines(report_s: float) -> Callable[[Tally, list[Active]], None]:
    written_at, is_said = time.monotonic(), False

    def write_line(tally: Tally, active: list[Active]) -> None:
        nonlocal written_at, is_said
        if not is_said and any(slide.compiled is not None for slide in active):
            is_said = True
            say(compilation.MESSAGE)
        if time.monotonic() - written_at >= report_s:
            written_at = time.monotonic()
            say(headline(tally.snapshot()))

    return write_line


def _step_text(slide: Active) -> str:
    """Return the step of a slide, and that its worker compiles."""
    if slide.compiled is None:
        return slide.step
    return f"{slide.step} ({compilation.MESSAGE}: {slide.compiled} functions)"


def _drawing(tally: Tally, active: list[Active], above: str) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    snapshot = tally.snapshot()
    head = Table.grid(padding=(0, 2))
    head.add_row(ProgressBar(total=max(tally.total, 1), completed=tally.finished, width=30), Text(headline(snapshot)))
    slides = Table.grid(padding=(0, 2))
    running = [slide for slide in active if slide.step]
    for slide in running[:_SHOWN]:
        bar = ProgressBar(total=1.0, completed=slide.fraction, width=20)
        slides.add_row(Text(f"  {slide.row.slide_id}"), Text(_step_text(slide)), bar, Text(slide.worker, style="dim"))
    rest = len(running) - _SHOWN
    more = [Text(f"  and {rest} more")] if rest > 0 else []
    failed = [
        Text(
            f"  {failure.slide_id}: {failure.step}: {failure.error}: {failure.message}",
            style="red",
            no_wrap=True,
            overflow="ellipsis",
        )
        for failure in tally.failures[-3:]
    ]
    return Group(*([Text(above)] if above else []), head, slides, *more, *failed)
