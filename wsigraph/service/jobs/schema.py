"""Database tables of jobs, and the record of one job."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
STATES = (QUEUED, RUNNING, DONE, FAILED, CANCELLED)
"""States of a job. The last three are final."""
ACTIVE = (QUEUED, RUNNING)
RESUMING = "resuming"
"""Step of a job whose worker or service was lost, until it goes on after its last finished step."""

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
    # the column keeps its first name, so that existing databases stay readable
    Column("stage", String(32), key="step", nullable=False, default=""),
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
webhooks = Table(
    "wsigraph_webhooks",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("url", String(500), primary_key=True),
    Column("webhook_id", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Index("wsigraph_webhooks_due", "state", "next_at"),
)
schema = Table("wsigraph_schema", metadata, Column("version", BigInteger, primary_key=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A stored job.

    Attributes
    ----------
    job_id : str
        Identifier.
    key : str
        Digest of slide, model, settings, kind and target. Equal requests share one job.
    slide_key : str
        Digest of slide, model and settings. Jobs with the same key share their first steps.
    slide_id, sha256, path : str
        The slide: identifier, SHA-256 and file.
    mpp : float or None
        Pixel size that overrides the file's, um/px.
    kind, target : str
        ``predict`` and an empty target, or ``explain`` and its target.
    owner : str
        Name of the token that started the job.
    state, step : str
        State, and the step that is running; ``resuming`` after its worker or service was lost.
    fraction : float
        Completed fraction, 0 to 1.
    error, message : str
        Class and message of the error of a failed job.
    attempts : int
        Number of times it was started.
    completions : int
        Number of times it was finished; never more than one.
    is_cancelled : bool
        Whether a cancellation was requested.
    claimed_by : str
        The service instance that runs it.
    claimed_until : float
        When another instance may take it over, s since 1970.
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
    step: str
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
    """Return a queued job with a new identifier."""
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
        step="",
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
