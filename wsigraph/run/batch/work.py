"""One slide on a worker: its lease, its stages, and word of how far it is.

Whatever goes wrong with the slide comes back as an outcome, so that no error has to survive pickling and none ends the
run. Only what a worker's process itself does not survive reaches the scheduler.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsigraph.errors import UnreadableSlide
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder, Lease, acquire
from wsigraph.run.batch.peak_memory import peak_bytes
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.batch.split_work import ChunkMapper
from wsigraph.run.steps import STAGES, FlowResult, run_slide
from wsigraph.slide.files import locate, slide_digest
from wsigraph.slide.map_boxes import mapped_by
from wsigraph.slide.self_contained import check_self_contained
from wsigraph.store.atomic import sweep

_TELL_S = 0.5


def topic(run_id: str) -> str:
    """Return the name under which workers tell of a run's slides."""
    return f"wsigraph-{run_id}"


def carry_out(job: Job) -> Outcome:
    """Carry out one attempt at one slide.

    Parameters
    ----------
    job : Job
        What to do.

    Returns
    -------
    Outcome
        What came of it; a slide that fails is an outcome like any other.
    """
    started = time.perf_counter()
    report = _Report(job)
    result: FlowResult | None = None
    holder: Holder | None = None
    failure: Exception | None = None
    try:
        found = acquire(
            lease_path(Path(job.out), job.slide_id),
            job.run_id,
            beat_s=job.config.batch.lease_beat_s,
            seen_stale=job.seen_stale,
        )
        if isinstance(found, Holder):
            holder = found
        else:
            with found, _one_thread(), mapped_by(report.mapper):
                report.lease = found
                result = _walk(job, report)
    except Exception as error:  # noqa: BLE001  (every fault of a slide is a row of failures.parquet)
        failure = error
    elapsed_s = time.perf_counter() - started
    common: dict[str, Any] = {"worker": report.worker, "elapsed_s": elapsed_s, "peak_bytes": peak_bytes()}
    if holder is not None:
        return Outcome(status="held", holder=holder, **common)
    common["busy_s"] = report.busy_s(elapsed_s)
    if failure is not None:
        return Outcome(
            status="failed",
            stage=report.stage,
            error=type(failure).__name__,
            message=" ".join(str(failure).split()) or "no message",
            is_disk_full=_is_disk_full(failure),
            **common,
        )
    if result is None:
        raise AssertionError("a slide neither done, nor held, nor failed")
    carried_out = {stage: took for stage, took in result.seconds.items() if stage not in result.resumed}
    mpx = result.info.levels[0].size.area / 1e6
    return Outcome(status="done", seconds=carried_out, resumed=result.resumed, mpx=mpx, **common)


def _walk(job: Job, report: _Report) -> FlowResult:
    """Walk the slide through its stages."""
    report("read", 0, 1)
    sweep(Path(job.out) / job.slide_id)
    if job.must_be_self_contained:
        check_self_contained(locate(Path(job.path)))
    if job.sha256 is not None:
        met = slide_digest(locate(Path(job.path)))
        if met != job.sha256:
            raise UnreadableSlide(
                f"slide {job.path!r} has sha256 {met[:12]}, expected {job.sha256[:12]} of the manifest; "
                "copy it again from its source or correct the manifest"
            )
    # parallel work is over slides and, where workers idle, over chunks that are tasks of their own
    runtime = job.config.runtime.model_copy(update={"threads": 1})
    settings = job.config.model_copy(update={"runtime": runtime})
    return run_slide(
        job.path,
        job.out,
        settings,
        mpp=job.mpp,
        slide_id=job.slide_id,
        model=job.model,
        progress=report,
        until=job.until,
        explain=job.explain,
    )


class _Report:
    """Remembers how far the slide is, tells the client of it, and stops the work where the lease is lost."""

    def __init__(self, job: Job) -> None:
        self.lease: Lease | None = None
        self.stage = "read"
        self.worker, self._log = _worker_here()
        self.mapper = ChunkMapper(job.run_id, job.config.batch.split_min_mpx, lend=bool(self.worker))
        self._topic = topic(job.run_id)
        self._slide_id = job.slide_id
        self._told_at = float("-inf")
        self._told: tuple[str, bool] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self.lease is not None:
            self.lease.check()
        if stage in STAGES:
            self.stage = stage
        # the beginning and the end of each stage, and what lies between from time to time
        state, now = (stage, done >= total), time.monotonic()
        if state == self._told and now - self._told_at < _TELL_S:
            return
        self._told, self._told_at = state, now
        if self._log is not None:
            told = {"slide": self._slide_id, "worker": self.worker, "stage": self.stage, "done": done, "total": total}
            self._log(self._topic, told)

    def busy_s(self, elapsed_s: float) -> dict[str, float]:
        """Return the time that each worker spent on the slide."""
        busy = dict(self.mapper.lent_s)
        busy[self.worker] = busy.get(self.worker, 0.0) + elapsed_s - self.mapper.waited_s
        return busy


def _worker_here() -> tuple[str, Any]:
    """Return the address of the dask worker that this runs on and how to log events there; nothing elsewhere."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return "", None
    return str(worker.address), worker.log_event


class _Settings:
    """Dask's settings of this process while slides are worked on in any of its threads."""

    lock = threading.Lock()
    n_inside = 0
    context: Any = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep whatever asks dask for threads to one; dask's settings are the process's own, not the thread's."""
    import dask

    with _Settings.lock:
        if _Settings.n_inside == 0:
            _Settings.context = dask.config.set(scheduler="synchronous", num_workers=1)
        _Settings.n_inside += 1
    try:
        yield
    finally:
        with _Settings.lock:
            _Settings.n_inside -= 1
            if _Settings.n_inside == 0:
                _Settings.context.__exit__(None, None, None)


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False
