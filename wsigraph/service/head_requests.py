"""HEAD for every route that has GET: the same headers, without the content.

References
----------
RFC 9110, HTTP Semantics, section 9.3.2.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadRequests:
    """ASGI middleware that answers HEAD by GET and leaves out the content.

    Uploads have a HEAD of their own, and a stream of events has no end.

    Parameters
    ----------
    app : ASGI application
        Application that answers GET.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD" or _keeps_head(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_headers(message: Message) -> None:
            if message["type"] == "http.response.body":
                if message.get("more_body"):
                    return
                message = {**message, "body": b""}
            await send(message)

        # changed in place, because the router notes the route in the same scope
        scope["method"] = "GET"
        try:
            await self._app(scope, receive, send_headers)
        finally:
            scope["method"] = "HEAD"


def _keeps_head(path: str) -> bool:
    return path.startswith("/v1/uploads") or path.endswith("/events")
