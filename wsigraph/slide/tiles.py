"""Work carried out box by box, on whatever dask scheduler is in force.

A stage hands over a function and the boxes of a grid; each call reads its own pixels, so nothing large crosses
between tasks. Results come back in the order of the boxes whatever the order of completion, and are small by
contract: tables, never pixels. The boxes go out in batches, which bounds what is in flight and paces the progress.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from dask.base import compute
from dask.delayed import delayed

from wsigraph.geometry import Box

Progress = Callable[[str, int, int], None]
"""Called with (stage, boxes done, boxes in all) from the calling thread."""

Result = TypeVar("Result")
_BATCH_PER_CORE = 8


def map_chunks(
    function: Callable[..., Result],
    boxes: Iterable[Box],
    *shared: Any,
    stage: str = "",
    progress: Progress | None = None,
) -> list[Result]:
    """Return ``function(box, *shared)`` of every box.

    Parameters
    ----------
    function : callable
        Takes a box and the shared arguments; must be picklable for schedulers that use processes.
    boxes : iterable of Box
        Where to work.
    *shared : object
        Passed to every call; sent once a batch, not once a box.
    stage : str
        Name of the work, for `progress`.
    progress : callable, optional
        Told after every batch how many boxes are done.

    Returns
    -------
    list
        One result a box, in the order of the boxes.
    """
    ordered = list(boxes)
    task = delayed(function, pure=False, traverse=False)
    results: list[Result] = []
    if progress is not None:
        progress(stage, 0, len(ordered))
    step = _BATCH_PER_CORE * (os.cpu_count() or 1)
    for start in range(0, len(ordered), step):
        common = [delayed(item, traverse=False, pure=False) for item in shared]
        results += compute(*(task(box, *common) for box in ordered[start : start + step]))  # type: ignore[no-untyped-call]
        if progress is not None:
            progress(stage, len(results), len(ordered))
    return results
