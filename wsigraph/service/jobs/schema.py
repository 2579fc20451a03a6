"""The tables in which jobs are kept, and what a job is."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)
"""What a job may be; the last three are final."""
ACTIVE = (QUEUED, RUNNING)
SCHEMA = 1
"""Version of the tables."""

metadata = MetaData()

jobs = Table(
    "wsigraph_jobs",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("key", String(64), nullable=False, unique=True),
    Column("slide_key", String(64), nullable=False),
    Column("slide_id", String(200), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("mpp", Float),
    Column("kind", String(16), nullable=False),
    Column("target", String(64), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32), nullable=False, default=""),
    Column("fraction", Float, nullable=False, default=0.0),
    Column("error", String(64), nullable=False, default=""),
    Column("message", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("completions", Integer, nullable=False, default=0),
    Column("is_cancelled", Boolean, nullable=False, default=False),
    Column("claimed_by", String(64), nullable=False, default=""),
    Column("claimed_until", Float, nullable=False, default=0.0),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Index("wsigraph_jobs_by_state", "state", "created_at"),
    Index("wsigraph_jobs_by_slide", "slide_key"),
)
digests = Table(
    "wsigraph_digests",
    metadata,
    Column("version", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
)
schema = Table("wsigraph_schema", metadata, Column("version", BigInteger, primary_key=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as it is stored.

    Attributes
    ----------
    job_id : str
        Its name.
    key : str
        Digest of slide, model, settings, kind and target: equal wishes are one job.
    slide_key : str
        Digest of slide, model and settings: jobs of one key share their first stages.
    slide_id, sha256, path : str
        The slide: name, digest and file.
    mpp : float or None
        Pixel size that wins over the file's, um/px.
    kind, target : str
        ``predict``, or ``explain`` and what.
    owner : str
        Whose token asked first.
    state, stage : str
        How it stands.
    fraction : float
        Share done, 0 to 1.
    error, message : str
        Class and sentence of what it failed of.
    attempts : int
        Times it was begun.
    completions : int
        Times it was finished; never more than one.
    is_cancelled : bool
        Whether somebody asked for its end.
    claimed_by : str
        The service that looks after it.
    claimed_until : float
        When another may take it over, s since 1970.
    created_at, started_at, ended_at : float or None
        Times, s since 1970.
    """

    job_id: str
    key: str
    slide_key: str
    slide_id: str
    sha256: str
    path: str
    mpp: float | None
    kind: str
    target: str
    owner: str
    state: str
    stage: str
    fraction: float
    error: str
    message: str
    attempts: int
    completions: int
    is_cancelled: bool
    claimed_by: str
    claimed_until: float
    created_at: float
    started_at: float | None
    ended_at: float | None


def new_job(
    *,
    key: str,
    slide_key: str,
    slide_id: str,
    sha256: str,
    path: str,
    kind: str,
    target: str,
    owner: str,
    mpp: float | None = None,
) -> StoredJob:
    """Return a job that waits, with a name of its own."""
    return StoredJob(
        job_id=secrets.token_hex(10),
        key=key,
        slide_key=slide_key,
        slide_id=slide_id,
        sha256=sha256,
        path=path,
        mpp=mpp,
        kind=kind,
        target=target,
        owner=owner,
        state=QUEUED,
        stage="",
        fraction=0.0,
        error="",
        message="",
        attempts=0,
        completions=0,
        is_cancelled=False,
        claimed_by="",
        claimed_until=0.0,
        created_at=time.time(),
        started_at=None,
        ended_at=None,
    )
