"""The service's side of the processes that open slides: one request at a time each, a deadline, one anew for each lost.

A caller waits for a free process in its own thread. One that does not answer in time, or dies, is replaced, and the
request fails with what happened.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from queue import Empty, LifoQueue
from typing import Any

from wsigraph import errors
from wsigraph.config import ServiceConfig
from wsigraph.service.isolation import protocol

_WAIT_S = 60.0


class ReadingPool:
    """Processes that open slides; safe to use from several threads.

    Parameters
    ----------
    config : ServiceConfig
        Their number and limits.
    processes : int, optional
        Their number, where it is another.

    Attributes
    ----------
    n_lost : int
        Processes that died or were ended.
    """

    def __init__(self, config: ServiceConfig, processes: int | None = None) -> None:
        self.n_lost = 0
        self._config = config
        self._is_closed = False
        self._idle: LifoQueue[_Reading] = LifoQueue()
        self._all = [_Reading(config) for _ in range(processes or config.slide_processes)]
        for reading in reversed(self._all):
            self._idle.put(reading)

    def warm(self) -> None:
        """Start the processes before they are asked for anything; they import in parallel with whoever calls."""
        for reading in self._all:
            reading.start()

    def ask(self, request: dict[str, Any], *, time_s: float | None = None) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a request.

        Parameters
        ----------
        request : dict
            JSON values, see `wsigraph.service.isolation.worker`.
        time_s : float, optional
            Time allowed, s; ``service.slide_time_s`` where left out.

        Returns
        -------
        tuple of dict, bytes
            Header and body.

        Raises
        ------
        TooLarge
            If the slide needs more pixels or memory than allowed.
        ReaderLost
            If its process died or took too long.
        Unavailable
            If all processes are busy for a minute, or the service is closing.
        UnreadableSlide
            If the slide does not read.
        WsigraphError
            Whatever else the process met.
        """
        try:
            reading = self._idle.get(timeout=_WAIT_S)
        except Empty:
            raise errors.Unavailable("every process that opens slides is busy; try again in a minute") from None
        try:
            if self._is_closed:
                raise errors.Unavailable("the service is closing; try again once it is back")
            header, body = reading.ask(request, time_s or self._config.slide_time_s)
        except _Lost as lost:
            self.n_lost += 1
            raise errors.ReaderLost(str(lost)) from None
        finally:
            self._idle.put(reading)
        if "error" in header:
            raise _error_of(header)
        return header, body

    def close(self) -> None:
        """End the processes."""
        self._is_closed = True
        for reading in self._all:
            reading.end()


class _Lost(Exception):
    """A process that died or was ended."""


class _Reading:
    """One process, started when it is first needed and again after it is lost."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    def start(self) -> subprocess.Popen[bytes]:
        """Return the process, started anew where there is none."""
        with self._starting:
            if self._process is not None and self._process.poll() is not None:
                # it died while nobody asked
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
                )
            return self._process

    def ask(self, request: dict[str, Any], time_s: float) -> tuple[dict[str, Any], bytes]:
        process = self.start()
        if process.stdin is None or process.stdout is None:
            raise AssertionError("a process without its streams")
        timer = threading.Timer(time_s, process.kill)
        timer.start()
        try:
            protocol.send(process.stdin, request)
            return protocol.receive(process.stdout)
        except (EOFError, OSError, ValueError):
            is_late = not timer.is_alive()
            self.end()
            why = f"took longer than {time_s:g} s" if is_late else "ended the process that read it"
            raise _Lost(f"the slide {why}; check the file, or raise service.slide_time_s or slide_memory_gb") from None
        finally:
            timer.cancel()

    def end(self) -> None:
        with self._starting:
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


def _error_of(header: dict[str, Any]) -> errors.WsigraphError:
    kind = getattr(errors, str(header["error"]), errors.UnreadableSlide)
    message = str(header["message"])
    if isinstance(kind, type) and issubclass(kind, errors.WsigraphError):
        return kind(message)
    return errors.UnreadableSlide(message)
