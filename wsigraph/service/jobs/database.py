"""Connection to the database of jobs, set up so that many can read while one writes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

_WAIT_S = 30.0


def open_database(url: str) -> Engine:
    """Return an SQLAlchemy engine.

    Parameters
    ----------
    url : str
        SQLAlchemy address of the database.

    Returns
    -------
    Engine
        SQLite uses a write-ahead log. With the execution option ``writes`` a transaction takes the write lock when it
        begins, and waits for it for ``?timeout=S`` in the address, or 30 s.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return create_engine(address, pool_size=8, max_overflow=8, pool_pre_ping=True)
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
