"""A child process in a sandbox, forked from a process that has imported everything and has never opened a slide.

Imports take a second or more, a fork a few milliseconds, so each slide can have a process of its own, which may read
that slide alone. The parent must have one thread: a fork copies only the thread that calls it, and Landlock restricts
only the thread that asks for it.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from wsigraph import registry
from wsigraph.errors import PluginError
from wsigraph.run.sandbox import protocol
from wsigraph.run.sandbox.sandbox import Limits, end_with_parent, enter

_N_DESCRIPTORS = 2**16
_REAP_TRIES, _REAP_S = 100, 0.01

Serve = Callable[[IO[bytes], IO[bytes]], None]
"""What a child does: it reads requests from the first stream and writes responses to the second."""


def import_before_fork(*packages: str) -> None:
    """Import all modules of some packages and every reader plugin, so that a fork has them.

    A kernel must be decorated before the sandbox: inside it there is no directory for compiled code that it may write,
    and numba then does not read what is compiled already either.

    Parameters
    ----------
    *packages : str
        Names of packages. A module whose dependencies are not installed is left out; what needs it says so later.
    """
    for package in packages:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in registry.names(registry.READERS):
        with suppress(PluginError):
            registry.load(registry.READERS, name)


class SandboxedChild:
    """A forked process in a sandbox, and the pipes to it.

    Parameters
    ----------
    limits : Limits
        What it may use.
    serve : callable
        What it does; the process ends when it returns.
    """

    def __init__(self, limits: Limits, serve: Serve) -> None:
        requests_in, requests_out = os.pipe()
        responses_in, responses_out = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _run(limits, serve, requests_in, responses_out)
        os.close(requests_in)
        os.close(responses_out)
        self._requests = os.fdopen(requests_out, "wb")
        # without a buffer, so that whoever waits for the pipe to be readable misses nothing
        self.responses = os.fdopen(responses_in, "rb", buffering=0)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        """Send a request."""
        protocol.send_message(self._requests, header, body)

    def request(self, header: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Send a request and return the response.

        Raises
        ------
        EOFError, OSError, ValueError
            If the process has ended, or answered with what is not a message.
        """
        self.send(header, body)
        return protocol.receive_message(self.responses)

    def resident_bytes(self) -> int:
        """Return the memory that it occupies, with what it shares with its parent."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cause(self) -> str:
        """Return how it ended: the name of a signal, or its exit status."""
        for _ in range(_REAP_TRIES):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                is_signal = os.WIFSIGNALED(status)
                return signal.Signals(os.WTERMSIG(status)).name if is_signal else f"status {os.WEXITSTATUS(status)}"
            time.sleep(_REAP_S)
        return "it closed its pipe"

    def end(self) -> None:
        """Kill it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        for stream in (self._requests, self.responses):
            with suppress(OSError):
                stream.close()


def _run(limits: Limits, serve: Serve, requests: int, responses: int) -> NoReturn:
    """Live as the child, and never return into the code of the parent."""
    status = 1
    try:
        end_with_parent()
        # nothing of the parent's stays open: its pipes, those of other children, and its standard input
        os.dup2(requests, 0)
        os.dup2(responses, 3)
        os.closerange(4, _N_DESCRIPTORS)
        enter(limits)
        serve(os.fdopen(0, "rb"), os.fdopen(3, "wb"))
        status = 0
    finally:
        # without the parent's handlers at exit and buffers
        os._exit(status)
