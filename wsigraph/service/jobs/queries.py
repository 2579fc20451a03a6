"""Lists of jobs: filters, pages and totals."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, func, or_, select, true

from wsigraph.service.jobs.schema import StoredJob, jobs
from wsigraph.service.jobs.store import JobStore


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a list has; None allows every value.

    Attributes
    ----------
    state, slide_id, kind, target, owner : str or None
        Value of the field of the same name.
    """

    state: str | None = None
    slide_id: str | None = None
    kind: str | None = None
    target: str | None = None
    owner: str | None = None

    def condition(self) -> ColumnElement[bool]:
        """Return the condition for a query."""
        values = {name: getattr(self, name) for name in ("state", "slide_id", "kind", "target", "owner")}
        return and_(true(), *(jobs.c[name] == value for name, value in values.items() if value is not None))


def list_jobs(
    store: JobStore,
    wanted: JobFilter,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[float, str] | None = None,
) -> tuple[list[StoredJob], int]:
    """Return a page of jobs, the latest first, and the number of all that match.

    Parameters
    ----------
    store : JobStore
        The jobs.
    wanted : JobFilter
        Which jobs.
    limit, offset : int
        Size of the page, and number of jobs to skip.
    after : tuple of float, str, optional
        ``created_at`` and ``job_id`` of the last job of the page before.

    Returns
    -------
    tuple of list, int
        The page, and the total.

    Raises
    ------
    StoreError
        If the database does not answer.
    """
    condition = wanted.condition()
    query = select(jobs).where(condition).order_by(jobs.c.created_at.desc(), jobs.c.job_id)
    if after is not None:
        created_at, job_id = after
        is_later = and_(jobs.c.created_at == created_at, jobs.c.job_id > job_id)
        query = query.where(or_(jobs.c.created_at < created_at, is_later))
    with store._read_transaction() as connection:
        total = connection.execute(select(func.count()).select_from(jobs).where(condition)).scalar_one()
        rows = connection.execute(query.limit(limit).offset(offset)).mappings().all()
    return [StoredJob(**{column.key: row[column] for column in jobs.columns}) for row in rows], int(total)
