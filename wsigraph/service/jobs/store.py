"""Where jobs are kept: SQLite beside the data, or PostgreSQL; the same statements serve both.

Every change of state names the state it expects, so that of two that try only one succeeds. A service renews the claims
of the jobs that it runs, by their names; claims that end are taken over, and their jobs begun again from the finished
stages. A claim that a service holds without running the job, because the database went away between the two, is given
back by the service itself.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from wsigraph.errors import NotFound, PluginError, StoreError, TooMany
from wsigraph.service.jobs.database import open_database
from wsigraph.service.jobs.schema import (
    ACTIVE,
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    SCHEMA,
    STATES,
    StoredJob,
    digests,
    jobs,
    metadata,
    schema,
)

_TRIES = 3


class JobStore:
    """Jobs in a database; safe to use from several threads and processes.

    Parameters
    ----------
    url : str
        SQLAlchemy's address of the database, ``sqlite:///FILE`` or ``postgresql+psycopg://...``.

    Raises
    ------
    PluginError
        If the database's driver is not installed.
    StoreError
        If the database does not answer, or its tables are of another version.
    """

    def __init__(self, url: str) -> None:
        try:
            self._engine = open_database(url)
            self._writer = self._engine.execution_options(writes=True)
            try:
                self._prepare()
            except BaseException:
                self._engine.dispose()
                raise
        except (ImportError, NoSuchModuleError) as error:
            raise PluginError(
                f"service.database needs a driver that is not installed ({error}); install it with: "
                "pip install 'wsigraph[postgres]'"
            ) from None
        except (SQLAlchemyError, ArgumentError) as error:
            raise StoreError(
                f"the database of jobs does not answer ({_first_line(error)}); check service.database"
            ) from None

    def create(self, job: StoredJob, *, queue_max: int, owner_max: int) -> tuple[StoredJob, bool]:
        """Add a job, or find the one with the same key; one that failed or was cancelled is queued again.

        Parameters
        ----------
        job : StoredJob
            From `new_job`.
        queue_max, owner_max : int
            Most jobs that may wait or run, in all and of one owner.

        Returns
        -------
        tuple of StoredJob, bool
            The job, and whether there is now something more to do.

        Raises
        ------
        StoreError
            If the database does not answer.
        TooMany
            If the queue is full.
        """
        for _ in range(_TRIES):
            try:
                return self._create(job, queue_max, owner_max)
            except IntegrityError:
                # another service has added the same between two statements; now it is there to be found
                continue
        raise StoreError("the job could not be stored; ask again")

    def _create(self, job: StoredJob, queue_max: int, owner_max: int) -> tuple[StoredJob, bool]:
        with self._writing() as connection:
            known = connection.execute(select(jobs).where(jobs.c.key == job.key)).mappings().first()
            if known is not None and known["state"] not in (FAILED, CANCELLED):
                return _job(known), False
            self._refuse_full(connection, job.owner, queue_max, owner_max)
            if known is None:
                connection.execute(insert(jobs).values(**_values(job)))
                return job, True
            anew = {"state": QUEUED, "is_cancelled": False, "error": "", "message": "", "attempts": 0}
            anew |= {"fraction": 0.0, "stage": "", "started_at": None, "ended_at": None, "owner": job.owner}
            anew |= {"path": job.path, "created_at": job.created_at}
            connection.execute(update(jobs).where(jobs.c.job_id == known["job_id"]).values(**anew))
            found = connection.execute(select(jobs).where(jobs.c.job_id == known["job_id"])).mappings().one()
            return _job(found), True

    def find(self, job_id: str) -> StoredJob:
        """Return a job.

        Raises
        ------
        NotFound
            If there is none of that name.
        """
        with self._reading() as connection:
            found = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).mappings().first()
        if found is None:
            raise NotFound(f"job {job_id!r} is not there; GET /v1/jobs lists those that are")
        return _job(found)

    def latest(
        self, *, state: str | None = None, slide_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[StoredJob]:
        """Return jobs, the latest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.job_id).limit(limit).offset(offset)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if slide_id is not None:
            query = query.where(jobs.c.slide_id == slide_id)
        with self._reading() as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    def count(self) -> dict[str, int]:
        """Return how many jobs there are in each state."""
        with self._reading() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        found = {str(row[0]): int(row[1]) for row in rows}
        return {state: found.get(state, 0) for state in STATES}

    def claim(self, instance: str, n: int, claim_s: float) -> list[StoredJob]:
        """Take queued jobs to be run, the oldest first; of jobs that share their first stages one at a time.

        Parameters
        ----------
        instance : str
            The service that will run them.
        n : int
            How many at most.
        claim_s : float
            How long the claim holds without being renewed, s.

        Returns
        -------
        list of StoredJob
            Each is running now, for this service alone.
        """
        now = time.time()
        taken: list[str] = []
        with self._writing() as connection:
            busy = set(connection.execute(select(jobs.c.slide_key).where(jobs.c.state == RUNNING)).scalars())
            query = select(jobs.c.job_id, jobs.c.slide_key).where(jobs.c.state == QUEUED)
            if busy:
                query = query.where(jobs.c.slide_key.not_in(busy))
            for job_id, slide_key in connection.execute(
                query.order_by(jobs.c.created_at, jobs.c.job_id).limit(8 * n + 8)
            ).all():
                if len(taken) < n and slide_key not in busy:
                    values = {"state": RUNNING, "claimed_by": instance, "claimed_until": now + claim_s}
                    values |= {"attempts": jobs.c.attempts + 1, "started_at": now, "fraction": 0.0}
                    done = connection.execute(
                        update(jobs).where(jobs.c.job_id == job_id, jobs.c.state == QUEUED).values(**values)
                    )
                    if done.rowcount == 1:
                        taken.append(job_id)
                        busy.add(slide_key)
            found = connection.execute(select(jobs).where(jobs.c.job_id.in_(taken))).mappings().all()
        return sorted((_job(row) for row in found), key=lambda job: job.created_at)

    def renew(self, instance: str, job_ids: Collection[str], claim_s: float) -> frozenset[str]:
        """Hold on to the claims of the jobs that a service runs.

        Parameters
        ----------
        instance : str
            The service.
        job_ids : collection of str
            The jobs that it really runs; its claims of others run out.
        claim_s : float
            How long the claims hold from now on, s.

        Returns
        -------
        frozenset of str
            Those of the jobs that are still its own; another service has taken over the rest.
        """
        mine = (jobs.c.state == RUNNING) & (jobs.c.claimed_by == instance) & jobs.c.job_id.in_(job_ids)
        with self._writing() as connection:
            connection.execute(update(jobs).where(mine).values(claimed_until=time.time() + claim_s))
            return frozenset(connection.execute(select(jobs.c.job_id).where(mine)).scalars())

    def take_back(self, instance: str | None = None, *, but: Collection[str] = ()) -> int:
        """Queue again what a service has left behind.

        Parameters
        ----------
        instance : str, optional
            Whose claims are given up; where left out, those of all that have ended.
        but : collection of str
            Jobs whose claims stay.

        Returns
        -------
        int
            How many jobs wait again.
        """
        left = jobs.c.claimed_until < time.time() if instance is None else jobs.c.claimed_by == instance
        if but:
            left &= jobs.c.job_id.not_in(but)
        with self._writing() as connection:
            done = connection.execute(
                update(jobs).where(jobs.c.state == RUNNING, left).values(state=QUEUED, claimed_by="", stage="")
            )
            return int(done.rowcount)

    def tell(self, job_id: str, instance: str, stage: str, fraction: float) -> bool:
        """Note how far a job is; return whether it is still this service's to run."""
        with self._writing() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.state == RUNNING, jobs.c.claimed_by == instance)
                .values(stage=stage, fraction=fraction)
            )
            return int(done.rowcount) == 1

    def finish(
        self, job_id: str, instance: str, state: str, *, stage: str = "", error: str = "", message: str = ""
    ) -> bool:
        """Note how a job has ended; return False where it is no longer this service's.

        Parameters
        ----------
        job_id, instance : str
            The job, and the service that ran it.
        state : str
            ``done``, ``failed``, ``cancelled``, or ``queued`` where it is to be tried again.
        stage, error, message : str
            Where it ended and of what.

        Returns
        -------
        bool
            Whether it was noted.
        """
        values: dict[str, Any] = {"state": state, "stage": stage, "error": error, "message": message, "claimed_by": ""}
        if state != QUEUED:
            values["ended_at"] = time.time()
        if state == DONE:
            values |= {"fraction": 1.0, "completions": jobs.c.completions + 1}
        with self._writing() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.state == RUNNING, jobs.c.claimed_by == instance)
                .values(**values)
            )
            return int(done.rowcount) == 1

    def cancel(self, job_id: str) -> StoredJob:
        """Cancel a job that waits, and ask for the end of one that runs; one that has ended stays as it is.

        Raises
        ------
        NotFound
            If there is none of that name.
        """
        with self._writing() as connection:
            one = jobs.c.job_id == job_id
            connection.execute(
                update(jobs)
                .where(one, jobs.c.state == QUEUED)
                .values(state=CANCELLED, is_cancelled=True, ended_at=time.time())
            )
            connection.execute(update(jobs).where(one, jobs.c.state == RUNNING).values(is_cancelled=True))
        return self.find(job_id)

    def done_before(self, slide_key: str) -> list[str]:
        """Return the done jobs whose first stages are those of a key, the latest first."""
        one = (jobs.c.slide_key == slide_key) & (jobs.c.state == DONE)
        with self._reading() as connection:
            return list(connection.execute(select(jobs.c.job_id).where(one).order_by(jobs.c.ended_at.desc())).scalars())

    def to_cancel(self, instance: str) -> Sequence[str]:
        """Return the jobs that a service runs and somebody wants to end."""
        mine = (jobs.c.state == RUNNING) & (jobs.c.claimed_by == instance) & jobs.c.is_cancelled
        with self._reading() as connection:
            return connection.execute(select(jobs.c.job_id).where(mine)).scalars().all()

    def remove_ended(self, before: float) -> list[str]:
        """Remove the jobs that ended before a time, s since 1970; return their names."""
        old = jobs.c.state.not_in(ACTIVE) & (jobs.c.ended_at < before)
        with self._writing() as connection:
            names = list(connection.execute(select(jobs.c.job_id).where(old)).scalars())
            connection.execute(delete(jobs).where(jobs.c.job_id.in_(names)))
        return names

    def remove(self, job_id: str) -> None:
        """Remove a job that has ended; one that waits or runs stays."""
        with self._writing() as connection:
            connection.execute(delete(jobs).where(jobs.c.job_id == job_id, jobs.c.state.not_in(ACTIVE)))

    def known_digest(self, version: str) -> str | None:
        """Return the SHA-256 that was noted for a version of a file, or None."""
        with self._reading() as connection:
            return connection.execute(select(digests.c.sha256).where(digests.c.version == version)).scalar_one_or_none()

    def note_digest(self, version: str, sha256: str) -> None:
        """Note the SHA-256 of a version of a file."""
        with self._writing() as connection:
            connection.execute(delete(digests).where(digests.c.version == version))
            connection.execute(insert(digests).values(version=version, sha256=sha256))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _prepare(self) -> None:
        metadata.create_all(self._engine)
        with self._writing() as connection:
            found = connection.execute(select(schema.c.version)).scalar_one_or_none()
            if found is None:
                connection.execute(insert(schema).values(version=SCHEMA))
            elif found != SCHEMA:
                raise StoreError(
                    f"the database of jobs has tables of version {found}, expected {SCHEMA}; use the wsigraph that "
                    "made them, or another service.database"
                )

    def _refuse_full(self, connection: Connection, owner: str, queue_max: int, owner_max: int) -> None:
        active = jobs.c.state.in_(ACTIVE)
        in_all = connection.execute(select(func.count()).select_from(jobs).where(active)).scalar_one()
        if in_all >= queue_max:
            raise TooMany(f"{in_all} jobs wait or run, and no more are taken; wait, or raise service.queue_max")
        of_owner = connection.execute(
            select(func.count()).select_from(jobs).where(active, jobs.c.owner == owner)
        ).scalar_one()
        if of_owner >= owner_max:
            raise TooMany(f"{of_owner} jobs of {owner!r} wait or run, and no more are taken; wait, or cancel some")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _told(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _told(), self._engine.connect() as connection:
            yield connection


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise StoreError(f"the database of jobs does not answer ({_first_line(error)}); try again") from None


def _job(row: Any) -> StoredJob:
    return StoredJob(**dict(row))


def _values(job: StoredJob) -> dict[str, Any]:
    return {column.name: getattr(job, column.name) for column in jobs.columns}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
