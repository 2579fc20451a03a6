"""Routes to sign a browser in and out. The token is stored in a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from wsigraph.errors import NotSignedIn
from wsigraph.service.context import service_context
from wsigraph.service.security.auth import COOKIE, READ, Principal, require_role

router = APIRouter(prefix="/v1/session", tags=["service"])

_DAY_S = 86400


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
        Name and role of the token.
    """

    name: str
    role: str


@router.get("", summary="The current principal", operation_id="read_session")
def who(principal: Annotated[Principal, Depends(require_role(READ))]) -> SignedIn:
    """Return name and role of the token."""
    return SignedIn(name=principal.name, role=principal.role)


@router.post("", summary="Sign a browser in", operation_id="sign_in")
def sign_in(request: Request, response: Response, credentials: SignIn) -> SignedIn:
    """Check a token and store it in a cookie for one day. Scripts and other sites cannot read the cookie.

    Raises
    ------
    NotSignedIn
        If the token is not valid.
    """
    tokens = service_context(request).tokens
    principal = tokens.principal(credentials.token)
    if principal is None:
        raise NotSignedIn("the token is not valid; ask the operator of this service for another")
    response.set_cookie(
        COOKIE,
        credentials.token,
        max_age=_DAY_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https",
    )
    return SignedIn(name=principal.name, role=principal.role)


@router.delete("", status_code=204, summary="Sign a browser out", operation_id="sign_out")
def sign_out(response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(COOKIE)
