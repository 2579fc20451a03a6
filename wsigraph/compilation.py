"""Reports the compilation of kernels, which takes most of the first command on a machine.

`wsigraph.kernels` calls `begin` and `end` around every compilation; whoever shows progress calls `watch`. This module
imports nothing heavy, so that a command which compiles nothing does not pay for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MESSAGE = "compiling, once on this machine"
"""What the console says while kernels are compiled."""

Watcher = Callable[[int, bool], None]
"""Called with the number of kernels compiled so far by this process, and whether one is being compiled."""

_lock = threading.Lock()
_watchers: list[Watcher] = []
_n_compiled = 0
_n_running = 0


@contextmanager
def watch(watcher: Watcher) -> Iterator[None]:
    """Call a function whenever the compilation of a kernel begins or ends, inside the block.

    Parameters
    ----------
    watcher : callable
        Takes the number of kernels compiled so far and whether one is being compiled; called from any thread.
    """
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def begin() -> None:
    """Report that the compilation of a kernel begins."""
    _report(begun=1, ended=0)


def end() -> None:
    """Report that the compilation of a kernel has ended."""
    _report(begun=0, ended=1)


def _report(begun: int, ended: int) -> None:
    global _n_compiled, _n_running
    with _lock:
        _n_running = max(0, _n_running + begun - ended)
        _n_compiled += ended
        n_compiled, is_running = _n_compiled, _n_running > 0
    for watcher in tuple(_watchers):
        watcher(n_compiled, is_running)
