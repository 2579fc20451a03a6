"""Sign-in through an OpenID Connect provider: authorization code flow with PKCE, state and nonce.

The browser gets a random identifier of a session, as with a token; tokens of the provider never reach it. A sign-in
belongs to the browser that began it and is used once. The role comes from the groups of the account, and an account
without such a group is refused.

References
----------
OpenID Connect Core 1.0, sections 3.1.2 and 3.1.3.7 (validation of the ID token). RFC 7636 (PKCE). RFC 9207 (issuer in
the response). RFC 9700, Best Current Practice for OAuth 2.0 Security.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from cachetools import TTLCache

from wsigraph.config import ServiceConfig
from wsigraph.errors import ConfigError, NotAllowed, NotSignedIn, PluginError, Unavailable
from wsigraph.service.security.auth import ROLES, Principal, digest, is_loopback_name

CALLBACK = "v1/session/oidc/callback"
"""Path to which the provider sends the browser back."""
NAME_PREFIX = "oidc:"
"""Begins the names of those who sign in through the provider. No token has such a name."""
SIGN_IN_S = 600.0
"""Time to sign in at the provider, s."""
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_MAX_SIGN_INS, _MAX_BYTES, _MAX_NAME = 10_000, 1_000_000, 59
_TIME_S, _LEEWAY_S, _METADATA_S, _RETRY_S = 10.0, 60, 3600.0, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _SignIn:
    """A sign-in that a browser has begun."""

    nonce: str
    verifier: str
    browser: str


class OidcClient:
    """The service as a client of an OpenID Connect provider. It is safe to use from several threads.

    Parameters
    ----------
    config : ServiceConfig
        Issuer, client, groups and roles.
    clock : callable, optional
        Returns a monotonic time in seconds.

    Raises
    ------
    ConfigError
        If a setting that is needed is missing or insecure.
    PluginError
        If authlib is not installed.
    """

    def __init__(self, config: ServiceConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = str(config.oidc_issuer)
        self._client_id = config.oidc_client_id
        self._public_url = config.public_url or ""
        self._scopes = " ".join(config.oidc_scopes)
        self._groups_claim, self._name_claim = config.oidc_groups_claim, config.oidc_name_claim
        self._check()
        self._roles = read_roles(config.oidc_roles)
        self._secret = _read_secret(config.oidc_client_secret_file)
        self._clock = clock
        self._sign_ins: TTLCache[str, _SignIn] = TTLCache(_MAX_SIGN_INS, SIGN_IN_S, timer=clock)
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._failure: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def _check(self) -> None:
        try:
            import authlib  # noqa: F401
        except ImportError as error:
            raise PluginError(
                f"service.oidc_issuer needs authlib ({error}); install it with: pip install 'wsigraph[oidc]'"
            ) from None
        if not self._client_id:
            raise ConfigError("service.oidc_issuer needs service.oidc_client_id, as registered at the provider")
        for name, url in (("oidc_issuer", self._issuer), ("public_url", self._public_url)):
            if not _is_secure(url):
                raise ConfigError(
                    f"service.{name} is {url!r}, expected an https:// address (http:// only on loopback), which "
                    "sign-in through a provider needs"
                )
        if not self._public_url.endswith("/"):
            raise ConfigError(f"service.public_url is {self._public_url!r}, expected a slash at its end")

    @property
    def public_url(self) -> str:
        """Address of the page."""
        return self._public_url

    @property
    def sign_out_url(self) -> str | None:
        """Address at which a browser also signs out at the provider; None if it has none."""
        try:
            end = self._discover().get("end_session_endpoint")
        except (NotSignedIn, Unavailable):
            # an open session does not depend on the provider
            return None
        if not isinstance(end, str) or not _is_secure(end):
            return None
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": self._public_url})
        return _with_query(end, query)

    def begin(self) -> tuple[str, str]:
        """Begin a sign-in.

        Returns
        -------
        tuple of str, str
            Address at the provider, and a secret for a cookie of the browser.

        Raises
        ------
        Unavailable
            If the provider does not answer.
        """
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        endpoint = self._endpoint("authorization_endpoint")
        state, browser, nonce = (secrets.token_urlsafe(32) for _ in range(3))
        verifier = secrets.token_urlsafe(48)
        with self._lock:
            self._sign_ins[digest(state)] = _SignIn(nonce=nonce, verifier=verifier, browser=digest(browser))
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._public_url + CALLBACK,
            "scope": self._scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": create_s256_code_challenge(verifier),
            "code_challenge_method": "S256",
        }
        return _with_query(endpoint, urlencode(query)), browser

    def finish(self, query: Mapping[str, str], browser: str) -> Principal:
        """Return who has signed in.

        Parameters
        ----------
        query : mapping of str
            Parameters with which the provider sent the browser back.
        browser : str
            Value of the cookie of the browser.

        Returns
        -------
        Principal
            The account, with the highest role of its groups.

        Raises
        ------
        NotAllowed
            If no group of the account has a role.
        NotSignedIn
            If anything is not as this sign-in demands.
        Unavailable
            If the provider does not answer.
        """
        sign_in = self._take(query.get("state", ""), browser)
        if query.get("iss", self._issuer) != self._issuer:
            raise NotSignedIn("the response comes from another provider; sign in again")
        if "error" in query:
            raise NotSignedIn(f"the provider refused the sign-in ({query['error'][:80]!r}); try again")
        tokens = self._exchange(query.get("code", ""), sign_in.verifier)
        claims = self._verify(tokens, sign_in.nonce)
        if self._groups_claim not in claims or self._name_claim not in claims:
            claims = {**self._user_info(tokens, str(claims["sub"])), **claims}
        return self._principal(claims)

    def _take(self, state: str, browser: str) -> _SignIn:
        """Return the sign-in of a state, which can be used once, by the browser that began it."""
        with self._lock:
            sign_in = self._sign_ins.pop(digest(state), None)
        if sign_in is None or not secrets.compare_digest(sign_in.browser, digest(browser)):
            raise NotSignedIn("this sign-in was not begun by this browser, is used up, or took too long; sign in again")
        return sign_in

    def _exchange(self, code: str, verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._public_url + CALLBACK,
            "code_verifier": verifier,
        }
        authentication = None
        if self._secret is None:
            form["client_id"] = self._client_id
        else:
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined
            authentication = (_form_encoded(self._client_id), _form_encoded(self._secret))
        endpoint = self._endpoint("token_endpoint")
        return self._json("POST", endpoint, data=form, auth=authentication)

    def _verify(self, tokens: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        """Return the claims of the ID token; see OpenID Connect Core, section 3.1.3.7."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        keys = self._json("GET", self._endpoint("jwks_uri"))
        try:
            # secrets of the client are never keys: a token "signed" with a public value must not pass
            token = jwt.decode(
                str(tokens.get("id_token", "")),
                KeySet.import_key_set(keys),  # type: ignore[arg-type]
                algorithms=list(_ALGORITHMS),
            )
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self._issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
                {"nonce": nonce, "client_id": self._client_id, "access_token": tokens.get("access_token")},
            )
            claims.validate(leeway=_LEEWAY_S)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise NotSignedIn(
                f"the ID token of the provider is not valid ({type(error).__name__}); sign in again, or check "
                "service.oidc_issuer and oidc_client_id"
            ) from None
        return dict(claims)

    def _user_info(self, tokens: Mapping[str, Any], subject: str) -> dict[str, Any]:
        """Return the claims that are not in the ID token."""
        if "userinfo_endpoint" not in self._discover() or "access_token" not in tokens:
            return {}
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        claims = self._json("GET", self._endpoint("userinfo_endpoint"), headers=bearer)
        if claims.get("sub") != subject:
            raise NotSignedIn("the provider describes another account than the one that signed in; sign in again")
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        groups = claims.get(self._groups_claim)
        groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        roles = {role for group, role in self._roles if group in groups}
        name = claims.get(self._name_claim)
        if not isinstance(name, str) or not name or not name.isprintable():
            raise NotSignedIn(f"the account has no claim {self._name_claim!r}; set service.oidc_name_claim")
        if len(name) > _MAX_NAME:
            # the tables of jobs keep 64 characters of an owner
            name = hashlib.sha256(name.encode()).hexdigest()[:40]
        if not roles:
            raise NotAllowed(
                f"no group of the account {name!r} has a role here; ask the operator of this service for one "
                "(service.oidc_roles)"
            )
        return Principal(name=NAME_PREFIX + name, role=max(roles, key=ROLES.index))

    def _endpoint(self, name: str) -> str:
        url = self._discover().get(name)
        if not isinstance(url, str) or not _is_secure(url):
            raise Unavailable(f"the provider has no secure {name}; check service.oidc_issuer")
        return url

    def _discover(self) -> dict[str, Any]:
        """Return the metadata of the provider; OpenID Connect Discovery 1.0, section 4."""
        kept = self._metadata
        if kept is not None and self._clock() < kept[0]:
            return kept[1]
        if self._failure is not None and self._clock() < self._failure[0]:
            raise Unavailable(self._failure[1])
        try:
            metadata = self._json("GET", self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        except (NotSignedIn, Unavailable) as error:
            # so that not every request waits for a provider that does not answer
            self._failure = (self._clock() + _RETRY_S, str(error))
            raise Unavailable(str(error)) from None
        if metadata.get("issuer") != self._issuer:
            raise Unavailable(
                f"the provider calls itself {str(metadata.get('issuer'))[:200]!r}, expected service.oidc_issuer "
                f"{self._issuer!r}; correct the setting"
            )
        self._metadata = (self._clock() + _METADATA_S, metadata)
        return metadata

    def _json(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        """Return a JSON object of the provider. No redirect is followed, and no proxy of the environment is used."""
        if options.get("auth") is None:
            options.pop("auth", None)
        content = bytearray()
        try:
            with (
                httpx.Client(timeout=_TIME_S, trust_env=False) as client,
                client.stream(
                    method, url, headers=options.pop("headers", {"Accept": "application/json"}), **options
                ) as answer,
            ):
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > _MAX_BYTES:
                        raise Unavailable("the provider sends more than a megabyte; check service.oidc_issuer")
                status = answer.status_code
            value = json.loads(content) if status == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(
                f"the provider does not answer as expected ({type(error).__name__}); check service.oidc_issuer"
            ) from None
        if status in (400, 401, 403):
            raise NotSignedIn(f"the provider refused the sign-in ({status}); sign in again")
        if not isinstance(value, dict):
            raise Unavailable(f"the provider answers {status} without JSON; check service.oidc_issuer")
        return value


def read_roles(settings: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the groups and their roles.

    Parameters
    ----------
    settings : tuple of str
        ``service.oidc_roles``: GROUP=ROLE each. A group may contain "=".

    Returns
    -------
    tuple of (str, str)
        Group and role.

    Raises
    ------
    ConfigError
        If there is none, or one is not of this form.
    """
    roles = []
    for setting in settings:
        group, _, role = setting.rpartition("=")
        if not group or role not in ROLES:
            raise ConfigError(f"service.oidc_roles: {setting!r}, expected GROUP=ROLE with a role of {', '.join(ROLES)}")
        roles.append((group, role))
    if not roles:
        raise ConfigError("service.oidc_issuer needs service.oidc_roles, e.g. ['pathologists=run']; nobody has a role")
    return tuple(roles)


def _read_secret(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        if Path(path).stat().st_mode & 0o077:
            raise ConfigError(
                f"service.oidc_client_secret_file {path} can be read by other users; run: chmod 600 {path}"
            )
        secret = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"service.oidc_client_secret_file {path} cannot be read ({error})") from None
    if not secret:
        raise ConfigError(f"service.oidc_client_secret_file {path} is empty, expected the secret of the client")
    return secret


def _is_secure(url: str) -> bool:
    """Return whether an address has TLS, or is on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback_name(host)))


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}"


def _form_encoded(text: str) -> str:
    return urlencode({"": text})[1:]
