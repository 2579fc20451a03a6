"""Routes of jobs: start, look, follow, cancel, fetch."""

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

from wsigraph.errors import ConfigError, MissingMpp, NotAllowed, NotFound, TooMany
from wsigraph.service.context import house_of
from wsigraph.service.jobs.schema import ACTIVE, DONE, StoredJob
from wsigraph.service.security.auth import ADMIN, READ, RUN, Caller, needs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(needs(READ))])

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
"""Files that a job may leave, and what they are; no other name reaches the disk."""
_EVERY_S = 0.5
_PING_S = 15.0

JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{20}$", description="name from POST /v1/jobs")]
State = Literal["queued", "running", "done", "failed", "cancelled"]


class Wish(BaseModel):
    """What is wanted of a slide.

    Attributes
    ----------
    slide_id : str
        The slide.
    kind : str
        ``predict``, or ``explain``, which predicts too.
    target : str
        What is to be explained: ``risk``, ``stage`` or ``survival@DAYS``.
    mpp : float or None
        Pixel size of the finest level, um/px, where the file states none or a wrong one.
    """

    model_config = ConfigDict(extra="forbid")
    slide_id: str = Field(min_length=1, max_length=160)
    kind: Literal["predict", "explain"] = "predict"
    target: str = Field("risk", max_length=64, pattern=r"^(risk|stage|survival@[0-9]{1,6}(\.[0-9]{1,3})?)$")
    mpp: float | None = Field(None, ge=0.05, le=20.0, allow_inf_nan=False)


class JobError(BaseModel):
    """What a job failed of.

    Attributes
    ----------
    kind : str
        Class of the error.
    message : str
        The sentence that the command line would print.
    """

    kind: str
    message: str


class Job(BaseModel):
    """How a job stands.

    Attributes
    ----------
    job_id, slide_id, kind, owner : str
        Which it is.
    target : str or None
        What is explained.
    state : str
        How it stands.
    stage : str
        What is being done.
    fraction : float
        Share done, 0 to 1.
    seconds_left : float or None
        Estimate from what it took so far; None where there is none.
    error : JobError or None
        What it failed of.
    attempts : int
        Times it was begun.
    created_at, started_at, ended_at : float or None
        Times, s since 1970.
    results : list of str
        Files to fetch.
    """

    job_id: str
    slide_id: str
    kind: str
    target: str | None
    owner: str
    state: State
    stage: str
    fraction: float
    seconds_left: float | None
    error: JobError | None
    attempts: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    results: list[str]


class JobList(BaseModel):
    """Jobs.

    Attributes
    ----------
    jobs : list of Job
        The latest first.
    """

    jobs: list[Job]


