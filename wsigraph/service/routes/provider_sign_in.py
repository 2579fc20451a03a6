"""Routes to sign a browser in through an OpenID Connect provider, see `wsigraph.service.security.oidc`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from wsigraph.errors import NotFound
from wsigraph.service.context import service_context
from wsigraph.service.security.middleware import read_cookie
from wsigraph.service.security.oidc import SIGN_IN_S, OidcClient
from wsigraph.service.security.sessions import cookie_name

router = APIRouter(prefix="/v1/session", tags=["service"])
_COOKIE, _SECURE_COOKIE = "wsigraph-sign-in", "__Host-wsigraph-sign-in"


class SignInMethods(BaseModel):
    """How a browser can sign in.

    Attributes
    ----------
    token : bool
        Whether tokens are accepted.
    oidc : bool
        Whether GET /v1/session/oidc leads to a provider.
    """

    token: bool
    oidc: bool


@router.get("/methods", summary="How to sign in", operation_id="list_sign_in_methods")
def methods(request: Request) -> SignInMethods:
    """Return how a browser can sign in. A service without tokens and provider needs no sign-in."""
    context = service_context(request)
    return SignInMethods(token=bool(len(context.tokens)), oidc=context.oidc is not None)


@router.get(
    "/oidc",
    status_code=303,
    summary="Sign in through the provider",
    operation_id="begin_oidc",
    response_class=RedirectResponse,
)
def begin(request: Request) -> RedirectResponse:
    """Send the browser to the provider, which sends it back to the callback."""
    client = _client(request)
    url, browser = client.begin()
    response = RedirectResponse(url, status_code=303)
    is_secure = _is_secure(request, client)
    # lax, because the browser comes back from another site
    response.set_cookie(
        _sign_in_cookie(request), browser, max_age=int(SIGN_IN_S), httponly=True, samesite="lax", secure=is_secure
    )
    return response


@router.get(
    "/oidc/callback",
    status_code=303,
    summary="Come back from the provider",
    operation_id="finish_oidc",
    response_class=RedirectResponse,
)
def finish(
    request: Request,
    state: Annotated[str, Query(max_length=512)] = "",
    code: Annotated[str, Query(max_length=4096)] = "",
    iss: Annotated[str | None, Query(max_length=512)] = None,
    error: Annotated[str | None, Query(max_length=512)] = None,
) -> RedirectResponse:
    """Begin the session of an account that has signed in, and send the browser to the page."""
    client, context = _client(request), service_context(request)
    query = {"state": state, "code": code, "iss": iss, "error": error}
    cookie = _sign_in_cookie(request)
    principal = client.finish(
        {name: value for name, value in query.items() if value is not None}, read_cookie(request.headers, cookie)
    )
    # for the audit log
    request.scope["principal"] = principal
    response = RedirectResponse(client.public_url, status_code=303)
    is_secure = _is_secure(request, client)
    response.delete_cookie(cookie, httponly=True, samesite="lax", secure=is_secure)
    response.set_cookie(
        cookie_name(request.url.scheme),
        context.sessions.begin_for(principal),
        max_age=int(context.sessions.lasts_s),
        httponly=True,
        samesite="strict",
        secure=is_secure,
    )
    return response


def _client(request: Request) -> OidcClient:
    client = service_context(request).oidc
    if client is None:
        raise NotFound("this service has no OpenID Connect provider (service.oidc_issuer); sign in with a token")
    return client


def _is_secure(request: Request, client: OidcClient) -> bool:
    """Return whether the browser talks TLS, also to a proxy that says nothing of it."""
    return request.url.scheme == "https" or client.public_url.startswith("https:")


def _sign_in_cookie(request: Request) -> str:
    return _SECURE_COOKIE if request.url.scheme == "https" else _COOKIE
