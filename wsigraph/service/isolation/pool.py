"""Isolation pool: worker processes that open slides, so that a hostile file cannot crash or fill the service.

Each worker handles one request at a time. A calling thread waits for a free worker in a fair queue, and stops waiting
when its client leaves. A worker that dies or misses its deadline is replaced, and its request fails with the reason.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from wsigraph import errors
from wsigraph.config import ServiceConfig, SlideConfig
from wsigraph.run.sandbox import protocol
from wsigraph.service.isolation.fair_queue import FairQueue
from wsigraph.service.request_context import current_request

_WAIT_S = 60.0
# imports of a process; where the CPU is busy they take many times the two seconds of an idle machine
_START_S = 180.0
_READER = "wsigraph.service.isolation.worker"
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
    module : str, optional
        Module that the processes run; by default the one that opens slides.
    niceness : int, optional
        How far the processes step back for others when the CPU is busy, 0 to 19.
    slide : SlideConfig, optional
        How slides are read: focal plane, colour profile and window.

    Attributes
    ----------
    n_lost : int
        Number of processes that died or were killed.
    """

    def __init__(
        self,
        config: ServiceConfig,
        processes: int | None = None,
        *,
        module: str = _READER,
        niceness: int = 0,
        slide: SlideConfig | None = None,
    ) -> None:
        self.n_lost = 0
        self._config = config
        self._is_closed = False
        read_by = slide or SlideConfig()
        self._all = [_Worker(config, module, niceness, read_by) for _ in range(processes or config.slide_processes)]
        self._idle = FairQueue(reversed(self._all))

    def warm(self) -> None:
        """Start the processes before the first request, so that their imports run in the background."""
        for worker in self._all:
            worker.start()

    def request(
        self, message: dict[str, Any], *, time_s: float | None = None, caller: str = ""
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request to a free worker and return its response.

        Parameters
        ----------
        message : dict
            JSON values, see `wsigraph.service.isolation.worker`.
        time_s : float, optional
            Deadline, s; ``service.slide_time_s`` if left out.
        caller : str, optional
            Who asks; by default the caller of the request that this thread works for.

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
            If all workers are busy for a minute, the client has left, or the service is shutting down.
        UnreadableSlide
            If the slide cannot be read.
        WsigraphError
            Any other error that the worker reported.
        """
        asking = current_request()
        subject = str(message.get("path") or message.get("directory") or "")
        lease = self._idle.acquire(asking.priority, caller or asking.caller, subject, _WAIT_S, asking)
        if lease is None:
            if asking.has_left:
                raise errors.Unavailable("the client has left")
            raise errors.Unavailable("all processes that open slides are busy; try again in a minute")
        try:
            if self._is_closed:
                raise errors.Unavailable("the service is shutting down; try again when it has restarted")
            header, body = lease.worker.request(message, time_s or self._config.slide_time_s)
        except _WorkerLost as lost:
            self.n_lost += 1
            raise errors.ReaderLost(str(lost)) from None
        finally:
            self._idle.release(lease)
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

    def __init__(self, config: ServiceConfig, module: str, niceness: int, slide: SlideConfig) -> None:
        self._config = config
        self._command = [sys.executable, "-m", module]
        self._niceness, self._slide = niceness, slide
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
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
                self._is_ready = False
                self._process = subprocess.Popen(  # noqa: S603  (this interpreter, and numbers from the settings)
                    [*self._command, *map(str, limits), str(self._niceness), self._slide.model_dump_json()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | _ONE_THREAD,
                )
            return self._process

    def request(self, message: dict[str, Any], time_s: float) -> tuple[dict[str, Any], bytes]:
        process = self.start()
        if not self._is_ready:
            # its start is no fault of the slide, and does not count against the slide's time
            self._exchange(process, None, _START_S, "the process that opens slides {} while it started")
            self._is_ready = True
        return self._exchange(process, message, time_s, "the slide {}")

    def _exchange(
        self, process: subprocess.Popen[bytes], message: dict[str, Any] | None, time_s: float, subject: str
    ) -> tuple[dict[str, Any], bytes]:
        """Send a message, if there is one, and return the next response of the process."""
        if process.stdin is None or process.stdout is None:
            raise AssertionError("the worker process has no pipes")
        timer = threading.Timer(time_s, process.kill)
        timer.start()
        try:
            if message is not None:
                protocol.send_message(process.stdin, message)
            return protocol.receive_message(process.stdout)
        except (EOFError, OSError, ValueError):
            is_late = not timer.is_alive()
            self.end()
            if message is None:
                verb, advice = "ended", "try again, or raise service.slide_memory_gb"
            else:
                verb = "crashed the process that read it"
                advice = "check the file, or raise service.slide_time_s or slide_memory_gb"
            reason = subject.format(f"took longer than {time_s:g} s" if is_late else verb)
            raise _WorkerLost(f"{reason}; {advice}") from None
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
