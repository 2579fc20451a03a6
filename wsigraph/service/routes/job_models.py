"""The JSON of requests for jobs, and of jobs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "done", "failed", "cancelled"]
BATCH_MAX = 1000
"""Largest number of slides in one request."""
TARGET_PATTERN = r"^(risk|stage|survival@[0-9]{1,6}(\.[0-9]{1,3})?)$"
"""Names of the outputs that can be explained."""


class JobRequest(BaseModel):
    """A request for a prediction or an explanation of a slide.

    Attributes
    ----------
    slide_id : str
        Identifier from GET /v1/slides.
    kind : str
        ``predict``, or ``explain``, which predicts too.
    target : str
        Output to explain: ``risk``, ``stage`` or ``survival@DAYS``.
    mpp : float or None
        Pixel size of level 0 in um/px, if the file has none or a wrong one.
    webhook : str or None
        Address that gets a message when the job ends, on a host of ``service.webhook_hosts``.
    """

    model_config = ConfigDict(extra="forbid")
    slide_id: str = Field(min_length=1, max_length=160)
    kind: Literal["predict", "explain"] = "predict"
    target: str = Field("risk", max_length=64, pattern=TARGET_PATTERN)
    mpp: float | None = Field(None, ge=0.05, le=20.0, allow_inf_nan=False)
    webhook: str | None = Field(None, max_length=500)


class BatchRequest(BaseModel):
    """A request for the same job on several slides.

    Attributes
    ----------
    slide_ids : list of str
        Identifiers from GET /v1/slides.
    kind, target : str
        As in a request for one job.
    webhook : str or None
        As in a request for one job; it gets a message for each of them.
    """

    model_config = ConfigDict(extra="forbid")
    slide_ids: list[Annotated[str, Field(min_length=1, max_length=160)]] = Field(min_length=1, max_length=BATCH_MAX)
    kind: Literal["predict", "explain"] = "predict"
    target: str = Field("risk", max_length=64, pattern=TARGET_PATTERN)
    webhook: str | None = Field(None, max_length=500)


class JobError(BaseModel):
    """The error of a failed job.

    Attributes
    ----------
    kind : str
        Class of the error.
    message : str
        The message that the command line prints.
    """

    kind: str
    message: str


class JobModel(BaseModel):
    """The model of a job.

    Attributes
    ----------
    id : str
        Digest of card and weights, as in ``prediction.json``.
    name : str
        Name on the card.
    version : str
        First digits of the digest of the weights.
    """

    id: str
    name: str
    version: str


class Job(BaseModel):
    """A job.

    Attributes
    ----------
    job_id, slide_id, kind, owner : str
        Job and slide identifiers, ``predict`` or ``explain``, and the name of the principal.
    target : str or None
        Output that is explained.
    mpp : float or None
        Pixel size of level 0 that is used, um/px. None if it is not known before the job has started.
    sha256 : str or None
        SHA-256 of the slide. None until it is known.
    model : JobModel or None
        The model. None for jobs of earlier versions.
    settings_digest : str or None
        Digest of the settings that change results. None for jobs of earlier versions.
    state : str
        ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
    step : str
        Step that is running, for example ``segment``.
    stage : str
        The same, under its old name. Kept for one version.
    fraction : float
        Completed fraction, 0 to 1.
    seconds_left : float or None
        Estimated from the time so far; None if there is no estimate.
    error : JobError or None
        Error of a failed job.
    attempts : int
        Number of times it was started.
    created_at, started_at, ended_at : float or None
        Times, s since 1970.
    results : list of str
        Result files.
    """

    job_id: str
    slide_id: str
    kind: str
    target: str | None
    owner: str
    mpp: float | None
    sha256: str | None
    model: JobModel | None
    settings_digest: str | None
    state: State
    step: str
    stage: str = Field(deprecated=True)
    fraction: float
    seconds_left: float | None
    error: JobError | None
    attempts: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    results: list[str]


class JobList(BaseModel):
    """A page of the list of jobs.

    Attributes
    ----------
    jobs : list of Job
        Latest first.
    total : int
        Number of jobs that match.
    next_cursor : str or None
        Value of ``cursor`` for the next page; None at the end.
    """

    jobs: list[Job]
    total: int
    next_cursor: str | None


class NotStarted(BaseModel):
    """A slide of a batch for which no job was started.

    Attributes
    ----------
    slide_id : str
        The slide.
    status : int
        HTTP status that a request for this slide alone would have.
    error : JobError
        Why.
    """

    slide_id: str
    status: int
    error: JobError


class Batch(BaseModel):
    """The jobs of a batch.

    Attributes
    ----------
    jobs : list of Job
        New and equal existing jobs, in the order of the request.
    not_started : list of NotStarted
        The other slides.
    """

    jobs: list[Job]
    not_started: list[NotStarted]
