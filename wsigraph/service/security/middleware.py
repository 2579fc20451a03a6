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

from wsigraph.errors import NotAllowed, NotSignedIn, TooLarge, TooMany, Unavailable, WsigraphError
from wsigraph.service.metrics import Metrics
from wsigraph.service.request_context import RequestContext, set_current_request
from wsigraph.service.security.admission import Admission, kind_of_request
from wsigraph.service.security.audit import Audit, is_audited, viewed_subject
from wsigraph.service.security.auth import LOCAL, Principal, Tokens
from wsigraph.service.security.client_connection import ClientWatch, TrustedProxies
from wsigraph.service.security.problems import problem, problem_response
from wsigraph.service.security.rate_limit import RateLimiter
from wsigraph.service.security.sessions import Sessions, cookie_name

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
# parts of the paths of images, for responses without a content type (304)
_PIXELS = ("/tiles/", "_files/", "/thumbnail.jpeg", "/region.jpeg", "/crop.jpeg", "/default.jpg")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_UPLOADS = "/v1/uploads"
_LOOPBACK_NAMES = frozenset({"localhost"})


class SecurityMiddleware:
    """ASGI middleware for host check, authentication, rate limit, origin check, body size, headers and audit log.

    Parameters
    ----------
    app : ASGI application
        Application behind the middleware.
    tokens : Tokens
        Valid tokens. Without any, every client is the administrator.
    sessions : Sessions
        Sessions of signed-in browsers.
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
    admission : Admission
        Limits how many requests of one caller are handled at a time.
    proxies : TrustedProxies
        Proxies that say whose requests they pass on.
    has_provider : bool, optional
        Whether browsers sign in through an OpenID Connect provider, so that nobody is trusted without signing in.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        sessions: Sessions,
        hosts: Collection[str],
        rate_limiter: RateLimiter,
        body_max_bytes: int,
        part_max_bytes: int,
        metrics: Metrics,
        audit: Audit,
        admission: Admission,
        proxies: TrustedProxies,
        has_provider: bool = False,
    ) -> None:
        self._app = app
        self._has_provider = has_provider
        self._tokens = tokens
        self._sessions = sessions
        self._hosts = frozenset(hosts)
        self._rate_limiter = rate_limiter
        self._body_max, self._part_max = body_max_bytes, part_max_bytes
        self._metrics = metrics
        self._audit = audit
        self._admission = admission
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started = Headers(scope=scope), time.perf_counter()
        if scope["method"] == "POST" and scope["path"].startswith(f"{_UPLOADS}/"):
            # tus, for clients behind proxies that only pass GET and POST
            override = headers.get("x-http-method-override", "")
            scope["method"] = override if override in ("PATCH", "DELETE") else "POST"
        kind, priority = kind_of_request(scope["path"])
        address = self._proxies.client_address(scope, headers)
        scope["scheme"] = self._proxies.scheme(scope, headers)
        request = RequestContext(address, priority)
        set_current_request(request)
        response = _ProtectedResponse(scope, send, request.request_id)
        try:
            refusal = self._check_host(headers)
            if refusal is None:
                self._authenticate(scope, headers, request)
        except WsigraphError as error:
            refusal = problem_response(error)
        try:
            if refusal is not None:
                await refusal(scope, receive, response.send)
            else:
                await self._handle(scope, ClientWatch(receive, request), response, request, kind)
        finally:
            self._metrics.count(scope, response.status, time.perf_counter() - started)
            self._record(scope, response, address, request)

    async def _handle(
        self, scope: Scope, watch: ClientWatch, response: _ProtectedResponse, request: RequestContext, kind: str
    ) -> None:
        """Have the application handle a request, once its caller may have another one handled."""
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        try:
            if not has_body:
                await watch.begin()
            left = None if has_body else watch.wait_until_left
            async with self._admission.admit(request.caller, kind, left, request) as is_admitted:
                if is_admitted:
                    body = _LimitedBody(watch.receive, self._max_body_bytes(scope), response)
                    await self._app(scope, body.receive, response.send)
        except (TooMany, Unavailable) as error:
            await problem_response(error)(scope, watch.receive, response.send)
        finally:
            watch.end()

    def _record(self, scope: Scope, response: _ProtectedResponse, address: str, request: RequestContext) -> None:
        route = getattr(scope.get("route"), "path", None) or ""
        principal: Principal | None = scope.get("principal")
        line = {
            "principal": principal.name if principal else "",
            "address": address,
            "method": scope["method"],
            "path": scope["path"],
            "status": response.status,
            "request": request.request_id,
        }
        if is_audited(scope["method"], route, response.status):
            self._audit.record(**line)
        elif response.shows_pixels:
            self._audit.record_view(viewed_subject(scope), **line)

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

    def _authenticate(self, scope: Scope, headers: Headers, request: RequestContext) -> None:
        """Set the principal of a request, and check its rate limit, its origin and its size."""
        token = _bearer_token(headers)
        session_id = "" if token else read_cookie(headers, cookie_name(scope["scheme"]))
        principal = None
        if token:
            principal = self._tokens.principal(token)
        elif session_id and (owner := self._sessions.owner(session_id)) is not None:
            principal = owner if isinstance(owner, Principal) else self._tokens.principal_of(owner)
        must_sign_in = self._has_provider or len(self._tokens) > 0
        scope["principal"] = principal if must_sign_in else LOCAL
        # clients without a valid token are limited by address, so that guessing tokens is slow
        if principal is not None and must_sign_in:
            request.caller = principal.name
        self._rate_limiter.take(request.caller, scope["path"])
        if must_sign_in and token and principal is None:
            raise NotSignedIn("the token is not valid; ask the operator of this service for another")
        if scope["method"] in _UNSAFE:
            _check_origin(headers, by_cookie=bool(session_id))
        length = headers.get("content-length", "0")
        bound = self._max_body_bytes(scope)
        if not length.isdigit() or int(length) > bound:
            raise TooLarge(f"the request has {length[:20]} bytes, more than the {bound} allowed")

    def _max_body_bytes(self, scope: Scope) -> int:
        is_part = scope["method"] == "PATCH" and scope["path"].startswith("/v1/uploads/")
        return self._part_max if is_part else self._body_max


class _ProtectedResponse:
    """Adds security headers to a response, and replaces it if its request turned out to be too large.

    Attributes
    ----------
    status : int
        HTTP status of the response that was sent; 500 before.
    shows_pixels : bool
        Whether it is an image, or an image that the client has already.
    """

    def __init__(self, scope: Scope, send: Send, request_id: str) -> None:
        self.status = 500
        self.shows_pixels = False
        self._scope, self._send, self._request_id = scope, send, request_id
        self._has_started = False
        self._too_large: TooLarge | None = None
        self._is_replaced = False

    def refuse(self, error: TooLarge) -> None:
        """Send this problem instead of what the application responds, unless its response has begun."""
        self._too_large = error

    async def send(self, message: Message) -> None:
        """Send one message of the response."""
        if self._too_large is not None and not self._has_started:
            # whoever parses the body turns every error into "400, malformed"
            error, self._too_large, self._is_replaced = self._too_large, None, True
            await problem_response(error)(self._scope, _nothing, self._send_protected)
        elif not self._is_replaced:
            await self._send_protected(message)

    async def _send_protected(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_started = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            _add_security_headers(headers, self._scope["path"])
            headers["X-Request-ID"] = self._request_id
            if self._scope["path"].startswith(_UPLOADS):
                # tus demands it in every response, errors too
                headers["Tus-Resumable"] = "1.0.0"
            is_image = headers.get("content-type", "").startswith("image/")
            self.shows_pixels = self.status in (200, 304) and (
                is_image or any(part in self._scope["path"] for part in _PIXELS)
            )
        await self._send(message)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class _LimitedBody:
    """Stops a body that is larger than its Content-Length promised, or than allowed."""

    def __init__(self, receive: Receive, max_bytes: int, response: _ProtectedResponse) -> None:
        self._receive, self._max_bytes, self._response = receive, max_bytes, response
        self._n_bytes = 0

    async def receive(self) -> Message:
        """Return the next message of the body."""
        message = await self._receive()
        self._n_bytes += len(message.get("body", b""))
        if self._n_bytes > self._max_bytes:
            error = TooLarge(f"the request has more than the {self._max_bytes} bytes allowed")
            self._response.refuse(error)
            raise error
        return message


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


def _bearer_token(headers: Headers) -> str:
    """Return the token of a request; empty if there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def read_cookie(headers: Headers, name: str) -> str:
    """Return a cookie of a request; empty if there is none."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
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
