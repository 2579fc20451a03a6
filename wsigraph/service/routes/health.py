"""Whether the service lives, whether it can take work, and its figures."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

import wsigraph
from wsigraph.service.context import house_of
from wsigraph.service.security.auth import READ, Caller, needs

router = APIRouter(prefix="/v1", tags=["service"])


class Health(BaseModel):
    """That the service lives.

    Attributes
    ----------
    status : str
        ``ok``.
    version : str
        Of wsigraph.
    """

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """Whether jobs are run.

    Attributes
    ----------
    ready : bool
        Whether there are workers.
    workers : int
        How many.
    detail : str
        What is missing.
    """

    ready: bool
    workers: int
    detail: str


@router.get("/health", summary="Whether the service lives")
async def health() -> Health:
    """Return at once; needs no token."""
    return Health(status="ok", version=wsigraph.__version__)


@router.get("/ready", summary="Whether jobs are run", responses={503: {"model": Ready, "description": "Not yet"}})
async def ready(request: Request, response: Response) -> Ready:
    """Return 200 once there are workers, 503 before; slides are served either way. Needs no token."""
    dispatcher = house_of(request).dispatcher
    workers = 0 if dispatcher is None else dispatcher.n_workers
    detail = "jobs are run elsewhere" if dispatcher is None else dispatcher.detail
    response.status_code = 200 if workers else 503
    return Ready(ready=workers > 0, workers=workers, detail=detail)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format"}},
)
def metrics(request: Request, _: Annotated[Caller, Depends(needs(READ))]) -> Response:
    """Return the figures of this service."""
    content, kind = request.app.state.metrics.render(house_of(request))
    return Response(content, media_type=kind)
