"""Work carried out box by box, on whatever dask scheduler is in force.

A stage hands over a function and the boxes of a grid; each call reads its own pixels, so nothing large crosses
between tasks. Results come back in the order of the boxes whatever the order of completion, and are small by
contract: tables, never pixels. The boxes go out in batches, which bounds what is in flight and paces the progress.
`mapped_by` puts something else than dask's scheduler in force for one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from dask.base import compute
from dask.delayed import delayed

from wsigraph.geometry import Box

Progress = Callable[[str, int, int], None]
"""Called with (stage, pixels done, pixels in all) from the calling thread; pixels of the grid the boxes lie on."""

Result = TypeVar("Result")


class Mapper(Protocol):
    """Carries out the boxes of one call of `map_chunks` and returns their results in the order of the boxes."""

    def __call__(
        self,
        function: Callable[..., Any],
        boxes: Sequence[Box],
        shared: tuple[Any, ...],
        advance: Callable[[int], None],
    ) -> list[Any]:
        """Return ``function(box, *shared)`` of every box; `advance` is told the pixels of each that is done."""


_mapper: ContextVar[Mapper] = ContextVar("mapper")
_BATCH_PER_CORE = 8
BYTES_PER_PX = 30
"""Memory that the hungriest pixel stage holds for each pixel of a task's window."""
_CHUNK_PX_MIN = 256


def plan_chunks(chunk_px: int, n_threads: int, halo_px: int, memory_bytes: float) -> tuple[int, int]:
    """Return a chunk side and a number of threads whose pixels in flight fit into a budget.

    Parameters
    ----------
    chunk_px : int
        Side asked for.
    n_threads : int
        Threads asked for.
    halo_px : int
        Pixels that a task reads around its chunk.
    memory_bytes : float
        Budget for all threads together, without the interpreter and its libraries.

    Returns
    -------
    tuple of (int, int)
        Chunk side, halved down to 256 at the least, then threads, reduced down to one at the least.
    """

    def needed(side: int, threads: int) -> float:
        return threads * BYTES_PER_PX * float(side + 2 * halo_px) ** 2

    side, threads = chunk_px, n_threads
    while side > _CHUNK_PX_MIN and needed(side, threads) > memory_bytes:
        side = max(side // 2, _CHUNK_PX_MIN)
    while threads > 1 and needed(side, threads) > memory_bytes:
        threads -= 1
    return side, threads


@contextmanager
def mapped_by(mapper: Mapper) -> Iterator[None]:
    """Let `mapper` carry out what `map_chunks` is given by this thread, in place of dask's scheduler.

    Parameters
    ----------
    mapper : Mapper
        In force until the block ends.
    """
    token = _mapper.set(mapper)
    try:
        yield
    finally:
        _mapper.reset(token)


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
        Told after every batch how many pixels are done.

    Returns
    -------
    list
        One result a box, in the order of the boxes.
    """
    ordered = list(boxes)
    mapper = _mapper.get(None)
    if mapper is not None:
        return mapper(function, ordered, shared, _counter(stage, ordered, progress))
    # one name a call of this function; dask would draw a random one for every task
    name = f"{stage or 'chunks'}-{uuid4().hex}"
    task = delayed(function, pure=False, traverse=False)
    results: list[Result] = []
    n_px, n_px_done = sum(box.size.area for box in ordered), 0
    if progress is not None:
        progress(stage, 0, n_px)
    step = _BATCH_PER_CORE * (os.cpu_count() or 1)
    for start in range(0, len(ordered), step):
        common = [
            delayed(item, traverse=False, pure=False, name=f"{name}-shared-{start}-{index}")
            for index, item in enumerate(shared)
        ]
        batch = [
            task(box, *common, dask_key_name=f"{name}-{start}-{index}")
            for index, box in enumerate(ordered[start : start + step])
        ]
        results += compute(*batch)  # type: ignore[no-untyped-call]
        if progress is not None:
            n_px_done += sum(box.size.area for box in ordered[start : start + step])
            progress(stage, n_px_done, n_px)
    return results


def _counter(stage: str, boxes: Sequence[Box], progress: Progress | None) -> Callable[[int], None]:
    """Return what adds pixels to those done and tells `progress` of it."""
    n_px, n_px_done = sum(box.size.area for box in boxes), 0

    def advance(n_px_more: int) -> None:
        nonlocal n_px_done
        n_px_done += n_px_more
        if progress is not None:
            progress(stage, n_px_done, n_px)

    advance(0)
    return advance
