"""Guarded HTTP: uvicorn's protocol with time-outs for half-sent requests, and limits on connections.

uvicorn waits for ever for the rest of a header, of a body, and for a client that does not read its response. Each such
connection costs a file and, with a body, a task. Here the header has a time, and the body and the response must go on:
a client that moves fewer than 1 kB a second is cut off. Connections are limited for each address and in total. The
rest, signals and shutdown among it, is uvicorn's.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Container
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from wsigraph.config import ServiceConfig

_MIN_BYTES_PER_S = 1000.0
_LINGER_S = 1.0
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class ConnectionCounts:
    """Open connections of each address, and their limits.

    Parameters
    ----------
    config : ServiceConfig
        Limits.
    exempt : container of str
        Addresses that are not counted by themselves: proxies that pass on the requests of many.
    """

    def __init__(self, config: ServiceConfig, exempt: Container[str]) -> None:
        self.header_time_s = config.header_time_s
        self.body_time_s = config.body_time_s
        self._max, self._address_max = config.connections_max, config.connections_address_max
        self._exempt = exempt
        self._open: Counter[str] = Counter()

    def add(self, address: str) -> bool:
        """Count a new connection. Return False if it is one too many."""
        is_over = address not in self._exempt and self._open[address] >= self._address_max
        if is_over or self._open.total() >= self._max:
            return False
        self._open[address] += 1
        return True

    def remove(self, address: str) -> None:
        """Forget a connection that has ended."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class GuardedProtocol(H11Protocol):
    """One connection. Use `guarded_protocol` to give it limits."""

    counts: ClassVar[ConnectionCounts]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._awaited = ""
        self._n_received = 0
        self._is_counted = False
        self._has_ended = False

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and begin to wait for its first header."""
        super().connection_made(transport)
        self._is_counted = self.counts.add(self._address)
        if self._is_counted:
            self._await("header", self.counts.header_time_s)
        else:
            self._end(_BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._await("")
        if self._is_counted:
            self.counts.remove(self._address)
            self._is_counted = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle bytes of the client, and set the time for the next."""
        if self._has_ended or self.transport.is_closing():
            return
        self._n_received += len(data)
        super().data_received(data)
        self._update()

    def on_response_complete(self) -> None:
        """Prepare for the next request."""
        super().on_response_complete()
        self._update()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._await("reading", self.counts.body_time_s)

    def resume_writing(self) -> None:
        """Stop waiting for it."""
        super().resume_writing()
        self._await("")
        self._update()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, also if its client does not read what it was sent."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.counts.body_time_s, self.transport.abort)

    def _update(self) -> None:
        """Set the timer for what the client owes now."""
        if self.transport.is_closing() or self._awaited == "reading":
            return
        state = self.conn.their_state
        if state is h11.SEND_BODY:
            if self._awaited != "body":
                self._await("body", self.counts.body_time_s)
        elif state is h11.IDLE and self.conn.trailing_data[0]:
            if self._awaited != "header":
                self._await("header", self.counts.header_time_s)
        elif state is not h11.IDLE or self._awaited != "header" or self.cycle is not None:
            self._await("")

    def _await(self, what: str, seconds: float = 0.0) -> None:
        """Wait for a header, a part of a body or a reading client; for nothing if `what` is empty."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._awaited = what
        if what:
            n_before = self._n_received if what == "body" else self._n_unread()
            self._timer = self.loop.call_later(seconds, self._on_time, what, n_before, seconds)

    def _on_time(self, what: str, n_before: int, seconds: float) -> None:
        """End the connection of a client that has not moved on."""
        needed = seconds * _MIN_BYTES_PER_S
        if what == "header":
            self._end(_LATE if self.cycle is None or self.cycle.response_complete else b"")
            return
        moved = self._n_received - n_before if what == "body" else n_before - self._n_unread()
        # while reading is paused, the client waits for the service
        if moved >= needed or (what == "body" and self.flow.read_paused):
            self._await(what, seconds)
        else:
            self.transport.abort()

    def _n_unread(self) -> int:
        return self.transport.get_write_buffer_size()

    def _end(self, response: bytes) -> None:
        """Send a last response. What the client still sends is dropped, so that it can read the response first."""
        self._await("")
        self._has_ended = True
        self.transport.write(response)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.abort)


def guarded_protocol(config: ServiceConfig, exempt: Container[str]) -> type[GuardedProtocol]:
    """Return the protocol class of a service.

    Parameters
    ----------
    config : ServiceConfig
        Limits.
    exempt : container of str
        Addresses of trusted proxies.

    Returns
    -------
    type
        For ``uvicorn.Config(http=...)``. All its connections are counted together.
    """
    return type("ServiceProtocol", (GuardedProtocol,), {"counts": ConnectionCounts(config, exempt)})
