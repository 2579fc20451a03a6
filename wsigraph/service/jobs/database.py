"""Connection to the database of jobs, set up so that many can read while one writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from wsigraph.service.jobs.deadline import PLACES, connect_arguments, limit_statements

_WAIT_S = 30.0


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
            connect_args=connect_arguments(address, time_s),
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
