"""Conditional requests: ETag and 304 as RFC 9110 says, and how long a response may be kept.

References
----------
RFC 9110, HTTP Semantics, sections 8.8.3 (ETag), 13.1.2 (If-None-Match) and 15.4.5 (304 Not Modified).
RFC 8246, HTTP Immutable Responses.
"""

from __future__ import annotations

from fastapi import Request, Response

CHECKED = "private, no-cache"
"""Cache-Control of a response that may change: kept, and checked by its tag at every use."""
IMMUTABLE = "private, max-age=31536000, immutable"
"""Cache-Control of a response whose URL names the version of its content."""


def not_modified(
    request: Request, tag: str, cache_control: str = CHECKED, *, vary: str | None = None
) -> Response | None:
    """Return 304 if the client has the current response already, else None.

    Parameters
    ----------
    request : Request
        The request.
    tag : str
        Entity tag of the current response, with its quotes.
    cache_control : str, optional
        Cache-Control of the response.
    vary : str, optional
        Vary of the response.

    Returns
    -------
    Response or None
        304 with the headers that a 200 would have.
    """
    known = ", ".join(request.headers.getlist("if-none-match"))
    # weak comparison: a tag matches whether or not it is marked as weak
    if tag.removeprefix("W/") not in {text.strip().removeprefix("W/") for text in known.split(",")}:
        return None
    headers = cached(tag, cache_control)
    return Response(status_code=304, headers=headers if vary is None else {**headers, "Vary": vary})


def cached(tag: str, cache_control: str = CHECKED) -> dict[str, str]:
    """Return the headers of a response that a client may keep."""
    return {"ETag": tag, "Cache-Control": cache_control}
