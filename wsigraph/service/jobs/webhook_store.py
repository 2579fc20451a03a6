"""Webhooks of jobs in the job database: which address gets a message when a job ends, and whether it has got it.

A webhook is stored with its job, so it survives a restart. Each end of a job has one identifier: a delivery that is
tried again carries the same one, and a second request for the same job adds nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from wsigraph.service.jobs.database import database_time
from wsigraph.service.jobs.schema import ACTIVE, StoredJob, jobs, webhooks
from wsigraph.service.jobs.store import JobStore

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DueWebhook:
    """A webhook of a job that has ended.

    Attributes
    ----------
    webhook_id, url : str
        Identifier of this end of the job, and the address to tell.
    attempts : int
        Number of earlier attempts.
    job : StoredJob
        The job.
    """

    webhook_id: str
    url: str
    attempts: int
    job: StoredJob


class WebhookStore:
    """Webhooks in the database of jobs. It is safe to use from several threads and processes.

    Parameters
    ----------
    store : JobStore
        The jobs.
    """

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def add(self, job_id: str, url: str) -> None:
        """Tell an address when a job ends. If the job has ended, the message goes at once, and only once.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        one = (webhooks.c.job_id == job_id) & (webhooks.c.url == url)
        new = {"webhook_id": f"msg_{secrets.token_hex(12)}", "state": PENDING, "attempts": 0, "next_at": 0.0}
        with self._store._write_transaction() as connection:
            is_known = connection.execute(select(webhooks.c.state).where(one)).first() is not None
            if not is_known:
                connection.execute(insert(webhooks).values(job_id=job_id, url=url, **new))
            else:
                # a job that failed and is queued again will end again; its first end may still be on its way
                is_active = webhooks.c.job_id.in_(select(jobs.c.job_id).where(jobs.c.state.in_(ACTIVE)))
                was_tried = (webhooks.c.state != PENDING) | (webhooks.c.attempts > 0)
                connection.execute(update(webhooks).where(one, is_active, was_tried).values(**new))

    def claim(self, claim_s: float, at_most: int = _AT_ONCE) -> list[DueWebhook]:
        """Return at most so many webhooks that are due. Nobody else gets them before `claim_s` seconds have passed.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        query = (
            select(jobs, webhooks.c.webhook_id, webhooks.c.url, webhooks.c.attempts.label("tries"))
            .join(webhooks, webhooks.c.job_id == jobs.c.job_id)
            .where(webhooks.c.state == PENDING, webhooks.c.next_at <= database_time(), jobs.c.state.not_in(ACTIVE))
            .order_by(webhooks.c.next_at)
            .limit(at_most)
        )
        with self._store._read_transaction() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return []
        due = []
        with self._store._write_transaction() as connection:
            for row in connection.execute(query).mappings().all():
                mine = (webhooks.c.webhook_id == row["webhook_id"]) & (webhooks.c.next_at <= database_time())
                values = {"next_at": database_time() + claim_s, "attempts": webhooks.c.attempts + 1}
                if connection.execute(update(webhooks).where(mine).values(**values)).rowcount == 1:
                    job = StoredJob(**{column.key: row[column] for column in jobs.columns})
                    due.append(DueWebhook(webhook_id=row["webhook_id"], url=row["url"], attempts=row["tries"], job=job))
        return due

    def record(self, webhook_id: str, state: str, wait_s: float = 0.0) -> None:
        """Store how an attempt ended; `wait_s` is the time until the next one.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        values: dict[str, Any] = {"state": state, "next_at": database_time() + wait_s}
        with self._store._write_transaction() as connection:
            connection.execute(update(webhooks).where(webhooks.c.webhook_id == webhook_id).values(**values))

    def remove_orphans(self) -> None:
        """Remove the webhooks of jobs that were removed.

        Raises
        ------
        StoreError
            If the database does not answer.
        """
        with self._store._write_transaction() as connection:
            connection.execute(delete(webhooks).where(webhooks.c.job_id.not_in(select(jobs.c.job_id))))
