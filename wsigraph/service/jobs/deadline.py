"""Deadlines of the database: a server that accepts connections but does not answer fails a statement, not the service.

PostgreSQL's own ``statement_timeout`` needs a server that runs. A stopped process, a frozen machine or a lost network
leaves the client waiting, so the client itself stops here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

from wsigraph.errors import DatabaseUnavailable

PLACES = 8
"""Threads that may wait for the database at a time."""
_PAUSE_S = 2.0
_LOG_EVERY_S = 60.0
_log = logging.getLogger("wsigraph.service")


def connect_arguments(address: URL, time_s: float) -> dict[str, Any]:
    """Return the driver's arguments for a new connection: at most a few seconds to connect."""
    if address.get_driver_name() not in ("psycopg", "psycopg2"):
        return {}
    # libpq rounds one second up to two
    return {"connect_timeout": max(2, round(time_s))}


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

        def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
            """Run one exchange with the server."""
            limit_s = getattr(self, "time_s", time_s)
            try:
                return super().wait(gen, interval, limit_s if timeout is None else min(timeout, limit_s))
            except errors._WaitTimeout:
                # its state is unknown, so it is not used again
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {limit_s:g} s") from None

    @event.listens_for(engine, "do_connect")
    def _(_dialect: Any, _record: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return DeadlineConnection.connect(*arguments, **options)


class DatabaseGuard:
    """Keeps a database that does not answer from holding the threads of the service.

    A few threads at a time use the database. After one of them has waited in vain, all fail at once for two seconds.
    It is safe to use from several threads.

    Parameters
    ----------
    time_s : float
        Longest time of one statement, s.
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
        if time.monotonic() < self._down_until or not self._places.acquire(timeout=self._time_s):
            raise DatabaseUnavailable("the job database does not answer; try again")
        try:
            yield
        finally:
            self._places.release()

    def note(self, reason: str, started_at: float) -> None:
        """Log a failure, without flooding the log, and pause if it took long."""
        now = time.monotonic()
        if now - started_at >= 0.9 * self._time_s:
            self._down_until = now + _PAUSE_S
        if now - self._logged_at > _LOG_EVERY_S:
            self._logged_at = now
            _log.error("the job database does not answer: %s", reason)
