"""Routes for health, readiness and metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

import wsigraph
from wsigraph.service.context import service_context
from wsigraph.service.security.auth import READ, Principal, require_role

router = APIRouter(prefix="/v1", tags=["service"])


class Health(BaseModel):
    """Health of the service.

    Attributes
    ----------
    status : str
        ``ok``.
    version : str
        Version of wsigraph.
    """

    status: Literal["ok"]
    version: str


class Ready(BaseModel):
    """Readiness of the service to run jobs.

    Attributes
    ----------
    ready : bool
        Whether there are workers.
    workers : int
        Number of workers.
    detail : str
        Why jobs do not run; empty if they do.
    """

    ready: bool
    workers: int
    detail: str


@router.get("/health", summary="Health", operation_id="read_health")
async def health() -> Health:
    """Respond at once. Needs no token."""
    return Health(status="ok", version=wsigraph.__version__)


@router.get(
    "/ready",
    summary="Readiness",
    operation_id="read_readiness",
    responses={503: {"model": Ready, "description": "No workers"}},
)
async def ready(request: Request, response: Response) -> Ready:
    """Respond 200 if there are workers and 503 if not. Slides are served in both cases. Needs no token."""
    supervisor = service_context(request).supervisor
    workers = 0 if supervisor is None else supervisor.n_workers
    detail = "another service runs the jobs" if supervisor is None else supervisor.detail
    response.status_code = 200 if workers else 503
    return Ready(ready=workers > 0, workers=workers, detail=detail)


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    operation_id="read_metrics",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format"}
    },
)
def metrics(request: Request, _: Annotated[Principal, Depends(require_role(READ))]) -> Response:
    """Return the metrics of this service."""
    content, media_type = request.app.state.metrics.render(service_context(request))
    return Response(content, media_type=media_type)
