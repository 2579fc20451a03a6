"""Progress on stderr if that is a terminal; nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def progress_line(slide: str) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function to call with (step, done, total); None if stderr is not a terminal.

    Parameters
    ----------
    slide : str
        Slide file, for the label.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        name = escape(Path(slide).name)
        task = bar.add_task(f"{name}: read", total=None, rate="")
        current = ""

        def show(step: str, done: int, total: int) -> None:
            nonlocal current
            if step != current:
                bar.reset(task, total=total, description=f"{name}: {step}", rate="")
                current = step
            elapsed = bar.tasks[0].elapsed or 0.0
            # steps that are not counted in pixels report 0 or 1
            rate = f"{done / elapsed / 1e6:.1f} Mpx/s" if elapsed > 0 and done > 1 else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield show
