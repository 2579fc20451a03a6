"""Map a function over the boxes of a grid on the active dask scheduler, or over bands of rows in threads.

A step passes a function and the boxes of a grid. Each call reads its own pixels, so nothing large is sent between
tasks. Results are in the order of the boxes, whatever finishes first, and must be small: tables, not pixels. Several
small boxes make one task, because a task costs as much as decoding a tile. Tasks are submitted in batches, which
bounds the memory in use. Work on an array in memory is split into bands of its rows, one for each thread. `mapped_by`
replaces dask's scheduler for the current thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain, pairwise
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import dask
import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

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
        """Return ``function(box, *shared)`` of every box, and call `advance` with the pixels of each that is done."""


_mapper: ContextVar[Mapper] = ContextVar("mapper")
_BATCH_PER_CORE = 32
BYTES_PER_PX = 30
"""Most memory that a pixel step holds for each pixel of a task's window."""
_CHUNK_PX_MIN = 256
_TASK_PX = 2**20
"""Boxes share a task up to so many pixels."""
_ONE_THREAD = ("sync", "synchronous", "single-threaded")


def plan_chunks(chunk_px: int, n_threads: int, halo_px: int, memory_bytes: float) -> tuple[int, int]:
    """Return a chunk side and a number of threads whose pixels in flight fit into a budget.

    Parameters
    ----------
    chunk_px : int
        Requested side.
    n_threads : int
        Requested threads.
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
    """Use `mapper` in place of dask's scheduler for calls of `map_chunks` in this thread.

    Parameters
    ----------
    mapper : Mapper
        Used until the block ends.
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
        Called with the number of pixels done: after every task on dask's local schedulers, after every batch on a
        cluster.

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
    task = delayed(_apply, pure=False, traverse=False)
    results: list[Result] = []
    groups = _grouped(ordered)
    pace = _Pace(stage, groups, name, progress)
    step = _BATCH_PER_CORE * (os.cpu_count() or 1)
    for first in range(0, len(groups), step):
        common = [
            delayed(item, traverse=False, pure=False, name=f"{name}-shared-{first}-{index}")
            for index, item in enumerate((function, *shared))
        ]
        batch = [
            task(_corners(group), *common, dask_key_name=f"{name}-{first + index}")
            for index, group in enumerate(groups[first : first + step])
        ]
        results += chain.from_iterable(compute(*batch, **pace.options))  # type: ignore[no-untyped-call]
        pace.reach(first + len(batch))
    return results


def _counter(stage: str, boxes: Sequence[Box], progress: Progress | None) -> Callable[[int], None]:
    """Return a function that counts pixels and reports them to `progress`."""
    n_px, n_px_done = sum(box.size.area for box in boxes), 0

    def advance(n_px_more: int) -> None:
        nonlocal n_px_done
        n_px_done += n_px_more
        if progress is not None:
            progress(stage, n_px_done, n_px)

    advance(0)
    return advance


class _Pace:
    """Reports to a progress callback how many pixels of the groups of boxes are done."""

    def __init__(self, stage: str, groups: Sequence[Sequence[Box]], name: str, progress: Progress | None) -> None:
        self._stage, self._progress = stage, progress
        self._waiting = {f"{name}-{index}": sum(box.size.area for box in group) for index, group in enumerate(groups)}
        self._keys = list(self._waiting)
        self._done, self._total = 0, sum(self._waiting.values())
        # the callback is given to this one computation; dask's own way registers it for the whole process
        callbacks = (None, None, None, self._finish, None)
        self.options: dict[str, Any] = {} if progress is None else {"callbacks": [callbacks]}
        if progress is not None:
            progress(stage, 0, self._total)

    def reach(self, n_groups: int) -> None:
        """Report that the first groups are done, if the scheduler has not reported each of them."""
        self._finish(*self._keys[:n_groups])

    def _finish(self, *keys: Any) -> None:
        """Count the tasks that these keys name; dask passes the state of its scheduler after the key."""
        n_px = sum(self._waiting.pop(key, 0) for key in keys if isinstance(key, str))
        self._done += n_px
        if n_px and self._progress is not None:
            self._progress(self._stage, self._done, self._total)


def map_threads(function: Callable[..., Result], items: Iterable[Any], *shared: Any) -> list[Result]:
    """Return ``function(item, *shared)`` of every item, from as many threads of this process as `n_threads` says.

    Parameters
    ----------
    function : callable
        Must release the GIL (numba's ``nogil``, most of numpy), or threads save no time.
    items : iterable
        First argument of each call.
    *shared : object
        Passed to every call.

    Returns
    -------
    list
        One result an item, in the order of the items.
    """
    ordered = list(items)
    threads = min(n_threads(), len(ordered))
    if threads <= 1:
        return [function(item, *shared) for item in ordered]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda item: function(item, *shared), ordered))


def map_rows(kernel: Callable[..., Result], n_rows: int, *shared: Any) -> list[Result]:
    """Return ``kernel(start, stop, *shared)`` of bands that partition the rows of an array, one a thread.

    Parameters
    ----------
    kernel : callable
        Takes the first row of a band, the row after its last, and the shared arguments; writes to its own rows only.
    n_rows : int
        Rows, or columns, in all.
    *shared : object
        Passed to every call.

    Returns
    -------
    list
        One result a band, in the order of the rows. Results must add up to the same however many bands there are.
    """
    n_bands = max(1, min(n_threads(), n_rows))
    edges = [n_rows * band // n_bands for band in range(n_bands + 1)]
    return map_threads(lambda band: kernel(*band, *shared), pairwise(edges))


def n_threads() -> int:
    """Return how many threads dask's configuration allows this process: ``num_workers``, else one a core."""
    if dask.config.get("scheduler", None) in _ONE_THREAD:
        return 1
    return int(dask.config.get("num_workers", None) or os.cpu_count() or 1)


def _grouped(boxes: Sequence[Box]) -> list[list[Box]]:
    """Return consecutive boxes in groups of at most `_TASK_PX` pixels, no fewer groups than keep all cores busy."""
    most = min(_TASK_PX, sum(box.size.area for box in boxes) // _BATCH_PER_CORE)
    groups: list[list[Box]] = []
    n_px = 0
    for box in boxes:
        area = box.size.area
        if groups and n_px + area <= most:
            groups[-1].append(box)
            n_px += area
        else:
            groups.append([box])
            n_px = area
    return groups


def _corners(boxes: Sequence[Box]) -> NDArray[np.int64]:
    """Return boxes as an array (n, 4); dask would search a list of them for lazy parts, field by field."""
    return np.array([(box.y0, box.x0, box.y1, box.x1) for box in boxes], np.int64)


def _apply(corners: NDArray[np.int64], function: Callable[..., Result], *shared: Any) -> list[Result]:
    return [function(Box(y0=y0, x0=x0, y1=y1, x1=x1), *shared) for y0, x0, y1, x1 in corners.tolist()]


@contextmanager
def with_threads(n_threads: int) -> Iterator[None]:
    """Work with `n_threads` threads (0: every core allowed), unless a dask client or scheduler is already in force."""
    import dask
    from dask.system import CPU_COUNT

    if dask.config.get("scheduler", None) is not None:
        yield
        return
    with dask.config.set(scheduler="threads", num_workers=n_threads or CPU_COUNT):
        yield
