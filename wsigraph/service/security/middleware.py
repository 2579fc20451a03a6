"""Security middleware: checks every request before a route handles it, and adds security headers to every response.

The checks, in this order: the Host header (against DNS rebinding), the token, the rate limit, the origin of the page
that sends the request (against cross-site request forgery), and the size of the body.
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
from wsigraph.service.security.audit import Audit, is_audited
from wsigraph.service.security.auth import COOKIE, LOCAL, Principal, Tokens
from wsigraph.service.security.problems import problem, problem_response
from wsigraph.service.security.rate_limit import RateLimiter

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of every response except reports."""
REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""Policy of report.html, which contains its own script: it runs in a separate origin and loads nothing."""
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


class SecurityMiddleware:
    """ASGI middleware for host check, authentication, rate limit, origin check, body size, headers and audit log.

    Parameters
    ----------
    app : ASGI application
        Application behind the middleware.
    tokens : Tokens
        Valid tokens. Without any, every client is the administrator.
    hosts : collection of str
        Allowed host names. Empty allows every name, which requires tokens.
    rate_limiter : RateLimiter
        Rate limit of each client.
    body_max_bytes : int
        Largest body of a request that is not a part of an upload, bytes.
    part_max_bytes : int
        Largest part of an upload, bytes.
    metrics : Metrics
        Counts every response.
    audit : Audit
        Records changes, refusals and reads of patient data.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        hosts: Collection[str],
        rate_limiter: RateLimiter,
        body_max_bytes: int,
        part_max_bytes: int,
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._hosts = frozenset(hosts)
        self._rate_limiter = rate_limiter
        self._body_max, self._part_max = body_max_bytes, part_max_bytes
        self._metrics = metrics
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        status = 500

        async def send_protected(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _add_security_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        try:
            refusal = self._check_host(headers)
            if refusal is None:
                self._authenticate(scope, headers)
        except WsigraphError as error:
            refusal = problem_response(error)
        try:
            if refusal is not None:
                await refusal(scope, receive, send_protected)
            else:
                await self._app(scope, _limit_body(receive, self._max_body_bytes(scope)), send_protected)
        finally:
            self._metrics.count(scope, status, time.perf_counter() - started)
            self._record(scope, status)

    def _record(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", None) or ""
        if is_audited(scope["method"], route, status):
            principal: Principal | None = scope.get("principal")
            self._audit.record(
                principal=principal.name if principal else "",
                address=_address(scope),
                method=scope["method"],
                path=scope["path"],
                status=status,
            )

    def _check_host(self, headers: Headers) -> ASGIApp | None:
        if not self._hosts:
            return None
        host = _host_name(headers.get("host", ""))
        if host in self._hosts or (_is_loopback(host) and any(_is_loopback(name) for name in self._hosts)):
            return None
        return problem(
            421,
            "NotAllowed",
            f"the host {host[:80]!r} is not allowed; use the address that the service listens on",
        )

    def _authenticate(self, scope: Scope, headers: Headers) -> None:
        """Set the principal of a request, and check its rate limit, its origin and its size."""
        token, by_cookie = _token(headers)
        principal = self._tokens.principal(token) if len(self._tokens) and token else None
        scope["principal"] = principal if len(self._tokens) else LOCAL
        # clients without a valid token are limited by address, so that guessing tokens is slow
        self._rate_limiter.take(principal.name if principal else _address(scope), scope["path"])
        if len(self._tokens) and token and principal is None and not by_cookie:
            raise NotSignedIn("the token is not valid; ask the operator of this service for another")
        if scope["method"] in _UNSAFE:
            _check_origin(headers, by_cookie=by_cookie)
        length = headers.get("content-length", "0")
        bound = self._max_body_bytes(scope)
        if not length.isdigit() or int(length) > bound:
            raise TooLarge(f"the request has {length[:20]} bytes, more than the {bound} allowed")

    def _max_body_bytes(self, scope: Scope) -> int:
        is_part = scope["method"] == "PATCH" and scope["path"].startswith("/v1/uploads/")
        return self._part_max if is_part else self._body_max


def _limit_body(receive: Receive, max_bytes: int) -> Receive:
    """Return a `receive` that stops a body that is larger than its Content-Length promised."""
    n_bytes = 0

    async def limited() -> Message:
        nonlocal n_bytes
        message = await receive()
        n_bytes += len(message.get("body", b""))
        if n_bytes > max_bytes:
            raise TooLarge(f"the request has more than the {max_bytes} bytes allowed")
        return message

    return limited


def _check_origin(headers: Headers, *, by_cookie: bool) -> None:
    """Refuse a request that a page of another site sends with the cookie of its visitor."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site == "same-origin":
        # no page can set this header; a proxy may have replaced the host that the origin is compared with
        return
    is_foreign = site in ("cross-site", "same-site")
    if origin is not None and not is_foreign:
        is_foreign = urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    if is_foreign or (by_cookie and origin is None and site is None):
        raise NotAllowed("pages of other sites cannot change anything here; use the viewer or a token")


def _add_security_headers(headers: MutableHeaders, path: str) -> None:
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
    """Return the token of a request, empty if there is none, and whether it came in a cookie."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip(), False
    token = _cookie(headers)
    return token, bool(token)


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _host_name(host: str) -> str:
    """Return the host name of a Host header without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host in _LOOPBACK_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
