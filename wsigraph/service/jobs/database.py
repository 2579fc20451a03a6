"""Connection to the database of jobs, set up so that many can read while one writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Float, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from wsigraph.errors import DatabaseUnavailable
from wsigraph.service.jobs.deadline import PLACES, DatabaseGuard, limit_statements

_WAIT_S = 30.0


class database_time(FunctionElement[float]):  # noqa: N801  (a function of the database, in a statement)
    """The database's time in a statement, s since 1970.

    Services on several machines compare the claims of jobs by it, so their own clocks need not agree.
    """

    type = Float()
    inherit_cache = True


@compiles(database_time)
def _(_element: database_time, _compiler: Any, **_options: Any) -> str:
    # the time of the statement: now() is that of the transaction, which may have waited for a lock
    return "extract(epoch from clock_timestamp())"


@compiles(database_time, "sqlite")
def _(_element: database_time, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


def open_database(url: str, time_s: float = 5.0) -> Engine:
    """Return an SQLAlchemy engine.

    Parameters
    ----------
    url : str
        SQLAlchemy address of the database.
    time_s : float, optional
        Longest time of one statement on PostgreSQL, s.

    Returns
    -------
    Engine
        SQLite uses a write-ahead log. With the execution option ``writes`` a transaction takes the write lock when it
        begins, and waits for it for ``?timeout=S`` in the address, or 30 s.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = create_engine(
            address,
            pool_size=PLACES,
            max_overflow=PLACES,
            pool_timeout=time_s,
            pool_pre_ping=True,
        )
        limit_statements(engine, time_s)
        return engine
    wait_s = float(str(address.query.get("timeout", _WAIT_S)))
    engine = create_engine(address, connect_args={"timeout": wait_s, "check_same_thread": False})

    # by default the driver takes the lock at the first write, and two transactions that read before would deadlock
    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def translate_errors(guard: DatabaseGuard) -> Iterator[None]:
    """Turn database errors into DatabaseUnavailable. Its message hides the address, which the log has.

    Parameters
    ----------
    guard : DatabaseGuard
        Notes each error.

    Raises
    ------
    DatabaseUnavailable
        If the database does not answer.
    """
    started_at = time.monotonic()
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        guard.note(first_line(error), started_at)
        raise DatabaseUnavailable("the job database does not answer; try again") from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
