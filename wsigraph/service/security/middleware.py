"""What every request passes before a route sees it, and every answer on its way out.

In this order: the host that was asked for (a page of another site may not reach the service under a name that it made
lead here); the page that asks; the token; how often the caller has asked; how many bytes it sends. Answers carry the
headers that keep browsers from loading, framing or guessing anything.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsigraph.errors import NotAllowed, NotSignedIn, TooLarge, WsigraphError
from wsigraph.service.metrics import Metrics
from wsigraph.service.security.audit import Audit, is_noted
from wsigraph.service.security.auth import COOKIE, LOCAL, Caller, Tokens
from wsigraph.service.security.limits import Buckets
from wsigraph.service.security.problems import problem, problem_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of every answer but the reports."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Policy of report.html, one file that holds its own script: it runs in an origin of its own and loads nothing."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LOOPBACK_NAMES = frozenset({"localhost"})


class Gate:
    """ASGI middleware that lets requests in.

    Parameters
    ----------
    app : ASGI application
        What lies behind.
    tokens : Tokens
        Who may ask; where it is empty, everybody is the administrator.
    hosts : collection of str
        Host names that the service answers to; empty for any, which takes tokens.
    buckets : Buckets
        How often each caller may ask.
    body_max_bytes : int
        Most bytes of a request that is no part of an upload.
    part_max_bytes : int
        Most bytes of a part of an upload.
    metrics : Metrics
        Told of every answer.
    audit : Audit
        Told of those that somebody may have to answer for.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        hosts: Collection[str],
        buckets: Buckets,
        body_max_bytes: int,
        part_max_bytes: int,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = frozenset(hosts)
        self._buckets = buckets
        self._body_max, self._part_max = body_max_bytes, part_max_bytes
        self._metrics = metrics
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        status = 500

        async def telling(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _protect(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            refusal = self._refuse_host(headers)
            if refusal is None:
                self._admit(scope, headers)
        except WsigraphError as error:
            refusal = problem_of(error)
        try:
            if refusal is not None:
                await refusal(scope, receive, telling)
            else:
                await self._app(scope, _bounded(receive, self._bound(scope)), telling)
        finally:
            self._metrics.count(scope, status, time.perf_counter() - started)
            self._note(scope, status)

    def _note(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", None) or ""
        if is_noted(scope["method"], route, status):
            caller: Caller | None = scope.get("caller")
            self._audit.note(
                caller=caller.name if caller else "",
                address=_address(scope),
                method=scope["method"],
                path=scope["path"],
                status=status,
            )

    def _refuse_host(self, headers: Headers) -> ASGIApp | None:
        if not self._hosts:
            return None
        host = _host_name(headers.get("host", ""))
        if host in self._hosts or (_is_loopback(host) and any(_is_loopback(each) for each in self._hosts)):
            return None
        return problem(
            421,
            "NotAllowed",
            f"this service does not answer to the host {host[:80]!r}; ask for the address it listens on",
        )

    def _admit(self, scope: Scope, headers: Headers) -> None:
        """Note who asks, and refuse foreign pages, whoever asks too often and what is too long."""
        token, by_cookie = _token(headers)
        caller = self._tokens.caller(token) if len(self._tokens) and token else None
        scope["caller"] = caller if len(self._tokens) else LOCAL
        # whoever has no token that is known is told apart by address, so that guessing is slow
        self._buckets.take(caller.name if caller else _address(scope), scope["path"])
        if len(self._tokens) and token and caller is None and not by_cookie:
            raise NotSignedIn("the token is not known here; ask whoever runs the service for another")
        if scope["method"] in _UNSAFE:
            _refuse_foreign(headers, by_cookie=by_cookie)
        length = headers.get("content-length", "0")
        bound = self._bound(scope)
        if not length.isdigit() or int(length) > bound:
            raise TooLarge(f"the request holds {length[:20]} bytes, more than the {bound} that are taken here")

    def _bound(self, scope: Scope) -> int:
        is_part = scope["method"] == "PATCH" and scope["path"].startswith("/v1/uploads/")
        return self._part_max if is_part else self._body_max


def _bounded(receive: Receive, most: int) -> Receive:
    """Return `receive` that ends a body that grows beyond its bound without having said so."""
    n_bytes = 0

    async def bounded() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > most:
            raise TooLarge(f"the request holds more than the {most} bytes that are taken here")
        return message

    return bounded


def _refuse_foreign(headers: Headers, *, by_cookie: bool) -> None:
    """Refuse what a page of another site asks for in the name of whoever looks at it."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    is_foreign = site in ("cross-site", "same-site")
    if origin is not None and not is_foreign:
        is_foreign = urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    if is_foreign or (by_cookie and origin is None and site is None):
        raise NotAllowed("a page of another site may not change anything here; use the viewer or a token")


def _protect(headers: MutableHeaders, path: str) -> None:
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    is_report = path.endswith("/results/report.html")
    headers["Content-Security-Policy"] = REPORT_POLICY if is_report else POLICY
    if is_report:
        headers["X-Frame-Options"] = "SAMEORIGIN"
    headers.setdefault("Cache-Control", "no-store")


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("", 0))[0])


def _token(headers: Headers) -> tuple[str, bool]:
    """Return the token that a request brings, empty where none, and whether a browser's cookie brings it."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip(), False
    token = _cookie(headers)
    return token, bool(token)


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _host_name(host: str) -> str:
    """Return a Host header's name without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host in _LOOPBACK_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
