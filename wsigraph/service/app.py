"""The FastAPI application: middleware, routes, error handlers and the viewer.

`create_app` takes a `ServiceContext`, which holds what the routes share. A route gets it with
`service_context(request)`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles

import wsigraph
from wsigraph.service.context import ServiceContext
from wsigraph.service.head_requests import HeadRequests
from wsigraph.service.metrics import Metrics
from wsigraph.service.openapi import complete_document
from wsigraph.service.path_prefix import PathPrefix
from wsigraph.service.routes import (
    health,
    iiif,
    images,
    jobs,
    overlays,
    provider_sign_in,
    regions,
    session,
    slides,
    uploads,
)
from wsigraph.service.security import problems
from wsigraph.service.security.admission import Admission
from wsigraph.service.security.client_connection import TrustedProxies
from wsigraph.service.security.middleware import SecurityMiddleware
from wsigraph.service.security.rate_limit import RateLimiter

VIEWER = Path(__file__).parent / "viewer"
"""Directory of the viewer."""
_THREADS = 128


def create_app(
    context: ServiceContext, *, hosts: Collection[str] = (), root_path: str = "", root_is_key: bool = False
) -> FastAPI:
    """Return the application of a service.

    Parameters
    ----------
    context : ServiceContext
        Context of the service. It starts and closes with the application.
    hosts : collection of str, optional
        Allowed host names; if left out, all.
    root_path : str, optional
        Path prefix under which a proxy shows the service.
    root_is_key : bool, optional
        Whether requests without the prefix are refused, see `PathPrefix`.

    Returns
    -------
    FastAPI
        ASGI application. Its OpenAPI document is at ``/v1/openapi.json``.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # as many as callers may hold together; the default is 40
        to_thread.current_default_thread_limiter().total_tokens = _THREADS
        context.start()
        try:
            yield
        finally:
            context.close()

    app = FastAPI(
        title="wsigraph",
        version=wsigraph.__version__,
        description="Whole-slide images as graphs of tissue regions. Research use only.",
        openapi_url="/v1/openapi.json",
        # these two pages would load scripts from another site; ours is in the viewer
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=problems.RESPONSES,
    )
    # inside the security middleware, which records requests as they came
    app.add_middleware(HeadRequests)
    app.state.service = context
    app.state.root_path = root_path
    app.state.metrics = metrics = Metrics()
    settings = context.config.service
    app.add_middleware(
        SecurityMiddleware,
        tokens=context.tokens,
        sessions=context.sessions,
        hosts=hosts,
        rate_limiter=RateLimiter(settings),
        body_max_bytes=int(settings.body_max_kb * 1e3),
        part_max_bytes=int(settings.upload_part_max_mb * 1e6),
        metrics=metrics,
        audit=context.audit,
        admission=Admission(settings),
        proxies=TrustedProxies(settings.trusted_proxies),
        has_provider=context.oidc is not None,
    )
    if root_path:
        app.add_middleware(PathPrefix, prefix=root_path, is_key=root_is_key)
    problems.install(app)
    for module in (health, session, provider_sign_in, slides, images, uploads, jobs, overlays, regions, iiif):
        app.include_router(module.router)
    _add_viewer(app)
    complete_document(app, "" if root_is_key else root_path)
    return app


def _add_viewer(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    def api_page() -> Response:
        return FileResponse(VIEWER / "api.html", headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    def page(request: Request) -> Response:
        index = VIEWER / "index.html"
        if index.is_file():
            regions.warm(request)
            return FileResponse(index, headers={"Cache-Control": "no-cache"})
        return Response(
            "The wsigraph API is at /v1, its OpenAPI document at /v1/openapi.json\n", media_type="text/plain"
        )

    if VIEWER.is_dir():
        app.mount("/viewer", _Assets(directory=VIEWER), name="viewer")


class _Assets(StaticFiles):
    """Static files that browsers cache but check at every visit, because they change with the version."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response
