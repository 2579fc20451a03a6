"""Migrations: creates the tables of jobs, and changes those of earlier versions, with alembic.

Two services that start at once on one database wait for each other: PostgreSQL by an advisory lock, SQLite by its
write lock.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from wsigraph.errors import StoreError
from wsigraph.service.jobs.deadline import longer_limit

HEAD = "0002"
"""Revision of the tables that this version uses."""
VERSION_TABLE = "wsigraph_revision"
_LOCK = 0x77736967
_LOCK_WAIT_S = 120.0


def migrate(engine: Engine) -> None:
    """Bring the tables of a database to the revision of this version.

    Parameters
    ----------
    engine : Engine
        The database.

    Raises
    ------
    StoreError
        If its tables belong to a later version.
    """
    # most starts find the tables as they are, and need neither the lock nor alembic
    if _find_revision(engine) == HEAD:
        return
    # another service may be changing the tables
    with engine.execution_options(writes=True).begin() as connection, longer_limit(connection, _LOCK_WAIT_S):
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_WAIT_S:g}s'")
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _upgrade(connection)


def _find_revision(engine: Engine) -> str | None:
    try:
        with engine.connect() as connection:
            row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()  # noqa: S608
    except SQLAlchemyError:
        # no such table; another fault shows again below
        return None
    return None if row is None else str(row[0])


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    options = {"version_table": VERSION_TABLE}
    revision = MigrationContext.configure(connection, opts=options).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"the job database has tables of revision {revision}, expected at most {HEAD}; use the version of wsigraph "
            "that changed it, or another service.database"
        )
    if revision is None and inspect(connection).has_table("wsigraph_jobs"):
        _check_former_version(connection)
        command.stamp(config, "0001")
    command.upgrade(config, "head")


def _check_former_version(connection: Connection) -> None:
    """Check the number in which versions before alembic kept the version of the tables."""
    version = connection.execute(text("SELECT version FROM wsigraph_schema")).scalar_one_or_none()
    if version not in (None, 1):
        raise StoreError(
            f"the job database has tables of version {version}, expected 1; use the version of wsigraph that created "
            "it, or another service.database"
        )
