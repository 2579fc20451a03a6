"""The scheduler of a cohort: submits slides to a cluster and follows each until it is done or has failed for good.

The client keeps a bounded number of slides in flight and never opens one. Workers send progress messages, so that a
slide that hangs is noticed. A failed slide is submitted to another worker, and a slide that another client works on is
tried again later. When workers would be idle, large slides are split (``wsigraph.run.batch.split_work``).
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import StoreError
from wsigraph.run.batch.active import Active
from wsigraph.run.batch.dask_workers import Workers
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.retry import describe_cluster_error, describe_stall, may_retry
from wsigraph.run.batch.tally import Failure, Tally
from wsigraph.run.batch.work import carry_out, topic
from wsigraph.run.cluster import GPU, Cluster
from wsigraph.run.step_tasks import plan_tasks

if TYPE_CHECKING:
    from wsigraph.cohort.manifest.manifest import ManifestRow

POLL_S = 0.25
_NAP_S = 0.01


Watch = Callable[[Tally, list[Active]], None]
"""Called about four times a second with the tally and the slides in flight."""


class Engine:
    """One run of a cohort on a cluster.

    Parameters
    ----------
    cluster : Cluster
        The workers.
    config : Config
        Settings.
    out : Path
        Directory of the run.
    run_id : str
        Identifies the run of this client.
    until : str
        Last step.
    model : str, optional
        Model bundle.
    watch : callable, optional
        Called with the tally and the slides in flight.
    work : callable
        Function that a worker applies to a job.
    tile_px : int, optional
        Side of the tiles of feature files that do not state it, level-0 pixels.
    missing_mpp : float, optional
        Pixel size where nothing else states one, um/px.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: Config,
        out: Path,
        run_id: str,
        *,
        until: str,
        model: str | None = None,
        watch: Watch | None = None,
        work: Callable[[Job], Outcome] = carry_out,
        tile_px: int | None = None,
        missing_mpp: float | None = None,
    ) -> None:
        self._cluster = cluster
        self._client = cluster.client
        self._config = config
        self._out = out
        self._run_id = run_id
        self._tasks = plan_tasks(until, config.batch.gpu_steps)
        self._model = model
        self._watch = watch or (lambda *_: None)
        self._work = work
        self._tile_px, self._missing_mpp = tile_px, missing_mpp
        self._tally = Tally(total=0)
        self._flying: dict[str, Active] = {}
        self._waiting: deque[Active] = deque()
        self._ended: Any = None
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._workers = Workers(cluster, run_id, config.cluster.wait_s)
        self._is_all_out = False
        self._n_tasks = 0
        self._disk_full = ""

    def run(self, rows: Sequence[ManifestRow]) -> Tally:
        """Process the rows of a manifest.

        Parameters
        ----------
        rows : sequence of ManifestRow
            The slides; those without a file are counted and left out.

        Returns
        -------
        Tally
            Counts, failures and times of the slides.

        Raises
        ------
        ClusterError
            If the scheduler stops, or there is no worker for ``cluster.wait_s``, or a step needs a GPU and no worker
            offers one.
        StoreError
            If the disk is full; finished slides are kept.
        """
        from distributed import as_completed

        self._tally = Tally(total=len(rows))
        if any(task.on_gpu for task in self._tasks):
            self._cluster.check_gpus(self._config.batch.gpu_steps)
        self._ended = as_completed([], loop=self._client.loop, with_results=True, raise_errors=False)
        self._client.subscribe_topic(topic(self._run_id), self._receive)
        pending = self._pending(rows)
        try:
            while self._turn(pending):
                self._watch(self._tally, list(self._flying.values()))
        finally:
            self._leave()
        if self._disk_full:
            raise StoreError(self._disk_full)
        return self._tally

    @property
    def tally(self) -> Tally:
        """Counts, failures and times so far."""
        return self._tally

    def _pending(self, rows: Iterable[ManifestRow]) -> Iterator[Active]:
        for row in rows:
            if row.source is None:
                self._tally.without_file += 1
            else:
                yield Active(row=row)

    def _turn(self, pending: Iterator[Active]) -> bool:
        """Submit slides, wait a moment, collect results; return whether there is more to do."""
        self._workers.refresh()
        self._hand_out(pending)
        self._workers.announce_idle(self._is_all_out and len(self._flying) < self._workers.threads)
        if not self._flying and not self._waiting:
            return False
        self._take_in()
        self._read_messages()
        self._find_hanging()
        return True

    def _hand_out(self, pending: Iterator[Active]) -> None:
        if self._disk_full:
            # what is in flight may still end well; nothing new can
            self._waiting.clear()
            return
        n_free = min(self._config.batch.max_in_flight, max(2 * self._workers.threads, 2)) - len(self._flying)
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            active = self._waiting.popleft()
            if n_free > 0 and active.retry_at <= now:
                self._submit(active)
                n_free -= 1
            else:
                self._waiting.append(active)
        while n_free > 0 and (active := next(pending, None)) is not None:  # type: ignore[assignment]
            self._submit(active)
            n_free -= 1
        # places are left over only if no slide is left
        self._is_all_out = n_free > 0

    def _submit(self, active: Active) -> None:
        task, row, held = self._tasks[active.task], active.row, active.held_by
        is_stale = held is not None and time.monotonic() - active.held_since >= self._config.batch.lease_stale_s
        job = Job(
            run_id=self._run_id,
            slide_id=row.slide_id,
            path=None if row.path is None else str(row.path),
            features=None if row.features is None else str(row.features),
            tile_px=self._tile_px,
            mpp=row.mpp,
            missing_mpp=self._missing_mpp,
            sha256=row.sha256,
            out=str(self._out),
            config=self._config.with_organ(row.organ),
            model=self._model,
            until=task.until,
            seen_stale=held if is_stale else None,
            roi=None if row.roi is None else str(row.roi),
        )
        self._n_tasks += 1
        elsewhere = self._workers.other_than(active.avoid)
        active.reported_at, active.step, active.fraction, active.worker = None, "", 0.0, ""
        active.future = self._client.submit(
            self._work,
            job,
            key=f"slide-{self._run_id}-{self._n_tasks}",
            pure=False,
            resources={GPU: 1} if task.on_gpu else None,
            workers=elsewhere or None,
            allow_other_workers=bool(elsewhere),
        )
        self._flying[active.future.key] = active
        self._ended.add(active.future)

    def _take_in(self) -> None:
        """Collect finished tasks, after waiting a moment for one to finish."""
        until = time.monotonic() + POLL_S
        while not self._ended.has_ready() and time.monotonic() < until:
            time.sleep(_NAP_S)
        for future, result in self._ended.next_batch(block=False):
            active = self._flying.get(future.key)
            if active is not None:
                self._settle(future, result, active)

    def _settle(self, future: Any, result: Any, active: Active) -> None:
        """Collect one finished task."""
        if future.status == "finished":
            outcome: Outcome = result
        elif future.status == "error":
            # an error of the cluster itself is a row of failures.parquet
            outcome = _of_cluster(result[1], active)
        else:
            # cancelled or lost, but not by this client
            self._workers.raise_lost()
        del self._flying[future.key]
        active.future = None
        self._tally.count_attempt(outcome)
        if outcome.status == "done":
            self._advance(active, outcome)
        elif outcome.status == "held":
            self._await_holder(active, outcome)
        else:
            self._retry_or_fail(active, outcome)

    def _advance(self, active: Active, outcome: Outcome) -> None:
        resumed_all = not (set(outcome.seconds) - {"read"}) and bool(outcome.resumed)
        for step, seconds in outcome.seconds.items():
            active.seconds[step] = active.seconds.get(step, 0.0) + seconds
        active.held_by = None
        if active.task + 1 < len(self._tasks):
            active.task += 1
            self._waiting.append(active)
            return
        if outcome.mark:
            self._tally.marked[active.row.slide_id] = outcome.mark
        if resumed_all and not set(active.seconds) - {"read"}:
            self._tally.count_skipped()
        else:
            self._tally.count_done(active.row.slide_id, outcome.worker, active.seconds, outcome.mpx)

    def _await_holder(self, active: Active, outcome: Outcome) -> None:
        """Try again later; a lease is stale if it does not change for long enough by the clock of this process."""
        now = time.monotonic()
        if outcome.holder != active.held_by:
            active.held_by, active.held_since = outcome.holder, now
        active.retry_at = now + self._config.batch.lease_beat_s / 2
        self._waiting.append(active)

    def _retry_or_fail(self, active: Active, outcome: Outcome) -> None:
        settings = self._config.batch
        if outcome.is_disk_full:
            self._disk_full = (
                f"the disk is full, at slide {active.row.slide_id!r} ({outcome.message}); free some space and run the "
                "same command again to continue"
            )
        if may_retry(outcome.error, active.attempt, settings) and not self._disk_full:
            active.attempt += 1
            active.avoid.add(outcome.worker)
            self._tally.retried += 1
            self._waiting.append(active)
            return
        self._tally.failures.append(
            Failure(
                slide_id=active.row.slide_id,
                patient_id=active.row.patient_id,
                line=active.row.line,
                path=str(active.row.source),
                step=outcome.step,
                error=outcome.error,
                message=outcome.message,
                attempts=active.attempt,
                worker=outcome.worker,
            )
        )

    def _receive(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take a progress message of a worker; called by the thread of the dask client."""
        self._messages.put(event[1])

    def _read_messages(self) -> None:
        by_slide = {active.row.slide_id: active for active in self._flying.values()}
        while not self._messages.empty():
            message = self._messages.get_nowait()
            active = by_slide.get(message["slide"])
            if active is not None:
                active.reported_at, active.worker, active.step = time.monotonic(), message["worker"], message["stage"]
                active.fraction = message["done"] / message["total"] if message["total"] else 0.0

    def _find_hanging(self) -> None:
        stall_s = self._config.batch.stall_s
        now = time.monotonic()
        for key, active in list(self._flying.items()):
            if not stall_s or active.reported_at is None or now - active.reported_at < stall_s:
                continue
            del self._flying[key]
            self._client.cancel([active.future], force=True)
            active.future = None
            self._workers.restart(active.worker)
            error, message = describe_stall(stall_s, active.worker)
            self._retry_or_fail(
                active,
                Outcome(status="failed", worker=active.worker, step=active.step, error=error, message=message),
            )

    def _leave(self) -> None:
        self._workers.close()
        if self._client.status != "running":
            return
        futures = [active.future for active in self._flying.values() if active.future is not None]
        if futures:
            self._client.cancel(futures, force=True)
        self._client.unsubscribe_topic(topic(self._run_id))


def _of_cluster(error: BaseException, active: Active) -> Outcome:
    """Return the outcome of a task that failed on the cluster."""
    name, text = describe_cluster_error(error)
    return Outcome(status="failed", worker=active.worker, step=active.step or "read", error=name, message=text)
