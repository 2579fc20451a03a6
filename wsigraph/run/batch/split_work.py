"""The chunks of one slide: one after another on its own worker, or on several workers if others would be idle.

The worker of a slide checks from time to time whether there are fewer slides than workers. If so, it submits the
remaining chunks of the step as tasks: small chunks in groups, and a bounded number at a time. What all chunks need is
stored once on the worker of the slide, and the others fetch it from there. The thread that waits gives its place in the
thread pool of the worker to the chunks. Results are returned in the order of the boxes, so the bytes of the records do
not depend on the number of workers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import Any
from uuid import uuid4

from cachetools import FIFOCache

from wsigraph.geometry import Box
from wsigraph.slide.damage import BadTileNote
from wsigraph.slide.reader import Slide

_CHECK_S = 1.0
_AHEAD = 2
"""Submitted tasks for each thread of the cluster."""
_TASK_PX = 2**20
_TASKS_PER_THREAD = 4
_PRIORITY = 10
_N_TOKENS = 64


def idle_event(run_id: str) -> str:
    """Return the name of the dask event that is set while workers of a run are idle."""
    return f"wsigraph-idle-{run_id}"


class ChunkMapper:
    """Carries out the chunks of one slide; a ``wsigraph.slide.map_boxes.Mapper``.

    Parameters
    ----------
    run_id : str
        Identifies the run, whose client announces idle workers.
    min_mpx : float
        Least remaining work of a step that is worth splitting, Mpx.
    has_cluster : bool
        Whether there are other workers.

    Attributes
    ----------
    busy_s : dict of str to float
        Time that each worker spent on split work, by address, s.
    waited_s : float
        Time that the thread of the slide waited for them, s.
    """

    def __init__(self, run_id: str, min_mpx: float, *, has_cluster: bool) -> None:
        self.busy_s: dict[str, float] = {}
        self.waited_s = 0.0
        self._run_id = run_id
        self._min_px = 1e6 * min_mpx
        self._has_cluster = has_cluster
        self._checked_at = float("-inf")
        self._has_seceded = False
        self._token = uuid4().hex
        # tasks that come back to this process must not forget the bad tiles that the slide has already recorded here
        with _known_lock:
            _known_tokens[self._token] = True

    def __call__(
        self,
        function: Callable[..., Any],
        boxes: Sequence[Box],
        shared: tuple[Any, ...],
        advance: Callable[[int], None],
    ) -> list[Any]:
        """Return ``function(box, *shared)`` of every box, in their order."""
        results: list[Any] = []
        n_px_left = sum(box.size.area for box in boxes)
        for index, box in enumerate(boxes):
            if n_px_left >= self._min_px and index + 1 < len(boxes) and self._others_idle():
                return results + self._split_work(function, boxes[index:], shared, advance)
            results.append(function(box, *shared))
            advance(box.size.area)
            n_px_left -= box.size.area
        return results

    def _others_idle(self) -> bool:
        if not self._has_cluster or time.monotonic() - self._checked_at < _CHECK_S:
            return False
        from distributed import Event, get_client

        self._checked_at = time.monotonic()
        return bool(Event(idle_event(self._run_id), client=get_client()).is_set())

    def _split_work(
        self,
        function: Callable[..., Any],
        boxes: Sequence[Box],
        shared: tuple[Any, ...],
        advance: Callable[[int], None],
    ) -> list[Any]:
        from distributed import as_completed, get_client, secede

        started = time.perf_counter()
        client = get_client()
        if not self._has_seceded:
            # for good: rejoining would wait for a place in the pool that no thread has to give up
            secede()
            self._has_seceded = True
        scattered = client.scatter(list(shared), hash=False)
        threads = max(1, sum(client.nthreads().values()))
        groups = _grouped(boxes, threads)
        name = f"chunk-{uuid4().hex}"
        results: list[list[Any]] = [[] for _ in groups]
        index_of: dict[str, int] = {}
        ahead = iter(enumerate(groups))

        def submit(index: int, group: list[Box]) -> Any:
            future = client.submit(
                carry_out_chunks, function, group, self._token, *scattered,
                key=f"{name}-{index}", pure=False, priority=_PRIORITY,
            )  # fmt: skip
            index_of[str(future.key)] = index
            return future

        finished = as_completed([submit(*group) for group in islice(ahead, _AHEAD * threads)], with_results=True)
        for future, (chunk_results, notes, worker, seconds) in finished:
            index = index_of.pop(str(future.key))
            results[index] = chunk_results
            self.busy_s[worker] = self.busy_s.get(worker, 0.0) + seconds
            for slide, bad_tiles in zip(_slides(shared), notes, strict=True):
                slide.damage.merge(bad_tiles)
            for group in islice(ahead, 1):
                finished.add(submit(*group))
            advance(sum(box.size.area for box in groups[index]))
        self.waited_s += time.perf_counter() - started
        return list(chain.from_iterable(results))


def carry_out_chunks(
    function: Callable[..., Any], boxes: list[Box], token: str, *shared: Any
) -> tuple[list[Any], list[tuple[BadTileNote, ...]], str, float]:
    """Process some chunks on the worker that has received them.

    Parameters
    ----------
    function : callable
        Called with a box and the shared arguments.
    boxes : list of Box
        The chunks.
    token : str
        Identifies one slide in one run.
    *shared : object
        Further arguments of `function`.

    Returns
    -------
    tuple
        The results; the bad tiles of each slide among the shared arguments; the address of this worker; the time, s.
    """
    from distributed import get_worker

    started = time.perf_counter()
    slides = _slides(shared)
    with _known_lock:
        if token not in _known_tokens:
            # damage that an earlier run found in other parts of the slide does not belong to this run
            for slide in slides:
                slide.damage.forget()
            _known_tokens[token] = True
    results = [function(box, *shared) for box in boxes]
    return results, [slide.damage.notes() for slide in slides], get_worker().address, time.perf_counter() - started


def _grouped(boxes: Sequence[Box], threads: int) -> list[list[Box]]:
    """Return consecutive boxes in groups of about a million pixels, or fewer so that every thread has work."""
    most = min(_TASK_PX, sum(box.size.area for box in boxes) // (_TASKS_PER_THREAD * threads))
    groups: list[list[Box]] = []
    n_px = most
    for box in boxes:
        if n_px + box.size.area > most:
            groups.append([])
            n_px = 0
        groups[-1].append(box)
        n_px += box.size.area
    return groups


def _slides(shared: Sequence[Any]) -> list[Slide]:
    return [item for item in shared if isinstance(item, Slide)]


_known_tokens: FIFOCache[str, bool] = FIFOCache(_N_TOKENS)
_known_lock = threading.Lock()
