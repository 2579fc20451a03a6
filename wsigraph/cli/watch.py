"""A run as it goes: drawn in place where stderr is a terminal, a line from time to time elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wsigraph.cli.failure import say

if TYPE_CHECKING:
    from wsigraph.run.batch.active import Active
    from wsigraph.run.batch.tally import Tally

_SHOWN = 12
"""Slides in flight that are drawn, the longest under way first."""


@contextmanager
def watching(report_s: float) -> Iterator[Callable[[Tally, list[Active]], None]]:
    """Yield what to call with the tally and the slides in flight.

    Parameters
    ----------
    report_s : float
        Time between lines where stderr is no terminal, s.
    """
    if not sys.stderr.isatty():
        yield _lines(report_s)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def show(tally: Tally, active: list[Active]) -> None:
            live.update(_drawing(tally, active), refresh=True)

        yield show


def headline(told: dict[str, Any]) -> str:
    """Return a run's state as one line, from the tally's snapshot."""
    finished = told["done"] + told["skipped"] + told["failed"] + told["without_file"]
    parts = [f"{finished} of {told['slides']} slides"]
    for key, word in (("failed", "failed"), ("skipped", "found done"), ("without_file", "without a file")):
        if told[key]:
            parts.append(f"{told[key]} {word}")
    parts.append(f"{told['mpx_per_s']:.1f} Mpx/s")
    if told["seconds_left"]:
        parts.append(f"about {duration(told['seconds_left'])} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _lines(report_s: float) -> Callable[[Tally, list[Active]], None]:
    told_at = time.monotonic()

    def tell(tally: Tally, active: list[Active]) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= report_s:
            told_at = time.monotonic()
            say(headline(tally.snapshot()))

    return tell


def _drawing(tally: Tally, active: list[Active]) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    told = tally.snapshot()
    head = Table.grid(padding=(0, 2))
    head.add_row(ProgressBar(total=max(tally.total, 1), completed=tally.finished, width=30), Text(headline(told)))
    slides = Table.grid(padding=(0, 2))
    under_way = [each for each in active if each.step]
    for each in under_way[:_SHOWN]:
        bar = ProgressBar(total=1.0, completed=each.fraction, width=20)
        slides.add_row(Text(f"  {each.row.slide_id}"), Text(each.step), bar, Text(each.worker, style="dim"))
    rest = len(under_way) - _SHOWN
    more = [Text(f"  and {rest} more")] if rest > 0 else []
    failed = [
        Text(
            f"  {each.slide_id}: {each.stage}: {each.error}: {each.message}",
            style="red",
            no_wrap=True,
            overflow="ellipsis",
        )
        for each in tally.failures[-3:]
    ]
    return Group(head, slides, *more, *failed)
