"""The one loop that submits slides to a cluster and follows each until it is done or has failed for good.

A `Source` says which slide is next and records outcomes: the manifest of a cohort, or the stored jobs of the service.
All else is decided here, so that both follow the same rules. The loop keeps a bounded number of slides in flight and
never opens one. Workers send progress messages, so that a slide that hangs is noticed and its worker restarted. A
failed slide is submitted to another worker, and a slide that another client works on is tried again later. Steps on a
GPU are tasks of their own. When workers would be idle, large slides are split (``wsigraph.run.batch.split_work``).
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic

from wsigraph.config import Config
from wsigraph.run.batch.dask_workers import Workers
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import read_holder
from wsigraph.run.batch.retry import describe_cancelled, describe_cluster_error, describe_stall, may_retry
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.batch.running_slide import RunningSlide
from wsigraph.run.batch.source import SlideT, Source
from wsigraph.run.batch.work import topic
from wsigraph.run.cluster import GPU, Cluster
from wsigraph.run.step_tasks import plan_tasks

POLL_S = 0.25
_NAP_S = 0.01


class SlideSupervisor(Generic[SlideT]):
    """Runs the slides of a source on a cluster. Use one for each connection to a cluster, and `leave` it at the end.

    Parameters
    ----------
    cluster : Cluster
        The workers.
    source : Source
        The slides.
    config : Config
        Settings: ``batch`` decides about attempts, leases, stalls and GPU steps, for every source.
    work : callable
        Function that a worker applies to a job.
    wake : threading.Event, optional
        Ends the wait of a turn early when it is set.

    Raises
    ------
    ClusterError
        If a step needs a GPU and no worker offers one.
    """

    def __init__(
        self,
        cluster: Cluster,
        source: Source[SlideT],
        config: Config,
        *,
        work: Callable[[Job], Outcome],
        wake: threading.Event | None = None,
    ) -> None:
        from distributed import as_completed

        if any(task.on_gpu for task in plan_tasks(source.until, config.batch.gpu_steps)):
            cluster.check_gpus(config.batch.gpu_steps)
        self._cluster = cluster
        self._client = cluster.client
        self._source = source
        self._settings = config.batch
        self._work = work
        self._wake = wake or threading.Event()
        self._workers = Workers(cluster, config.cluster.wait_s)
        self._flying: dict[str, SlideT] = {}
        self._waiting: list[SlideT] = []
        self._topics: set[str] = set()
        self._messages: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._ended = as_completed([], loop=self._client.loop, with_results=True, raise_errors=False)

    @property
    def n_threads(self) -> int:
        """Number of threads of all workers, as last counted."""
        return self._workers.threads

    @property
    def flying(self) -> list[SlideT]:
        """The slides that are submitted and have not ended."""
        return list(self._flying.values())

    def turn(self) -> bool:
        """Submit slides, wait a moment, collect outcomes.

        Returns
        -------
        bool
            Whether there is more to do.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or there has been no worker for ``cluster.wait_s``.
        StoreError
            If the source does not answer. Nothing is lost: call this again later.
        """
        if self._workers.refresh():
            for slide in self._flying.values():
                slide.note_lost_worker(self._workers.addresses)
        self._source.record()
        self._source.maintain()
        self._withdraw()
        # while the client looks for its scheduler, nothing can be submitted
        if self._client.status == "running":
            self._hand_out()
            self._announce()
            if not self._flying and not self._waiting and not self._source.is_endless:
                return False
        self._take_in()
        self._read_messages()
        self._find_hanging()
        self._source.record()
        return True

    def leave(self) -> None:
        """Stop the slides that run, so that they can go on elsewhere, and restart no more workers."""
        self._workers.close()
        if self._client.status != "running":
            return
        futures = [slide.future for slide in self._flying.values()]
        if futures:
            self._client.cancel(futures, force=True)
        for slide in self._flying.values():
            _revoke_lease(slide)
        for run_id in self._topics:
            self._client.unsubscribe_topic(topic(run_id))

    def _withdraw(self) -> None:
        """Stop slides that were cancelled, and let go of those that another process has taken over."""
        for slide in self._source.cancelled():
            self._stop(slide)
        for slide in self._source.taken_over():
            # its lease stays: the worker releases it, and the other process goes on after the finished steps
            self._stop(slide, revokes=False)

    def _hand_out(self) -> None:
        if self._source.is_closed:
            self._waiting.clear()
            return
        n_free = self._source.limit(self._workers.threads) - len(self._flying)
        now = time.monotonic()
        waiting, self._waiting = self._waiting, []
        for slide in waiting:
            if n_free > 0 and slide.retry_at <= now:
                self._submit(slide)
                n_free -= 1
            else:
                self._waiting.append(slide)
        if n_free > 0:
            for slide in self._source.claim(n_free):
                self._submit(slide)

    def _submit(self, slide: SlideT) -> None:
        job = self._source.make_job(slide, slide.stale_holder(self._settings.lease_stale_s))
        if self._source.uses_idle_threads:
            job = replace(job, threads=self._part_of_threads())
        if slide.run_id not in self._topics:
            self._subscribe(slide.run_id)
        elsewhere = self._workers.other_than(slide.avoid)
        future = self._client.submit(
            self._work,
            job,
            key=f"slide-{slide.run_id}-{secrets.token_hex(4)}",
            pure=False,
            resources={GPU: 1} if slide.task.on_gpu else None,
            workers=elsewhere or None,
            allow_other_workers=bool(elsewhere),
        )
        slide.submitted(future, lease_path(Path(job.out), job.slide_id))
        self._flying[future.key] = slide
        self._ended.add(future)

    def _part_of_threads(self) -> int:
        """Return the number of threads of a slide that starts now: its part of the workers of this machine."""
        if self._cluster.kind not in ("local", "threads"):
            return 1
        return max(1, self._workers.threads // (len(self._flying) + 1))

    def _subscribe(self, run_id: str) -> None:
        # called by the thread of the dask client
        self._client.subscribe_topic(topic(run_id), lambda event: self._messages.put((run_id, event[1])))
        self._topics.add(run_id)

    def _announce(self) -> None:
        """Tell slides in flight whether workers are idle, and forget the runs that have ended."""
        run_ids = {slide.run_id for slide in (*self._flying.values(), *self._waiting)}
        self._workers.announce_idle(len(self._flying) < self._workers.threads, run_ids)
        for run_id in self._topics - run_ids:
            self._client.unsubscribe_topic(topic(run_id))
        self._topics &= run_ids

    def _take_in(self) -> None:
        """Collect finished tasks, after waiting a moment for one to finish."""
        until = time.monotonic() + POLL_S
        while not self._ended.has_ready() and time.monotonic() < until:
            if self._wake.wait(_NAP_S if self._flying else POLL_S):
                break
        self._wake.clear()
        for future, result in self._ended.next_batch(block=False):
            slide = self._flying.get(future.key)
            if slide is not None:
                self._settle(future, result, slide)

    def _settle(self, future: Any, result: Any, slide: SlideT) -> None:
        """Collect one finished task."""
        if future.status == "finished":
            outcome: Outcome = result
        elif self._client.status != "running":
            self._workers.raise_lost()
        else:
            # an error of the cluster itself is one of the slide
            error, message = describe_cluster_error(result[1]) if future.status == "error" else describe_cancelled()
            outcome = _failed(slide, error, message)
        del self._flying[future.key]
        slide.future = None
        self._source.count_attempt(slide, outcome)
        if outcome.status == "held":
            slide.wait_for_lease(outcome.holder, self._settings.lease_beat_s)
            self._waiting.append(slide)
        elif outcome.status == "failed":
            self._retry_or_fail(slide, outcome)
        elif slide.advance():
            self._waiting.append(slide)
        else:
            self._source.finish(slide, outcome)

    def _retry_or_fail(self, slide: SlideT, outcome: Outcome) -> None:
        # the source may close itself on what it hears of
        if may_retry(outcome.error, slide.attempt, self._settings) and not self._source.is_closed:
            slide.attempt += 1
            slide.avoid |= {outcome.worker} - {""}
            self._source.retry(slide)
            self._waiting.append(slide)
        else:
            self._source.fail(slide, outcome)

    def _read_messages(self) -> None:
        by_name = {(slide.run_id, slide.slide_id): slide for slide in self._flying.values()}
        while not self._messages.empty():
            run_id, message = self._messages.get_nowait()
            slide = by_name.get((run_id, message["slide"]))
            if slide is not None:
                slide.update_progress(message)

    def _find_hanging(self) -> None:
        """Give up slides without progress for too long, and restart their workers."""
        stall_s, now = self._settings.stall_s, time.monotonic()
        for slide in self.flying:
            if not stall_s or slide.reported_at is None or now - slide.reported_at < stall_s:
                continue
            self._stop(slide)
            self._workers.restart(slide.worker)
            self._retry_or_fail(slide, _failed(slide, *describe_stall(stall_s, slide.worker)))

    def _stop(self, slide: SlideT, *, revokes: bool = True) -> None:
        """Stop a slide, wherever it is. Without its lease, its worker stops at the next check."""
        if slide in self._waiting:
            self._waiting.remove(slide)
        if slide.future is not None:
            self._flying.pop(slide.future.key, None)
            self._client.cancel([slide.future], force=True)
            slide.future = None
        if revokes:
            _revoke_lease(slide)


def _failed(slide: SlideT, error: str, message: str) -> Outcome:
    return Outcome(status="failed", worker=slide.worker, step=slide.step or "read", error=error, message=message)


def _revoke_lease(slide: RunningSlide) -> None:
    """Remove the lease of a slide unless another process holds it."""
    holder = None if slide.lease is None else read_holder(slide.lease)
    if slide.lease is not None and holder is not None and holder.run_id == slide.run_id:
        slide.lease.unlink(missing_ok=True)
