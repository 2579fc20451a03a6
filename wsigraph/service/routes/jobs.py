"""Routes of jobs: start, list, follow and cancel jobs, and fetch their results."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import ConfigError, MissingMpp, NotAllowed, NotFound
from wsigraph.service.context import service_context
from wsigraph.service.jobs.schema import ACTIVE, DONE, StoredJob
from wsigraph.service.security.auth import ADMIN, READ, RUN, Principal, require_role

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_role(READ))])

RESULTS = {
    "prediction.json": "application/json",
    "report.json": "application/json",
    "report.geojson": "application/geo+json",
    "report.html": "text/html; charset=utf-8",
    "report.png": "image/png",
    "explanation.json": "application/json",
    "explanation.geojson": "application/geo+json",
    "explanation.png": "image/png",
    "explanation.safetensors": "application/octet-stream",
    "graph.safetensors": "application/octet-stream",
    "coarse.safetensors": "application/octet-stream",
    "slide.json": "application/json",
    "run.json": "application/json",
}
"""Result files of a job, and their media types. No other name is looked up on disk."""
_POLL_S = 0.5
_PING_S = 15.0

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="identifier from POST /v1/jobs")]
State = Literal["queued", "running", "done", "failed", "cancelled"]


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
    """

    model_config = ConfigDict(extra="forbid")
    slide_id: str = Field(min_length=1, max_length=160)
    kind: Literal["predict", "explain"] = "predict"
    target: str = Field("risk", max_length=64, pattern=r"^(risk|stage|survival@[0-9]{1,6}(\.[0-9]{1,3})?)$")
    mpp: float | None = Field(None, ge=0.05, le=20.0, allow_inf_nan=False)


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


