"""The application: routes, errors, and what is started and stopped with it.

`create_app` takes a `House`, which holds everything the routes share; a route finds it with `house_of(request)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

import wsigraph
from wsigraph.service.context import House
from wsigraph.service.metrics import Metrics
from wsigraph.service.routes import (
    health,
    overlays,
    regions,
    session,
    slides,
    uploads,
)
from wsigraph.service.routes import jobs as job_routes
from wsigraph.service.security import problems
from wsigraph.service.security.limits import Buckets
from wsigraph.service.security.middleware import Gate

VIEWER = Path(__file__).parent / "viewer"
"""The page and what it loads."""


def create_app(house: House, *, hosts: Collection[str] = ()) -> FastAPI:
    """Return the application of a service.

    Parameters
    ----------
    house : House
        Started and closed with the application.
    hosts : collection of str, optional
        Host names that it answers to; any where left out.

    Returns
    -------
    FastAPI
        An ASGI application; its OpenAPI document lies at ``/v1/openapi.json``.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        house.start()
        try:
            yield
        finally:
            house.close()

    app = FastAPI(
        title="wsigraph",
        version=wsigraph.__version__,
        description="Whole-slide images as graphs of tissue regions. Research use only.",
        openapi_url="/v1/openapi.json",
        # both pages would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=problems.RESPONSES,
    )
    app.state.service = house
    app.state.metrics = metrics = Metrics()
    limits = house.config.service
    app.add_middleware(
        Gate,
        tokens=house.tokens,
        hosts=hosts,
        buckets=Buckets(limits),
        body_max_bytes=int(limits.body_max_kb * 1e3),
        part_max_bytes=int(limits.upload_part_max_mb * 1e6),
        metrics=metrics,
        audit=house.audit,
    )
    problems.install(app)
    for room in (health, session, slides, uploads, job_routes, overlays, regions):
        app.include_router(room.router)
    _add_viewer(app)
    return app


def _add_viewer(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        index = VIEWER / "index.html"
        if index.is_file():
            regions.warm(request)
            return FileResponse(index, headers={"Cache-Control": "no-cache"})
        return Response("wsigraph serves /v1; its OpenAPI document is /v1/openapi.json\n", media_type="text/plain")

    if VIEWER.is_dir():
        app.mount("/viewer", _Assets(directory=VIEWER), name="viewer")


class _Assets(StaticFiles):
    """Files that browsers keep and ask about; they are asked for at every visit, and change with the version."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
