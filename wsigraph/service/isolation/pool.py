"""Isolation pool: worker processes that open slides, so that a hostile file cannot crash or fill the service.

Each worker handles one request at a time. A calling thread waits for a free worker. A worker that dies or misses its
deadline is replaced, and its request fails with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from queue import Empty, LifoQueue
from typing import Any

from wsigraph import errors
from wsigraph.config import ServiceConfig
from wsigraph.run.sandbox import protocol

_WAIT_S = 60.0
# a process with threads of its own cannot be forked safely
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class IsolationPool:
    """Worker processes that open slides. It is safe to use from several threads.

    Parameters
    ----------
    config : ServiceConfig
        Number of processes and their limits.
    processes : int, optional
        Number of processes; ``service.slide_processes`` if left out.

    Attributes
    ----------
    n_lost : int
        Number of processes that died or were killed.
    """

    def __init__(self, config: ServiceConfig, processes: int | None = None) -> None:
        self.n_lost = 0
        self._config = config
        self._is_closed = False
        self._idle: LifoQueue[_Worker] = LifoQueue()
        self._all = [_Worker(config) for _ in range(processes or config.slide_processes)]
        for worker in reversed(self._all):
            self._idle.put(worker)

    def warm(self) -> None:
        """Start the processes before the first request, so that their imports run in the background."""
        for worker in self._all:
            worker.start()

    def request(self, message: dict[str, Any], *, time_s: float | None = None) -> tuple[dict[str, Any], bytes]:
        """Send a request to a free worker and return its response.

        Parameters
        ----------
        message : dict
            JSON values, see `wsigraph.service.isolation.worker`.
        time_s : float, optional
            Deadline, s; ``service.slide_time_s`` if left out.

        Returns
        -------
        tuple of dict, bytes
            Header and body of the response.

        Raises
        ------
        TooLarge
            If the slide needs more pixels or memory than allowed.
        ReaderLost
            If the worker died or missed the deadline.
        Unavailable
            If all workers are busy for a minute, or the service is shutting down.
        UnreadableSlide
            If the slide cannot be read.
        WsigraphError
            Any other error that the worker reported.
        """
        try:
            worker = self._idle.get(timeout=_WAIT_S)
        except Empty:
            raise errors.Unavailable("all processes that open slides are busy; try again in a minute") from None
        try:
            if self._is_closed:
                raise errors.Unavailable("the service is shutting down; try again when it has restarted")
            header, body = worker.request(message, time_s or self._config.slide_time_s)
        except _WorkerLost as lost:
            self.n_lost += 1
            raise errors.ReaderLost(str(lost)) from None
        finally:
            self._idle.put(worker)
        if "error" in header:
            self.n_lost += header["error"] == "ReaderLost"
            raise _deserialize_error(header)
        return header, body

    def close(self) -> None:
        """Stop the processes."""
        self._is_closed = True
        for worker in self._all:
            worker.end()


class _WorkerLost(Exception):
    """A worker process died or was killed."""


class _Worker:
    """One worker process. It starts with the first request and restarts after it was lost."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._start_lock = threading.Lock()

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, and start it if it is not running."""
        with self._start_lock:
            if self._process is not None and self._process.poll() is not None:
                # it died between two requests
                _close(self._process)
                self._process = None
            if self._process is None:
                limits = (
                    int(self._config.slide_memory_gb * 1e9),
                    self._config.decoded_max_mpx,
                    self._config.slide_max_mpx,
                )
                self._process = subprocess.Popen(  # noqa: S603  (this interpreter, and numbers from the settings)
                    [sys.executable, "-m", "wsigraph.service.isolation.worker", *map(str, limits)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | _ONE_THREAD,
                )
            return self._process

    def request(self, message: dict[str, Any], time_s: float) -> tuple[dict[str, Any], bytes]:
        process = self.start()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the worker process has no pipes")
        timer = threading.Timer(time_s, process.kill)
        timer.start()
        try:
            protocol.send_message(process.stdin, message)
            return protocol.receive_message(process.stdout)
        except (EOFError, OSError, ValueError):
            is_late = not timer.is_alive()
            self.end()
            reason = f"took longer than {time_s:g} s" if is_late else "crashed the process that read it"
            raise _WorkerLost(
                f"the slide {reason}; check the file, or raise service.slide_time_s or slide_memory_gb"
            ) from None
        finally:
            timer.cancel()

    def end(self) -> None:
        with self._start_lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


def _deserialize_error(header: dict[str, Any]) -> errors.WsigraphError:
    kind = getattr(errors, str(header["error"]), errors.UnreadableSlide)
    message = str(header["message"])
    if isinstance(kind, type) and issubclass(kind, errors.WsigraphError):
        return kind(message)
    return errors.UnreadableSlide(message)
