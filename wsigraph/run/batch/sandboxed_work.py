"""One job in a sandbox: the worker starts a process that may read the slide and write the results, and nothing else.

The process on the worker's side (``wsigraph.run.batch.sandbox_process``) is started once and forks a child for each
job, so that imports are not repeated. The child's progress comes back as JSON and is passed on. Work of one job is not
split among workers: what a child asks for would run outside its sandbox. It may use several threads instead.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.job_messages import deserialize_outcome, serialize_job
from wsigraph.run.batch.work import topic, worker_here
from wsigraph.run.sandbox import protocol

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_idle: deque[_Process] = deque()


def carry_out_sandboxed(job: Job) -> Outcome:
    """Carry out one attempt at one slide in a sandbox.

    Parameters
    ----------
    job : Job
        The slide, and what to do with it; its limits are those of the sandbox.

    Returns
    -------
    Outcome
        The result. A process that ended without one is ``KilledWorker``; one that took too long is ``TooLarge``.
    """
    worker, log = worker_here()
    step = "read"
    with _process() as process, _deadline(process, job.max_s) as is_late:
        try:
            protocol.send_message(process.requests, serialize_job(job))
            while True:
                header, _ = protocol.receive_message(process.responses)
                if "outcome" in header:
                    outcome = deserialize_outcome(header["outcome"], worker)
                    process.is_usable = True
                    return outcome
                if "lost" in header:
                    process.is_usable = True
                    return _lost(str(header["lost"])[:200], worker, step)
                step = str(header["stage"])[:32]
                if log is not None:
                    progress = {"stage": step, "done": float(header["done"]), "total": float(header["total"])}
                    log(topic(job.run_id), {"slide": job.slide_id, "worker": worker, **progress})
        except (EOFError, OSError, ValueError, KeyError, TypeError) as error:
            if is_late.is_set():
                hours = job.max_s / 3600
                message = f"the job was stopped after {hours:g} h; raise service.job_max_h if the slide needs longer"
                return Outcome(status="failed", worker=worker, step=step, error="TooLarge", message=message)
            return _lost(f"{type(error).__name__}: {error}", worker, step)


def _lost(how: str, worker: str, step: str) -> Outcome:
    message = (
        f"the process that ran it ended ({how}), most likely because memory ran out or the file is damaged; check the "
        "file, or raise service.job_memory_gb"
    )
    return Outcome(status="failed", worker=worker, step=step, error="KilledWorker", message=message)


class _Process:
    """The process that forks children; `is_usable` says whether it can take another job."""

    def __init__(self) -> None:
        self.is_usable = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wsigraph.run.batch.sandbox_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | _ONE_THREAD,
            # an interrupt at the terminal is for the service, which then ends this process
            start_new_session=True,
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise AssertionError("the process has no pipes")
        self.requests, self.responses = self.process.stdin, self.process.stdout

    def end(self) -> None:
        """Kill it; its child is killed by the kernel."""
        self.process.kill()
        self.process.wait()
        for stream in (self.requests, self.responses):
            with suppress(OSError):
                stream.close()


@contextmanager
def _process() -> Iterator[_Process]:
    """Yield a process; it is kept for the next job if it can take one."""
    process = _take() or _Process()
    process.is_usable = False
    try:
        yield process
    finally:
        if process.is_usable:
            _idle.append(process)
        else:
            process.end()


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


def _take() -> _Process | None:
    while True:
        try:
            process = _idle.pop()
        except IndexError:
            return None
        if process.process.poll() is None:
            return process
        process.end()


@contextmanager
def _deadline(process: _Process, max_s: float) -> Iterator[threading.Event]:
    """Kill the process after `max_s`; the event says whether that has happened. 0 is never."""
    is_late = threading.Event()

    def end() -> None:
        is_late.set()
        process.process.kill()

    timer: Any = threading.Timer(max_s, end) if max_s else None
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield is_late
    finally:
        if timer is not None:
            timer.cancel()
