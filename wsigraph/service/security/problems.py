"""Errors as problem documents (RFC 9457), with the messages that the command line prints.

References
----------
RFC 9457, Problem Details for HTTP APIs.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from wsigraph import errors
from wsigraph.service.shown_names import show_safely

MEDIA_TYPE = "application/problem+json"
_STATUS: dict[type[errors.WsigraphError], int] = {
    errors.NotSignedIn: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.TooMany: 429,
    errors.Unavailable: 503,
    errors.ClusterError: 503,
    errors.PluginError: 501,
    errors.DatabaseUnavailable: 503,
    errors.StoreError: 507,
}


class Problem(BaseModel):
    """A problem document.

    Attributes
    ----------
    type : str
        ``about:blank#`` followed by the class of the error.
    title : str
        The class of the error.
    status : int
        HTTP status.
    detail : str
        What is wrong, what was expected and what to do.
    """

    type: str
    title: str
    status: int
    detail: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": description}
    for status, description in {
        400: "The request is malformed",
        401: "No valid token",
        403: "The role of the token does not allow this",
        404: "Not found",
        409: "Conflict with the current state",
        413: "Too many bytes or pixels",
        421: "The Host header is not allowed",
        422: "A value out of range, or a slide that cannot be used",
        429: "Too many requests, jobs or uploads",
        501: "Not installed",
        503: "Not available at the moment",
        507: "The data cannot be stored",
    }.items()
}
"""Problem responses of every route, for the OpenAPI document."""


def http_status(error: errors.WsigraphError) -> int:
    """Return the HTTP status of an error; 422 for errors of the request or its slide."""
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 422)


def problem(status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem document.

    Parameters
    ----------
    status : int
        HTTP status.
    title : str
        Class of the error.
    detail : str
        Message in one line.
    headers : dict, optional
        Additional headers.

    Returns
    -------
    JSONResponse
        The response.
    """
    content = Problem(type=f"about:blank#{title}", title=title, status=status, detail=detail).model_dump()
    return JSONResponse(content, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def problem_response(error: errors.WsigraphError) -> JSONResponse:
    """Return an error as a problem document."""
    status = http_status(error)
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "5"}}.get(status)
    return problem(status, type(error).__name__, " ".join(str(error).split()), headers)


def install(app: FastAPI) -> None:
    """Make an application respond to every error with a problem document.

    Parameters
    ----------
    app : FastAPI
        The application.
    """

    @app.exception_handler(errors.WsigraphError)
    async def _(request: Request, error: errors.WsigraphError) -> JSONResponse:
        return problem_response(_without_paths(request, error))

    @app.exception_handler(RequestValidationError)
    async def _(_request: Request, error: RequestValidationError) -> JSONResponse:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return problem(422, "ValidationError", f"{where}: {fault['msg'].lower()}")

    @app.exception_handler(HTTPException)
    async def _(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, "HTTPException", str(error.detail), dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def _(_request: Request, error: Exception) -> JSONResponse:
        return problem(500, "Unexpected", f"unexpected {type(error).__name__}; see the log of the service")


def _without_paths(request: Request, error: errors.WsigraphError) -> errors.WsigraphError:
    """Return the error with the directories of the service removed from its message."""
    text = request.app.state.service.without_paths(show_safely(str(error)))
    return error if text == str(error) else type(error)(text)
