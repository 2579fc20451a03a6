"""Routes of jobs: start, list, follow and cancel jobs, and fetch their results."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from wsigraph.errors import ConfigError, MissingMpp, NotAllowed, NotFound, Unavailable, WsigraphError
from wsigraph.service.context import ServiceContext, service_context
from wsigraph.service.jobs.queries import JobFilter, list_jobs
from wsigraph.service.jobs.schema import ACTIVE, DONE, StoredJob
from wsigraph.service.routes.conditional import cached, not_modified
from wsigraph.service.routes.cursor import decode_cursor, encode_cursor
from wsigraph.service.routes.job_models import (
    Batch,
    BatchRequest,
    Job,
    JobError,
    JobList,
    JobModel,
    JobRequest,
    NotStarted,
    State,
)
from wsigraph.service.security.auth import ADMIN, READ, RUN, Principal, require_role
from wsigraph.service.security.problems import http_status

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
_BATCH_S = 20.0

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="identifier from POST /v1/jobs")]


def serialize_job(request: Request, job: StoredJob) -> Job:
    """Return a job as JSON, with the directories of the service removed from its message."""
    context = service_context(request)
    inputs = context.inputs.find(job.job_id)
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
        mpp=job.mpp if inputs is None or inputs.mpp is None else inputs.mpp,
        sha256=job.sha256 or None,
        model=None
        if inputs is None
        else JobModel(id=inputs.model_id, name=inputs.model_name, version=inputs.model_version),
        settings_digest=None if inputs is None else inputs.settings_digest,
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


@router.post(
    "",
    status_code=201,
    summary="Start a job, or return an equal one",
    operation_id="start_job",
    responses={200: {"model": Job, "description": "An equal job"}},
)
def start(
    request: Request,
    response: Response,
    job_request: JobRequest,
    principal: Annotated[Principal, Depends(require_role(RUN))],
) -> Job:
    """Queue a prediction or an explanation. Responds 200 if an equal job exists and has not failed."""
    job, is_new = queue_job(service_context(request), job_request, principal.name)
    response.status_code = 201 if is_new else 200
    # relative to the address of the request, so that it holds behind any path prefix
    response.headers["Location"] = f"jobs/{job.job_id}"
    return serialize_job(request, job)


def queue_job(context: ServiceContext, job_request: JobRequest, owner: str) -> tuple[StoredJob, bool]:
    """Queue a job, or find an equal one.

    Parameters
    ----------
    context : ServiceContext
        Context of the service.
    job_request : JobRequest
        What to do.
    owner : str
        Name of the principal.

    Returns
    -------
    tuple of StoredJob, bool
        The job, and whether it was newly queued.

    Raises
    ------
    ConfigError
        If the target has no days above 0.
    MissingMpp
        If neither the slide nor the request has a pixel size.
    NotAllowed
        If the host of its webhook is not allowed.
    NotFound
        If there is no such slide.
    TooMany
        If the queue is full.
    """
    if job_request.webhook is not None:
        context.webhooks.check(job_request.webhook)
    entry = context.catalogue.find(job_request.slide_id)
    if job_request.target.startswith("survival@") and not float(job_request.target.partition("@")[2]) > 0:
        raise ConfigError(f"target {job_request.target!r}: expected days above 0, e.g. survival@1825")
    # a certain failure is reported now instead of by a failed job
    description = context.images.describe(entry)
    if description["mpp_problem"] and job_request.mpp is None:
        raise MissingMpp(str(description["mpp_problem"]))
    target = job_request.target if job_request.kind == "explain" else ""
    new_job = context.make_job(entry, job_request.kind, target, owner, job_request.mpp)
    limits = {"queue_max": context.config.service.queue_max, "owner_max": context.config.service.queue_owner_max}
    job, is_new = context.store.create(new_job, **limits)
    if job.state == DONE and not context.job_directory(job).is_dir():
        context.store.remove(job.job_id)
        job, is_new = context.store.create(new_job, **limits)
    if context.inputs.find(job.job_id) is None:
        context.inputs.save(job.job_id, context.job_inputs(job_request.mpp or description["mpp"]))
    if job_request.webhook is not None:
        context.webhooks.add(job.job_id, job_request.webhook)
    if is_new and context.supervisor is not None:
        context.supervisor.wake()
    return job, is_new


@router.post("/batch", summary="Start jobs on several slides", operation_id="start_jobs")
def start_batch(
    request: Request, batch: BatchRequest, principal: Annotated[Principal, Depends(require_role(RUN))]
) -> Batch:
    """Queue the same job on up to 1000 slides. A slide that is refused does not stop the others.

    New slides have to be read once for their digest. Those that are not reached in 20 s are in ``not_started`` with
    status 503; send them again.
    """
    context, until = service_context(request), time.monotonic() + _BATCH_S
    started: list[Job] = []
    not_started: list[NotStarted] = []
    for slide_id in dict.fromkeys(batch.slide_ids):
        job_request = JobRequest(slide_id=slide_id, kind=batch.kind, target=batch.target, webhook=batch.webhook)
        if time.monotonic() > until:
            late = Unavailable("the service still reads the slides before this one; send it again")
            not_started.append(_refused(context, slide_id, late))
            continue
        try:
            job, _ = queue_job(context, job_request, principal.name)
        except WsigraphError as error:
            not_started.append(_refused(context, slide_id, error))
        else:
            started.append(serialize_job(request, job))
    return Batch(jobs=started, not_started=not_started)


def _refused(context: ServiceContext, slide_id: str, error: WsigraphError) -> NotStarted:
    fault = JobError(kind=type(error).__name__, message=context.without_paths(str(error)))
    return NotStarted(slide_id=slide_id, status=http_status(error), error=fault)


@router.get("", summary="Jobs, latest first", operation_id="list_jobs")
def list_page(
    request: Request,
    state: State | None = None,
    slide_id: Annotated[str | None, Query(max_length=160)] = None,
    kind: Literal["predict", "explain"] | None = None,
    target: Annotated[str | None, Query(max_length=64)] = None,
    owner: Annotated[str | None, Query(max_length=64)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000, deprecated=True, description="use cursor")] = 0,
    cursor: Annotated[str | None, Query(max_length=400, description="next_cursor of the page before")] = None,
) -> JobList:
    """Return jobs, optionally of one state, slide, kind, target or owner."""
    after = None if cursor is None else decode_cursor(cursor, (float, str))
    wanted = JobFilter(state=state, slide_id=slide_id, kind=kind, target=target, owner=owner)
    store = service_context(request).store
    jobs, total = list_jobs(store, wanted, limit=limit + 1, offset=offset, after=after)
    page = jobs[:limit]
    next_cursor = encode_cursor((page[-1].created_at, page[-1].job_id)) if len(jobs) > limit else None
    return JobList(jobs=[serialize_job(request, job) for job in page], total=total, next_cursor=next_cursor)


@router.get("/{job_id}", summary="One job", operation_id="read_job")
def find(request: Request, job_id: JobId) -> Job:
    """Return state, step, completed fraction and remaining time."""
    return serialize_job(request, service_context(request).store.find(job_id))


@router.delete("/{job_id}", summary="Cancel a job", operation_id="cancel_job")
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
    operation_id="follow_job",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
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
    operation_id="read_result",
    response_class=FileResponse,
    responses={
        200: {
            "content": {
                kind: {"schema": {"type": "string", "format": "binary"}} for kind in sorted(set(RESULTS.values()))
            },
            "description": "The file",
        },
        304: {"description": "The client has the current file", "content": {}},
    },
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
    stat = path.stat()
    tag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    unchanged = not_modified(request, tag)
    if unchanged is not None:
        return unchanged
    if name == "run.json":
        # it says where the slide was on this machine
        content = service_context(request).without_paths(path.read_text(encoding="utf-8"))
        return Response(content, media_type=RESULTS[name], headers=cached(tag))
    return FileResponse(path, media_type=RESULTS[name], headers=cached(tag))
