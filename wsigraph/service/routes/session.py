"""Routes by which a browser signs in: the token is put into a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from wsigraph.errors import NotSignedIn
from wsigraph.service.context import house_of
from wsigraph.service.security.auth import COOKIE, READ, Caller, needs

router = APIRouter(prefix="/v1/session", tags=["service"])

_DAY_S = 86400


class SignIn(BaseModel):
    """A token.

    Attributes
    ----------
    token : str
        As it was printed.
    """

    model_config = ConfigDict(extra="forbid")
    token: str = Field(min_length=1, max_length=512)


class SignedIn(BaseModel):
    """Who asks.

    Attributes
    ----------
    name, role : str
        Of the token.
    """

    name: str
    role: str


@router.get("", summary="Who asks")
def who(caller: Annotated[Caller, Depends(needs(READ))]) -> SignedIn:
    """Return name and role of the token."""
    return SignedIn(name=caller.name, role=caller.role)


@router.post("", summary="Sign a browser in")
def sign_in(request: Request, response: Response, given: SignIn) -> SignedIn:
    """Check a token and leave it with the browser for a day, out of the reach of scripts and of other sites.

    Raises
    ------
    NotSignedIn
        If it is not known.
    """
    tokens = house_of(request).tokens
    caller = tokens.caller(given.token)
    if caller is None:
        raise NotSignedIn("the token is not known here; ask whoever runs the service for another")
    response.set_cookie(
        COOKIE,
        given.token,
        max_age=_DAY_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https",
    )
    return SignedIn(name=caller.name, role=caller.role)


@router.delete("", status_code=204, summary="Sign a browser out")
def sign_out(response: Response) -> None:
    """Remove the token from the browser."""
    response.delete_cookie(COOKIE)