class Job(BaseModel):
    """A job.

    Attributes
    ----------
    job_id, slide_id, kind, owner : str
        Job and slide identifiers, ``predict`` or ``explain``, and the name of the principal.
    target : str or None
        Output that is explained.
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
    """A list of jobs.

    Attributes
    ----------
    jobs : list of Job
        Latest first.
    """

    jobs: list[Job]


def serialize_job(request: Request, job: StoredJob) -> Job:
    """Return a job as JSON, with the directories of the service removed from its message."""
    context = service_context(request)
    results: list[str] = []
    if job.state == "done":
        directory = context.job_directory(job)
        results = [name for name in RESULTS if (directory / name).is_file()]
    message = context.without_paths(job.message)
    return Job(
        job_id=job.job_id,
        slide_id=job.slide_id,
        kind=job.kind,
        target=job.target or None,
        owner=job.owner,
        state=job.state,
        step=job.step,
        stage=job.step,
        fraction=round(job.fraction, 4),
        seconds_left=_seconds_left(job),
        error=JobError(kind=job.error, message=message) if job.error else None,
        attempts=job.attempts,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        results=results,
    )


def _seconds_left(job: StoredJob) -> float | None:
    if job.state != "running" or job.started_at is None or job.fraction < 0.02:
        return None
    elapsed = time.time() - job.started_at
    return round(elapsed * (1 - job.fraction) / job.fraction, 1)


@router.post("", status_code=201, summary="Start a job, or return an equal one")
def start(
    request: Request,
    response: Response,
    job_request: JobRequest,
    principal: Annotated[Principal, Depends(require_role(RUN))],
) -> Job:
    """Queue a prediction or an explanation. Responds 200 if an equal job exists and has not failed.

    Raises
    ------
    ConfigError
        If the target has no days above 0.
    MissingMpp
        If neither the slide nor the request has a pixel size.
    """
    context = service_context(request)
    entry = context.catalogue.find(job_request.slide_id)
    if job_request.target.startswith("survival@") and not float(job_request.target.partition("@")[2]) > 0:
        raise ConfigError(f"target {job_request.target!r}: expected days above 0, e.g. survival@1825")
    # a certain failure is reported now instead of by a failed job
    problem = context.images.describe(entry)["mpp_problem"]
    if problem and job_request.mpp is None:
        raise MissingMpp(str(problem))
    target = job_request.target if job_request.kind == "explain" else ""
    new_job = context.make_job(entry, job_request.kind, target, principal.name, job_request.mpp)
    limits = {"queue_max": context.config.service.queue_max, "owner_max": context.config.service.queue_owner_max}
    job, is_new = context.store.create(new_job, **limits)
    if job.state == DONE and not context.job_directory(job).is_dir():
        context.store.remove(job.job_id)
        job, is_new = context.store.create(new_job, **limits)
    if is_new and context.supervisor is not None:
        context.supervisor.wake()
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return serialize_job(request, job)


@router.get("", summary="Jobs, latest first")
def list_jobs(
    request: Request,
    state: State | None = None,
    slide_id: Annotated[str | None, Query(max_length=160)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> JobList:
    """Return jobs, optionally of one state or one slide."""
    jobs = service_context(request).store.latest(state=state, slide_id=slide_id, limit=limit, offset=offset)
    return JobList(jobs=[serialize_job(request, job) for job in jobs])


@router.get("/{job_id}", summary="One job")
def find(request: Request, job_id: JobId) -> Job:
    """Return state, step, completed fraction and remaining time."""
    return serialize_job(request, service_context(request).store.find(job_id))


@router.delete("/{job_id}", summary="Cancel a job")
def cancel(request: Request, job_id: JobId, principal: Annotated[Principal, Depends(require_role(RUN))]) -> Job:
    """Cancel your own job. Administrators can cancel every job. A job that has ended is not changed.

    Raises
    ------
    NotAllowed
        If it belongs to another principal.
    """
    context = service_context(request)
    job = context.store.find(job_id)
    if job.owner != principal.name and not principal.has_role(ADMIN):
        raise NotAllowed(f"job {job_id!r} belongs to {job.owner!r}; {principal.name!r} can only cancel its own jobs")
    job = context.store.cancel(job_id)
    if context.supervisor is not None:
        context.supervisor.wake()
    return serialize_job(request, job)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "One event with a Job for each change, until the job has ended",
        }
    },
)
async def follow(request: Request, job_id: JobId) -> StreamingResponse:
    """Return a stream of server-sent events, one for each change of the job.

    The streams of one client are limited, and so are all streams (429).
    """
    context = service_context(request)
    first = await run_in_threadpool(context.store.find, job_id)
    return StreamingResponse(
        _changes(request, first), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _changes(request: Request, job: StoredJob) -> AsyncIterator[str]:
    store, previous, reported_at = service_context(request).store, None, time.monotonic()
    while True:
        now = time.monotonic()
        current = (job.state, job.step, round(job.fraction, 3), job.attempts)
        if current != previous:
            previous, reported_at = current, now
            yield f"event: job\ndata: {serialize_job(request, job).model_dump_json()}\n\n"
        elif now - reported_at > _PING_S:
            reported_at = now
            yield ": ping\n\n"
        if job.state not in ACTIVE or await request.is_disconnected():
            return
        await asyncio.sleep(_POLL_S)
        try:
            job = await run_in_threadpool(store.find, job.job_id)
        except NotFound as gone:
            yield f"event: gone\ndata: {json.dumps({'detail': str(gone)})}\n\n"
            return


@router.get(
    "/{job_id}/results/{name}",
    summary="A result file",
    response_class=FileResponse,
    responses={200: {"content": {kind: {} for kind in sorted(set(RESULTS.values()))}, "description": "The file"}},
)
def result(request: Request, job_id: JobId, name: Annotated[str, Path(max_length=64)]) -> Response:
    """Return one of the files that the job lists under ``results``.

    Raises
    ------
    NotFound
        If there is no such file.
    """
    if name not in RESULTS:
        raise NotFound(f"{name!r} is not a result file; expected one of {', '.join(RESULTS)}")
    path = service_context(request).done_directory(job_id) / name
    if not path.is_file():
        raise NotFound(f"job {job_id!r} has no {name}; explanations are written by jobs of kind explain")
    headers = {"Cache-Control": "private, no-cache"}
    if name == "run.json":
        # it says where the slide was on this machine
        content = service_context(request).without_paths(path.read_text(encoding="utf-8"))
        return Response(content, media_type=RESULTS[name], headers=headers)
    return FileResponse(path, media_type=RESULTS[name], headers=headers)
