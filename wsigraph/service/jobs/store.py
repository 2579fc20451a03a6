"""Job store: SQLite next to the data, or PostgreSQL. Both run the same statements.

Every change of state names the state it expects, so only one of two competing changes succeeds. A service instance
renews the claims of the jobs that it runs. When a claim expires, by the database's clock, another instance takes the
job over and resumes it after its last finished step. If the database fails between the claim and the start of a job,
the instance releases that claim itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from wsigraph.errors import NotFound, PluginError, StoreError, TooMany
from wsigraph.service.jobs.database import database_time, first_line, open_database, translate_errors
from wsigraph.service.jobs.deadline import DatabaseGuard
from wsigraph.service.jobs.migrations import migrate
from wsigraph.service.jobs.schema import (
    ACTIVE,
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RESUMING,
    RUNNING,
    STATES,
    StoredJob,
    digests,
    jobs,
)

_MAX_TRIES = 3


class JobStore:
    """Jobs in a database. It is safe to use from several threads and processes.

    Parameters
    ----------
    url : str
        SQLAlchemy address of the database, ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
    time_s : float, optional
        Longest time of one use of PostgreSQL, s.

    Raises
    ------
    PluginError
        If the database's driver is not installed.
    StoreError
        If the database does not answer, or its tables are of another version.
    """

    def __init__(self, url: str, time_s: float = 5.0) -> None:
        self._guard = DatabaseGuard(time_s)
        try:
            self._engine = open_database(url, time_s)
            self._writer = self._engine.execution_options(writes=True)
            try:
                migrate(self._engine)
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
                f"the job database does not answer ({first_line(error)}); check service.database"
            ) from None

    def create(self, job: StoredJob, *, queue_max: int, owner_max: int) -> tuple[StoredJob, bool]:
        """Add a job, or return the one with the same key. A failed or cancelled job is queued again.

        Parameters
        ----------
        job : StoredJob
            New job from `new_job`.
        queue_max, owner_max : int
            Largest number of queued and running jobs, in total and per owner.

        Returns
        -------
        tuple of StoredJob, bool
            The job, and whether it was newly queued.

        Raises
        ------
        StoreError
            If the database does not answer.
        TooMany
            If the queue is full.
        """
        for _ in range(_MAX_TRIES):
            try:
                return self._create(job, queue_max, owner_max)
            except IntegrityError:
                # another instance added the same job between two statements; the next try finds it
                continue
        raise StoreError("the job could not be stored; try again")

    def _create(self, job: StoredJob, queue_max: int, owner_max: int) -> tuple[StoredJob, bool]:
        with self._write_transaction() as connection:
            existing = connection.execute(select(jobs).where(jobs.c.key == job.key)).mappings().first()
            if existing is not None and existing["state"] not in (FAILED, CANCELLED):
                return _deserialize_job(existing), False
            self._check_limits(connection, job.owner, queue_max, owner_max)
            if existing is None:
                connection.execute(insert(jobs).values(**_serialize_job(job)))
                return job, True
            values = {"state": QUEUED, "is_cancelled": False, "error": "", "message": "", "attempts": 0}
            values |= {"fraction": 0.0, "step": "", "started_at": None, "ended_at": None, "owner": job.owner}
            values |= {"path": job.path, "created_at": job.created_at}
            connection.execute(update(jobs).where(jobs.c.job_id == existing["job_id"]).values(**values))
            row = connection.execute(select(jobs).where(jobs.c.job_id == existing["job_id"])).mappings().one()
            return _deserialize_job(row), True

    def find(self, job_id: str) -> StoredJob:
        """Return a job.

        Raises
        ------
        NotFound
            If there is no such job.
        """
        with self._read_transaction() as connection:
            row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).mappings().first()
        if row is None:
            raise NotFound(f"there is no job {job_id!r}; GET /v1/jobs lists all jobs")
        return _deserialize_job(row)

    def latest(
        self, *, state: str | None = None, slide_id: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[StoredJob]:
        """Return jobs, the latest first."""
        query = select(jobs).order_by(jobs.c.created_at.desc(), jobs.c.job_id).limit(limit).offset(offset)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if slide_id is not None:
            query = query.where(jobs.c.slide_id == slide_id)
        with self._read_transaction() as connection:
            return [_deserialize_job(row) for row in connection.execute(query).mappings()]

    def count(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        with self._read_transaction() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        counts = {str(row[0]): int(row[1]) for row in rows}
        return {state: counts.get(state, 0) for state in STATES}

    def claim(self, instance: str, n: int, claim_s: float) -> list[StoredJob]:
        """Claim queued jobs, oldest first. Jobs that share their first steps are claimed one at a time.

        Parameters
        ----------
        instance : str
            The service instance that will run them.
        n : int
            Largest number of jobs.
        claim_s : float
            Time until the claim expires, s.

        Returns
        -------
        list of StoredJob
            The claimed jobs. Each is now running on this instance only.
        """
        claimed: list[str] = []
        with self._write_transaction() as connection:
            busy = set(connection.execute(select(jobs.c.slide_key).where(jobs.c.state == RUNNING)).scalars())
            query = select(jobs.c.job_id, jobs.c.slide_key).where(jobs.c.state == QUEUED)
            if busy:
                query = query.where(jobs.c.slide_key.not_in(busy))
            for job_id, slide_key in connection.execute(
                query.order_by(jobs.c.created_at, jobs.c.job_id).limit(8 * n + 8)
            ).all():
                if len(claimed) < n and slide_key not in busy:
                    values: dict[str, Any] = {"state": RUNNING, "claimed_by": instance}
                    values["claimed_until"] = database_time() + claim_s
                    values |= {"attempts": jobs.c.attempts + 1, "started_at": database_time(), "fraction": 0.0}
                    done = connection.execute(
                        update(jobs).where(jobs.c.job_id == job_id, jobs.c.state == QUEUED).values(**values)
                    )
                    if done.rowcount == 1:
                        claimed.append(job_id)
                        busy.add(slide_key)
            rows = connection.execute(select(jobs).where(jobs.c.job_id.in_(claimed))).mappings().all()
        return sorted((_deserialize_job(row) for row in rows), key=lambda job: job.created_at)

    def renew(self, instance: str, job_ids: Collection[str], claim_s: float) -> frozenset[str]:
        """Renew the claims of the jobs that a service instance runs.

        Parameters
        ----------
        instance : str
            The service instance.
        job_ids : collection of str
            The jobs that it runs. Its other claims are left to expire.
        claim_s : float
            New time until the claims expire, s.

        Returns
        -------
        frozenset of str
            The jobs that it still holds. Another instance has taken over the others.
        """
        mine = (jobs.c.state == RUNNING) & (jobs.c.claimed_by == instance) & jobs.c.job_id.in_(job_ids)
        with self._write_transaction() as connection:
            connection.execute(update(jobs).where(mine).values(claimed_until=database_time() + claim_s))
            return frozenset(connection.execute(select(jobs.c.job_id).where(mine)).scalars())

    def release_claims(self, instance: str | None = None, *, but: Collection[str] = ()) -> int:
        """Queue jobs again whose claims are released or have expired.

        Parameters
        ----------
        instance : str, optional
            Release the claims of this instance; if left out, all expired claims. Their step becomes ``resuming``.
        but : collection of str
            Jobs whose claims are kept.

        Returns
        -------
        int
            Number of jobs that were queued again.
        """
        left = jobs.c.claimed_until < database_time() if instance is None else jobs.c.claimed_by == instance
        if but:
            left &= jobs.c.job_id.not_in(but)
        with self._write_transaction() as connection:
            done = connection.execute(
                update(jobs).where(jobs.c.state == RUNNING, left).values(state=QUEUED, claimed_by="", step=RESUMING)
            )
            return int(done.rowcount)

    def claiming_instances(self) -> frozenset[str]:
        """Return the service instances that hold jobs."""
        with self._read_transaction() as connection:
            return frozenset(connection.execute(select(jobs.c.claimed_by).where(jobs.c.state == RUNNING)).scalars())

    def report_progress(self, job_id: str, instance: str, step: str, fraction: float) -> bool:
        """Store the progress of a job. Return whether this instance still holds it."""
        with self._write_transaction() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.state == RUNNING, jobs.c.claimed_by == instance)
                .values(step=step, fraction=fraction)
            )
            return int(done.rowcount) == 1

    def record_attempt(self, job_id: str, instance: str, attempt: int) -> bool:
        """Store that a job is tried again. Return whether this instance still holds it."""
        with self._write_transaction() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.state == RUNNING, jobs.c.claimed_by == instance)
                .values(attempts=attempt, step=RESUMING)
            )
            return int(done.rowcount) == 1

    def finish(
        self,
        job_id: str,
        instance: str,
        state: str,
        *,
        step: str = "",
        error: str = "",
        message: str = "",
        sha256: str = "",
    ) -> bool:
        """Store how a job ended.

        Parameters
        ----------
        job_id, instance : str
            The job, and the service instance that ran it.
        state : str
            ``done``, ``failed`` or ``cancelled``, or ``queued`` to try it again.
        step, error, message : str
            Step that failed, with the class and message of its error.
        sha256 : str
            SHA-256 of the slide, if the job has computed it.

        Returns
        -------
        bool
            False if this instance no longer holds the job.
        """
        values: dict[str, Any] = {"state": state, "step": step, "error": error, "message": message, "claimed_by": ""}
        if state != QUEUED:
            values["ended_at"] = database_time()
        if state == DONE:
            if sha256:
                values["sha256"] = sha256
            values |= {"fraction": 1.0, "completions": jobs.c.completions + 1}
        with self._write_transaction() as connection:
            done = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.state == RUNNING, jobs.c.claimed_by == instance)
                .values(**values)
            )
            return int(done.rowcount) == 1

    def cancel(self, job_id: str) -> StoredJob:
        """Cancel a queued job, or request the cancellation of a running one. An ended job is not changed.

        Raises
        ------
        NotFound
            If there is no such job.
        """
        with self._write_transaction() as connection:
            one = jobs.c.job_id == job_id
            connection.execute(
                update(jobs)
                .where(one, jobs.c.state == QUEUED)
                .values(state=CANCELLED, is_cancelled=True, ended_at=database_time())
            )
            connection.execute(update(jobs).where(one, jobs.c.state == RUNNING).values(is_cancelled=True))
        return self.find(job_id)

    def done_before(self, slide_key: str) -> list[str]:
        """Return the finished jobs with the same first steps, latest first."""
        one = (jobs.c.slide_key == slide_key) & (jobs.c.state == DONE)
        with self._read_transaction() as connection:
            return list(connection.execute(select(jobs.c.job_id).where(one).order_by(jobs.c.ended_at.desc())).scalars())

    def to_cancel(self, instance: str) -> Sequence[str]:
        """Return the jobs of a service instance for which a cancellation was requested."""
        mine = (jobs.c.state == RUNNING) & (jobs.c.claimed_by == instance) & jobs.c.is_cancelled
        with self._read_transaction() as connection:
            return connection.execute(select(jobs.c.job_id).where(mine)).scalars().all()

    def remove_ended(self, before: float) -> list[str]:
        """Remove the jobs that ended before a time (s since 1970). Return their identifiers."""
        old = jobs.c.state.not_in(ACTIVE) & (jobs.c.ended_at < before)
        with self._write_transaction() as connection:
            job_ids = list(connection.execute(select(jobs.c.job_id).where(old)).scalars())
            connection.execute(delete(jobs).where(jobs.c.job_id.in_(job_ids)))
        return job_ids

    def remove(self, job_id: str) -> None:
        """Remove a job that has ended. A queued or running job is kept."""
        with self._write_transaction() as connection:
            connection.execute(delete(jobs).where(jobs.c.job_id == job_id, jobs.c.state.not_in(ACTIVE)))

    def find_digest(self, version: str) -> str | None:
        """Return the stored SHA-256 of a version of a file, or None."""
        with self._read_transaction() as connection:
            return connection.execute(select(digests.c.sha256).where(digests.c.version == version)).scalar_one_or_none()

    def save_digest(self, version: str, sha256: str) -> None:
        """Store the SHA-256 of a version of a file."""
        with self._write_transaction() as connection:
            connection.execute(delete(digests).where(digests.c.version == version))
            connection.execute(insert(digests).values(version=version, sha256=sha256))

    def close(self) -> None:
        """Close the database connections."""
        self._engine.dispose()

    def _check_limits(self, connection: Connection, owner: str, queue_max: int, owner_max: int) -> None:
        active = jobs.c.state.in_(ACTIVE)
        n_active = connection.execute(select(func.count()).select_from(jobs).where(active)).scalar_one()
        if n_active >= queue_max:
            raise TooMany(f"the queue is full: {n_active} jobs are queued or running; wait, or raise service.queue_max")
        n_owner = connection.execute(
            select(func.count()).select_from(jobs).where(active, jobs.c.owner == owner)
        ).scalar_one()
        if n_owner >= owner_max:
            raise TooMany(
                f"{n_owner} jobs of {owner!r} are queued or running, which is the limit; wait, or cancel some"
            )

    @contextmanager
    def _write_transaction(self) -> Iterator[Connection]:
        with self._guard.use(), translate_errors(self._guard), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _read_transaction(self) -> Iterator[Connection]:
        with self._guard.use(), translate_errors(self._guard), self._engine.connect() as connection:
            yield connection


def _deserialize_job(row: Any) -> StoredJob:
    return StoredJob(**{column.key: row[column] for column in jobs.columns})


def _serialize_job(job: StoredJob) -> dict[str, Any]:
    return {column.key: getattr(job, column.key) for column in jobs.columns}
