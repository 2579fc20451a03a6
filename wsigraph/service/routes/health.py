"""Routes for health, readiness and metrics."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

import wsigraph
from wsigraph.service.context import service_context
from wsigraph.service.security.auth import READ, Principal, require_role

router = APIRouter(prefix="/v1", tags=["service"])
_ADDRESS = re.compile(r"\b[a-z0-9+]+://\S+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?|host=\S+")


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


def _public_detail(detail: str) -> str:
    """Return why jobs do not run, without addresses: whoever asks may not have a token. The log has all of it."""
    return _ADDRESS.sub("(see the log of the service)", detail)


@router.get(
    "/ready",
    summary="Readiness",
    operation_id="read_readiness",
    responses={503: {"model": Ready, "description": "No workers"}},
)
async def ready(request: Request, response: Response) -> Ready:
    """Respond 200 if there are workers and 503 if not. Slides are served in both cases. Needs no token."""
    context = service_context(request)
    supervisor = context.supervisor
    workers = 0 if supervisor is None else supervisor.n_workers
    detail = (
        "another service runs the jobs"
        if supervisor is None
        else _public_detail(context.without_paths(supervisor.detail))
    )
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
