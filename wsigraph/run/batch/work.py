"""One slide on a worker: its lease, its steps, and its progress messages.

Every error of the slide is returned as an outcome, so no exception has to be pickled and none ends the run. Only what
ends the process of the worker reaches the scheduler.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsigraph import compilation
from wsigraph.errors import UnreadableSlide
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder, Lease, acquire
from wsigraph.run.batch.peak_memory import peak_bytes
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.batch.split_work import ChunkMapper
from wsigraph.run.steps import STEPS, SlideResult, run_slide
from wsigraph.slide.files import locate, slide_digest
from wsigraph.slide.map_boxes import mapped_by
from wsigraph.slide.self_contained import check_self_contained
from wsigraph.store.atomic import sweep

_REPORT_S = 0.5
Log = Callable[[str, dict[str, Any]], object]
"""Takes the topic and a progress message, as ``distributed.Worker.log_event`` does."""


def topic(run_id: str) -> str:
    """Return the dask topic on which workers report the progress of a run."""
    return f"wsigraph-{run_id}"


def carry_out(job: Job) -> Outcome:
    """Carry out one attempt at one slide.

    Parameters
    ----------
    job : Job
        The slide, and what to do with it.

    Returns
    -------
    Outcome
        The result; a slide that fails gives an outcome, not an exception.
    """
    return carry_out_here(job, *worker_here())


def carry_out_here(job: Job, worker: str, log: Log | None) -> Outcome:
    """Carry out one attempt at one slide in this process.

    Parameters
    ----------
    job : Job
        The slide, and what to do with it.
    worker : str
        Address of the worker whose idle peers may help; empty if there is none.
    log : callable or None
        Takes the topic and each progress message.

    Returns
    -------
    Outcome
        The result; a slide that fails gives an outcome, not an exception.
    """
    started = time.perf_counter()
    report = _Report(job, worker, log)
    result: SlideResult | None = None
    holder: Holder | None = None
    failure: Exception | None = None
    try:
        lease = acquire(
            lease_path(Path(job.out), job.slide_id),
            job.run_id,
            beat_s=job.config.batch.lease_beat_s,
            seen_stale=job.seen_stale,
        )
        if isinstance(lease, Holder):
            holder = lease
        else:
            with lease, _one_thread(), mapped_by(report.mapper), compilation.watch(report.note_compilation):
                report.lease = lease
                result = _run_steps(job, report)
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
            step=report.step,
            error=type(failure).__name__,
            message=" ".join(str(failure).split()) or "no message",
            is_disk_full=_is_disk_full(failure),
            **common,
        )
    if result is None:
        raise AssertionError("a slide neither done, nor held, nor failed")
    carried_out = {step: seconds for step, seconds in result.seconds.items() if step not in result.resumed}
    mpx = result.info.levels[0].size.area / 1e6
    from wsigraph.graph.tissue.suitability import find_marks

    mark = next(iter(find_marks(result.info.warnings)), "")
    common |= {"sha256": result.info.sha256, "withheld": result.withheld}
    return Outcome(status="done", seconds=carried_out, resumed=result.resumed, mpx=mpx, mark=mark, **common)


def _run_steps(job: Job, report: _Report) -> SlideResult:
    """Check the file of the slide and carry out its steps."""
    report("read", 0, 1)
    sweep(Path(job.out) / job.slide_id)
    if job.must_be_self_contained and job.path is not None:
        check_self_contained(locate(Path(job.path)))
    if job.sha256 is not None and job.path is not None:
        sha256 = slide_digest(locate(Path(job.path)))
        if sha256 != job.sha256:
            raise UnreadableSlide(
                f"slide {job.path!r} has sha256 {sha256[:12]}, expected {job.sha256[:12]} as in the manifest; "
                "copy it again from its source or correct the manifest"
            )
    # slides run in parallel, and chunks of a slide too if workers are idle; more threads would compete with both
    runtime = job.config.runtime.model_copy(update={"threads": job.threads})
    settings = job.config.model_copy(update={"runtime": runtime})
    return run_slide(
        job.path,
        job.out,
        settings,
        features=job.features,
        tile_px=job.tile_px,
        mpp=job.mpp,
        missing_mpp=job.missing_mpp,
        slide_id=job.slide_id,
        model=job.model,
        progress=report,
        until=job.until,
        explain=job.explain,
        roi=job.roi,
        max_mpx=job.max_mpx,
    )


class _Report:
    """Keeps and reports the progress of the slide, and stops the work if the lease is lost."""

    def __init__(self, job: Job, worker: str, log: Log | None) -> None:
        self.lease: Lease | None = None
        self.step = "read"
        self.worker, self._log = worker, log
        self.mapper = ChunkMapper(job.run_id, job.config.batch.split_min_mpx, has_cluster=bool(self.worker))
        self._topic = topic(job.run_id)
        self._slide_id = job.slide_id
        self._reported_at = float("-inf")
        self._reported: tuple[str, bool] | None = None
        self._compiled_at = float("-inf")

    def __call__(self, step: str, done: int, total: int) -> None:
        if self.lease is not None:
            self.lease.check()
        if step in STEPS:
            self.step = step
        # every start and end of a step is reported, and progress in between twice a second
        state, now = (step, done >= total), time.monotonic()
        if state == self._reported and now - self._reported_at < _REPORT_S:
            return
        self._reported, self._reported_at = state, now
        self._send(done, total)

    def note_compilation(self, n_compiled: int, is_running: bool) -> None:
        """Report that this process compiles kernels, at most twice a second."""
        now = time.monotonic()
        if is_running and now - self._compiled_at >= _REPORT_S:
            self._compiled_at = now
            self._send(0, 1, compiling=n_compiled)

    def _send(self, done: int, total: int, **more: int) -> None:
        if self._log is not None:
            message = {"slide": self._slide_id, "worker": self.worker, "stage": self.step, "done": done, "total": total}
            self._log(self._topic, {**message, **more})

    def busy_s(self, elapsed_s: float) -> dict[str, float]:
        """Return the time that each worker spent on the slide, by address, s."""
        busy = dict(self.mapper.busy_s)
        busy[self.worker] = busy.get(self.worker, 0.0) + elapsed_s - self.mapper.waited_s
        return busy


def worker_here() -> tuple[str, Log | None]:
    """Return the address of this dask worker and its function that logs events; ``""`` and None outside a worker."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return "", None
    return str(worker.address), worker.log_event


class _Settings:
    """The dask settings of this process while any of its threads works on a slide."""

    lock = threading.Lock()
    n_inside = 0
    context: Any = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Make dask use one thread. Its settings belong to the process, so the last thread to leave restores them."""
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
