"""Deadlines of the database: a server that accepts connections but does not answer fails a request, not the service.

PostgreSQL's own ``statement_timeout`` needs a server that runs. A stopped process, a frozen machine or a lost network
leaves the client waiting, so the client itself stops here. One use of the database has one deadline: the wait for a
place, the check of a pooled connection, a new connection and all statements share it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from wsigraph.errors import DatabaseUnavailable

PLACES = 8
"""Threads that may wait for the database at a time."""
_PAUSE_S = 2.0
_LOG_EVERY_S = 60.0
_log = logging.getLogger("wsigraph.service")


class _Deadline(threading.local):
    """When the use of the database ends that this thread is in, s of the monotonic clock."""

    until = float("inf")

    def left_s(self, limit_s: float) -> float:
        """Return how long an exchange with the server may take that is limited to `limit_s`."""
        return max(0.0, min(limit_s, self.until - time.monotonic()))


_deadline = _Deadline()


def limit_statements(engine: Engine, time_s: float) -> None:
    """Make every statement of an engine fail after a time, for the driver psycopg.

    Parameters
    ----------
    engine : Engine
        The database.
    time_s : float
        Longest time of one statement, s.
    """
    if engine.dialect.driver != "psycopg":
        return
    import psycopg
    from psycopg import errors

    class DeadlineConnection(psycopg.Connection[Any]):
        """A connection that gives up a server that does not answer."""

        limit_s = time_s

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            """Run one exchange with the server."""
            left_s = _deadline.left_s(self.limit_s)
            try:
                return super().wait(gen, interval, left_s if timeout is None else min(timeout, left_s))
            except errors._WaitTimeout:
                # its state is unknown, so it is not used again
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {self.limit_s:g} s") from None

    @event.listens_for(engine, "do_connect")
    def _(_dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        left_s = _deadline.left_s(time_s)
        if left_s <= 0.0:
            raise psycopg.OperationalError(f"no answer within {time_s:g} s")
        # libpq counts whole seconds, at least two
        return DeadlineConnection.connect(*arguments, **options, connect_timeout=max(2, math.ceil(left_s)))


@contextmanager
def longer_limit(connection: Connection, limit_s: float) -> Iterator[None]:
    """Let the statements of a connection take longer within a block; it goes back to the pool as it was.

    Parameters
    ----------
    connection : sqlalchemy.Connection
        A connection of any driver; only psycopg's are limited.
    limit_s : float
        Longest time of one statement, s.
    """
    raw: Any = connection.connection.dbapi_connection
    if not hasattr(raw, "limit_s"):
        yield
        return
    raw.limit_s = limit_s
    try:
        yield
    finally:
        del raw.limit_s


class DatabaseGuard:
    """Keeps a database that does not answer from holding the threads of the service.

    A few threads at a time use the database, each for a limited time. After one of them has waited in vain, all fail at
    once for two seconds. It is safe to use from several threads.

    Parameters
    ----------
    time_s : float
        Longest time of one use, s.
    """

    def __init__(self, time_s: float) -> None:
        self._time_s = time_s
        self._places = threading.BoundedSemaphore(PLACES)
        self._down_until = 0.0
        self._logged_at = float("-inf")

    @contextmanager
    def use(self) -> Iterator[None]:
        """Use the database.

        Raises
        ------
        DatabaseUnavailable
            If it did not answer a moment ago, or too many threads wait for it.
        """
        now = time.monotonic()
        if now < self._down_until or not self._places.acquire(timeout=self._time_s):
            raise DatabaseUnavailable("the job database does not answer; try again")
        _deadline.until = now + self._time_s
        try:
            yield
        finally:
            _deadline.until = float("inf")
            self._places.release()

    def note(self, reason: str, started_at: float) -> None:
        """Log a failure, without flooding the log, and pause if it took long."""
        now = time.monotonic()
        if now - started_at >= 0.9 * self._time_s:
            self._down_until = now + _PAUSE_S
        if now - self._logged_at > _LOG_EVERY_S:
            self._logged_at = now
            _log.error("the job database does not answer: %s", reason)
