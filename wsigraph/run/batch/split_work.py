"""The chunks of one slide: one after another on its own worker, or on several where the others would idle.

A slide's worker asks from time to time whether there are fewer slides than workers. From then on the chunks of the
stage go out as tasks, small ones in groups and a bounded number at a time, and what all of them need lies once on the
slide's worker, where the others fetch it. The thread that waits gives its place in the worker's pool to the chunks.
Results come back in the order of the boxes, so the records are the same bytes either way.
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

_ASK_S = 1.0
_AHEAD = 2
"""Tasks in flight for each thread of the cluster."""
_TASK_PX = 2**20
_TASKS_PER_THREAD = 4
_PRIORITY = 10
_TOKENS_KEPT = 64


def idle_event(run_id: str) -> str:
    """Return the name of the event that is set while workers of a run would otherwise idle."""
    return f"wsigraph-idle-{run_id}"


class ChunkMapper:
    """Carries out the chunks of one slide; a ``wsigraph.slide.map_boxes.Mapper``.

    Parameters
    ----------
    run_id : str
        The run, whose client tells when workers idle.
    min_mpx : float
        Work left in a stage from which sharing is worth its cost, Mpx.
    lend : bool
        Whether there is a cluster to share with.

    Attributes
    ----------
    lent_s : dict of str to float
        Time that each worker spent on shared chunks, s.
    waited_s : float
        Time that the slide's own thread waited for them, s.
    """

    def __init__(self, run_id: str, min_mpx: float, *, lend: bool) -> None:
        self.lent_s: dict[str, float] = {}
        self.waited_s = 0.0
        self._run_id = run_id
        self._min_px = 1e6 * min_mpx
        self._lend = lend
        self._asked_at = float("-inf")
        self._has_seceded = False
        self._token = uuid4().hex
        # tasks that come back to this process must not forget what the slide has met here
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
                return results + self._share(function, boxes[index:], shared, advance)
            results.append(function(box, *shared))
            advance(box.size.area)
            n_px_left -= box.size.area
        return results

    def _others_idle(self) -> bool:
        if not self._lend or time.monotonic() - self._asked_at < _ASK_S:
            return False
        from distributed import Event, get_client

        self._asked_at = time.monotonic()
        return bool(Event(idle_event(self._run_id), client=get_client()).is_set())

    def _share(
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
            # for good: coming back would wait for a place in the pool that nobody is bound to give up
            secede()
            self._has_seceded = True
        held = client.scatter(list(shared), hash=False)
        threads = max(1, sum(client.nthreads().values()))
        groups = _grouped(boxes, threads)
        name = f"chunk-{uuid4().hex}"
        results: list[list[Any]] = [[] for _ in groups]
        places: dict[str, int] = {}
        ahead = iter(enumerate(groups))

        def submit(index: int, group: list[Box]) -> Any:
            future = client.submit(
                carry_out_chunks, function, group, self._token, *held,
                key=f"{name}-{index}", pure=False, priority=_PRIORITY,
            )  # fmt: skip
            places[str(future.key)] = index
            return future

        finished = as_completed([submit(*each) for each in islice(ahead, _AHEAD * threads)], with_results=True)
        for future, (found, notes, worker, seconds) in finished:
            index = places.pop(str(future.key))
            results[index] = found
            self.lent_s[worker] = self.lent_s.get(worker, 0.0) + seconds
            for slide, met in zip(_slides(shared), notes, strict=True):
                slide.damage.merge(met)
            for each in islice(ahead, 1):
                finished.add(submit(*each))
            advance(sum(box.size.area for box in groups[index]))
        self.waited_s += time.perf_counter() - started
        return list(chain.from_iterable(results))


def carry_out_chunks(
    function: Callable[..., Any], boxes: list[Box], token: str, *shared: Any
) -> tuple[list[Any], list[tuple[BadTileNote, ...]], str, float]:
    """Carry out some chunks on whatever worker they have come to.

    Parameters
    ----------
    function : callable
        Takes a box and the shared arguments.
    boxes : list of Box
        Where.
    token : str
        Stands for one slide in one run.
    *shared : object
        Handed on.

    Returns
    -------
    tuple
        The results; bad tiles met, for each slide among the shared arguments; this worker's address; seconds taken.
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
    """Return consecutive boxes in groups of about a million pixels, or fewer where threads would be left without."""
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


_known_tokens: FIFOCache[str, bool] = FIFOCache(_TOKENS_KEPT)
_known_lock = threading.Lock()
