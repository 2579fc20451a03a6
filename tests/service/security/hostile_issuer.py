"""An OpenID Connect provider on a socket that answers as an attacker would, for tests of what is refused.

That a sign-in works is shown with a provider that is not written here, see `test_oidc.py`.
"""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SUBJECT = "wsigraph", "ann"
KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "1"}) for _ in range(2))


@dataclass
class Issuer:
    """What the provider says. A test changes one thing, and a sign-in has to fail."""

    url: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    signs_with_another_key: bool = False
    redirects: bool = False
    nonce: str = ""
    forms: list[dict[str, str]] = field(default_factory=list)

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "sub": SUBJECT, "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": self.nonce}
        claims = {name: value for name, value in (claims | self.claims).items() if value is not None}
        if self.algorithm == "none":
            parts = ({"alg": "none"}, claims)
            return ".".join(_encoded(json.dumps(part).encode()) for part in parts) + "."
        if self.algorithm == "HS256":
            # the public key as the secret: the confusion of algorithms
            signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "1"}, claims))
            return f"{signed}.{_encoded(hmac.digest(KEY.as_pem(private=False), signed.encode(), 'sha256'))}"
        key = OTHER_KEY if self.signs_with_another_key else KEY
        return jwt.encode({"alg": self.algorithm, "kid": "1"}, claims, key)

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            ends = {"authorization_endpoint": "auth", "token_endpoint": "token", "jwks_uri": "jwks"}
            ends |= {"userinfo_endpoint": "me", "end_session_endpoint": "end"}
            return 200, {
                "issuer": self.url,
                **{name: f"{self.url}/{end}" for name, end in ends.items()},
                **self.metadata,
            }
        if path == "/jwks":
            return 200, {"keys": [KEY.as_dict(private=False)]}
        if path == "/token":
            return 200, {"access_token": "a", "token_type": "Bearer", "id_token": self.id_token()}
        if path == "/me":
            return 200, {"sub": SUBJECT, **self.info}
        return 404, {}


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@contextmanager
def hostile_issuer() -> Iterator[Issuer]:
    """Serve a provider; gives what it says."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if body:
                issuer.forms.append({name: values[0] for name, values in parse_qs(body.decode()).items()})
            status, value = issuer.answer(urlsplit(self.path).path)
            if issuer.redirects and self.path == "/token":
                self.send_response(307)
                self.send_header("Location", f"{issuer.url}/token?again")
                self.end_headers()
                return
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield issuer
        server.shutdown()
