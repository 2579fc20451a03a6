"""What the service knows about the request it handles: its client, its class of work, and whether the client has left.

The security middleware sets it. Threads that work for the request inherit it, so a queue can ask for it without a
parameter in every function between.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextvars import ContextVar
from enum import IntEnum


class Priority(IntEnum):
    """Classes of work, the most urgent first."""

    TILE = 0
    REGION = 1
    THUMBNAIL = 2
    CHECK = 3
    DIGEST = 4


class RequestContext:
    """One request. It is safe to use from several threads.

    Parameters
    ----------
    caller : str
        Who sent it: the name of its token, or its network address. Each caller gets the same share of the work.
    priority : Priority
        Its class of work.

    Attributes
    ----------
    request_id : str
        Identifies it in the log, the audit log and the header ``X-Request-ID``.
    give_up_place : callable
        Lets another request of this caller be handled while this one waits. Called in the event loop.
    """

    def __init__(self, caller: str = "", priority: Priority = Priority.REGION) -> None:
        self.request_id = secrets.token_hex(6)
        self.caller = caller
        self.priority = priority
        self.give_up_place: Callable[[], None] = lambda: None
        self._has_left = False
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def has_left(self) -> bool:
        """Whether the client has closed its connection."""
        return self._has_left

    def leave(self) -> None:
        """Note that the client has left, and cancel the work that still waits for it."""
        with self._lock:
            self._has_left = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def call_when_left(self, callback: Callable[[], None]) -> None:
        """Call a function when the client leaves; at once if it has left already."""
        with self._lock:
            if not self._has_left:
                self._callbacks.append(callback)
                return
        callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Do not call a function any more."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


_current: ContextVar[RequestContext | None] = ContextVar("wsigraph_request", default=None)


def current_request() -> RequestContext:
    """Return the request that this task or thread works for; one without caller if there is none."""
    return _current.get() or RequestContext()


def current_request_id() -> str:
    """Return the identifier of the request that this task or thread works for; ``-`` if there is none."""
    request = _current.get()
    return request.request_id if request is not None else "-"


def set_current_request(request: RequestContext) -> None:
    """Make a request the current one of this task and of the threads that it starts."""
    _current.set(request)