def shown(request: Request, job: StoredJob) -> Job:
    """Return a job as clients see it."""
    house = house_of(request)
    results: list[str] = []
    if job.state == "done":
        directory = house.directory_of(job)
        results = [name for name in RESULTS if (directory / name).is_file()]
    message = job.message
    for folder in house.private_paths:
        message = message.replace(f"{folder}/", "")
    return Job(
        job_id=job.job_id,
        slide_id=job.slide_id,
        kind=job.kind,
        target=job.target or None,
        owner=job.owner,
        state=job.state,
        stage=job.stage,
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
    took = time.time() - job.started_at
    return round(took * (1 - job.fraction) / job.fraction, 1)


@router.post("", status_code=201, summary="Start a job, or find the equal one")
def start(request: Request, response: Response, wish: Wish, caller: Annotated[Caller, Depends(needs(RUN))]) -> Job:
    """Queue a prediction or an explanation; 200 where the same was asked for before and stands.

    Raises
    ------
    ConfigError
        If the target names no days.
    MissingMpp
        If the slide states no pixel size and none is given.
    """
    house = house_of(request)
    entry = house.catalogue.find(wish.slide_id)
    if wish.target.startswith("survival@") and not float(wish.target.partition("@")[2]) > 0:
        raise ConfigError(f"target {wish.target!r}: expected days above 0, e.g. survival@1825")
    # what would fail for certain is told at once, not by a job
    problem = house.pictures.describe(entry)["mpp_problem"]
    if problem and wish.mpp is None:
        raise MissingMpp(str(problem))
    target = wish.target if wish.kind == "explain" else ""
    made = house.make_job(entry, wish.kind, target, caller.name, wish.mpp)
    limits = {"queue_max": house.config.service.queue_max, "owner_max": house.config.service.queue_owner_max}
    job, is_new = house.store.create(made, **limits)
    if job.state == DONE and not house.directory_of(job).is_dir():
        house.store.remove(job.job_id)
        job, is_new = house.store.create(made, **limits)
    if is_new and house.dispatcher is not None:
        house.dispatcher.wake()
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    return shown(request, job)


@router.get("", summary="Jobs, the latest first")
def list_jobs(
    request: Request,
    state: State | None = None,
    slide_id: Annotated[str | None, Query(max_length=160)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> JobList:
    """Return jobs, of one state or slide where that is asked for."""
    found = house_of(request).store.latest(state=state, slide_id=slide_id, limit=limit, offset=offset)
    return JobList(jobs=[shown(request, job) for job in found])


@router.get("/{job_id}", summary="How a job stands")
def look(request: Request, job_id: JobId) -> Job:
    """Return state, stage, share done and time left."""
    return shown(request, house_of(request).store.find(job_id))


@router.delete("/{job_id}", summary="Cancel a job")
def cancel(request: Request, job_id: JobId, caller: Annotated[Caller, Depends(needs(RUN))]) -> Job:
    """Cancel a job of one's own; administrators cancel any. One that has ended stays as it is.

    Raises
    ------
    NotAllowed
        If it is another's.
    """
    house = house_of(request)
    job = house.store.find(job_id)
    if job.owner != caller.name and not caller.reaches(ADMIN):
        raise NotAllowed(f"job {job_id!r} belongs to {job.owner!r}, and {caller.name!r} may cancel its own alone")
    job = house.store.cancel(job_id)
    if house.dispatcher is not None:
        house.dispatcher.wake()
    return shown(request, job)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A Job an event, until it has ended"}},
)
async def follow(request: Request, job_id: JobId) -> StreamingResponse:
    """Return a stream of server-sent events, one for each change of the job.

    Raises
    ------
    TooMany
        If too many are open.
    """
    house = house_of(request)
    first = await run_in_threadpool(house.store.find, job_id)
    if house.n_streams >= house.config.service.streams_max:
        raise TooMany(f"{house.n_streams} streams of events are open; ask for the job itself from time to time")
    return StreamingResponse(
        _events(request, first), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(request: Request, job: StoredJob) -> AsyncIterator[str]:
    house = house_of(request)
    house.n_streams += 1
    try:
        async for event in _changes(request, job):
            yield event
    finally:
        house.n_streams -= 1


async def _changes(request: Request, job: StoredJob) -> AsyncIterator[str]:
    store, told, told_at = house_of(request).store, None, time.monotonic()
    while True:
        now = time.monotonic()
        seen = (job.state, job.stage, round(job.fraction, 3), job.attempts)
        if seen != told:
            told, told_at = seen, now
            yield f"event: job\ndata: {shown(request, job).model_dump_json()}\n\n"
        elif now - told_at > _PING_S:
            told_at = now
            yield ": still there\n\n"
        if job.state not in ACTIVE or await request.is_disconnected():
            return
        await asyncio.sleep(_EVERY_S)
        try:
            job = await run_in_threadpool(store.find, job.job_id)
        except NotFound as gone:
            yield f"event: gone\ndata: {json.dumps({'detail': str(gone)})}\n\n"
            return


@router.get(
    "/{job_id}/results/{name}",
    summary="A file that a job has left",
    response_class=FileResponse,
    responses={200: {"content": {kind: {} for kind in sorted(set(RESULTS.values()))}, "description": "The file"}},
)
def result(request: Request, job_id: JobId, name: Annotated[str, Path(max_length=64)]) -> FileResponse:
    """Return one of the files that the job names under ``results``.

    Raises
    ------
    NotFound
        If there is no such file.
    """
    if name not in RESULTS:
        raise NotFound(f"{name!r} is no result; expected one of {', '.join(RESULTS)}")
    path = house_of(request).done_directory(job_id) / name
    if not path.is_file():
        raise NotFound(f"job {job_id!r} has left no {name}; an explanation is there after a job of kind explain")
    return FileResponse(path, media_type=RESULTS[name], headers={"Cache-Control": "private, no-cache"})
