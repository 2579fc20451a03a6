"""Routes to sign a browser in and out. Its cookie holds a random identifier of the session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from wsigraph.errors import NotSignedIn
from wsigraph.service.context import service_context
from wsigraph.service.security.auth import READ, Principal, require_role
from wsigraph.service.security.middleware import read_cookie
from wsigraph.service.security.oidc import NAME_PREFIX
from wsigraph.service.security.sessions import cookie_name

router = APIRouter(prefix="/v1/session", tags=["service"])


class SignIn(BaseModel):
    """A token.

    Attributes
    ----------
    token : str
        The token, as ``wsigraph serve --new-token`` printed it.
    """

    model_config = ConfigDict(extra="forbid")
    token: str = Field(min_length=1, max_length=512)


class SignedIn(BaseModel):
    """The principal of a session.

    Attributes
    ----------
    name, role : str
        Name and role of the token or account.
    sign_out_url : str or None
        Where a browser also signs out at the provider, if it signed in there.
    """

    name: str
    role: str
    sign_out_url: str | None = None


@router.get("", summary="The current principal", operation_id="read_session")
def who(request: Request, principal: Annotated[Principal, Depends(require_role(READ))]) -> SignedIn:
    """Return name and role of the token or account."""
    oidc = service_context(request).oidc
    has_signed_in_there = oidc is not None and principal.name.startswith(NAME_PREFIX)
    url = oidc.sign_out_url if oidc is not None and has_signed_in_there else None
    return SignedIn(name=principal.name, role=principal.role, sign_out_url=url)


@router.post("", summary="Sign a browser in", operation_id="sign_in")
def sign_in(request: Request, response: Response, credentials: SignIn) -> SignedIn:
    """Check a token and begin a session. Scripts and other sites cannot read its cookie.

    Raises
    ------
    NotSignedIn
        If the token is not valid.
    """
    context = service_context(request)
    principal = context.tokens.principal(credentials.token)
    if principal is None:
        raise NotSignedIn("the token is not valid; ask the operator of this service for another")
    scheme = request.url.scheme
    response.set_cookie(
        cookie_name(scheme),
        context.sessions.begin(credentials.token),
        max_age=int(context.sessions.lasts_s),
        httponly=True,
        samesite="strict",
        secure=scheme == "https",
    )
    return SignedIn(name=principal.name, role=principal.role)


@router.delete("", status_code=204, summary="Sign a browser out", operation_id="sign_out")
def sign_out(request: Request, response: Response) -> None:
    """End the session. A copy of its cookie is worth nothing afterwards."""
    name = cookie_name(request.url.scheme)
    service_context(request).sessions.end(read_cookie(request.headers, name))
    response.delete_cookie(name, httponly=True, samesite="strict", secure=request.url.scheme == "https")
