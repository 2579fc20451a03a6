"""The service behind a path prefix, as proxies such as JupyterHub, Open OnDemand or an nginx ``location`` put it.

The viewer and the Location headers of jobs only use relative URLs, so they work behind any prefix without a setting.
A prefix has to be known for proxies that pass it on, and for the addresses in the OpenAPI document. A prefix that
nobody can guess also serves as a key: a notebook cell shows the viewer in a frame, where browsers may not send cookies.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsigraph.errors import ServiceError


def check_prefix(prefix: str) -> str:
    """Return a path prefix without its last slash; empty for none.

    Raises
    ------
    ServiceError
        If it is not a path, for example ``/user/me/proxy/8008``.
    """
    text = prefix.rstrip("/")
    if text and (not text.startswith("/") or "//" in text or any(sign in text for sign in "?#\\ ")):
        raise ServiceError(f"--root-path {prefix!r} is not a path; give one such as /user/me/proxy/8008")
    return text


class PathPrefix:
    """ASGI middleware that removes a path prefix, for proxies that pass it on.

    Parameters
    ----------
    app : ASGI application
        Application behind the prefix.
    prefix : str
        From `check_prefix`.
    is_key : bool
        Whether requests without the prefix are answered 404. Pages of other sites may then show the viewer in a frame,
        because they have to know the prefix.
    """

    def __init__(self, app: ASGIApp, prefix: str, *, is_key: bool = False) -> None:
        self._app = app
        self._prefix = prefix
        self._is_key = is_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        has_prefix = path == self._prefix or path.startswith(f"{self._prefix}/")
        if self._is_key and not has_prefix:
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        if has_prefix and path == self._prefix:
            # relative addresses of the page need the slash
            headers = [(b"location", f"{self._prefix.rpartition('/')[2]}/".encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if has_prefix:
            scope = {**scope, "path": path[len(self._prefix) :]}
            scope["raw_path"] = scope["path"].encode()
        await self._app(scope, receive, self._allow_frame(send) if self._is_key else send)

    @staticmethod
    def _allow_frame(send: Send) -> Send:
        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = headers.get("content-security-policy", "")
                headers["Content-Security-Policy"] = policy.replace("frame-ancestors 'none'", "frame-ancestors *")
                del headers["X-Frame-Options"]
            await send(message)

        return send_framed
