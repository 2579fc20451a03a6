"""Authentication and roles. Tokens are stored as digests and compared in constant time.

A token has 256 random bits, so one round of SHA-256 protects it. A slow hash would only help for passwords that people
choose, and those are refused. Without tokens the service only listens on loopback, and every client is the
administrator.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import os
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from wsigraph.errors import NotAllowed, NotSignedIn, ServiceError

READ, RUN, ADMIN = "read", "run", "admin"
ROLES = (READ, RUN, ADMIN)
"""Each role includes the rights of the roles before it."""
_MIN_CHARACTERS = 32
_LOOK_EVERY_S = 1.0
_log = logging.getLogger("wsigraph.service")
_LINE = re.compile(r"^(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<role>read|run|admin):(?P<digest>[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The authenticated client of a request.

    Attributes
    ----------
    name : str
        Name of the token. It owns the jobs and uploads that are started with it.
    role : str
        One of `ROLES`.
    """

    name: str
    role: str

    def has_role(self, role: str) -> bool:
        """Return whether the principal has the rights of `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Principal(name="local", role=ADMIN)
"""Principal of every request to a service without tokens."""


class Tokens:
    """Digests of the valid tokens.

    Parameters
    ----------
    digests : iterable of (Principal, str)
        Principals, and the SHA-256 of their tokens.
    path : Path, optional
        Token file that they come from. It is read again when it changes.
    """

    def __init__(self, digests: Iterable[tuple[Principal, str]] = (), path: Path | None = None) -> None:
        self._digests = list(digests)
        # tokens of the command line stay when the file changes
        self._added: list[tuple[Principal, str]] = []
        self._path = path
        self._version = _file_version(path)
        self._look_at = time.monotonic() + _LOOK_EVERY_S

    def __len__(self) -> int:
        return len(self._digests) + len(self._added)

    def add(self, principal: Principal, token: str) -> None:
        """Add a token in plain text.

        Raises
        ------
        ServiceError
            If it is too short to be secure.
        """
        if len(token) < _MIN_CHARACTERS:
            raise ServiceError(
                f"the token of {principal.name!r} has {len(token)} characters, expected at least {_MIN_CHARACTERS}; "
                "make one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
            )
        self._added.append((principal, digest(token)))

    def principal(self, token: str) -> Principal | None:
        """Return the principal of a token, or None. Takes the same time for every token."""
        return self.principal_of(digest(token))

    def principal_of(self, token_digest: str) -> Principal | None:
        """Return the principal of the digest of a token, or None. Takes the same time for every digest."""
        self._refresh()
        match: Principal | None = None
        for principal, valid_digest in (*self._digests, *self._added):
            if hmac.compare_digest(token_digest, valid_digest):
                match = principal
        return match

    def _refresh(self) -> None:
        """Read the file again if it has changed. A faulty file is logged, and the tokens stay as they were."""
        now = time.monotonic()
        if self._path is None or now < self._look_at:
            return
        self._look_at = now + _LOOK_EVERY_S
        version = _file_version(self._path)
        if version != self._version:
            self._version = version
            try:
                self._digests = _read_digests(self._path)
            except ServiceError as error:
                _log.error("%s; the tokens stay as they were", error)


def _file_version(path: Path | None) -> tuple[int, int, int] | None:
    try:
        stat = path.stat() if path is not None else None
    except OSError:
        return None
    return None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def digest(token: str) -> str:
    """Return the SHA-256 of a token, 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> Tokens:
    """Read a token file: lines of NAME:ROLE:SHA256, and comments.

    Parameters
    ----------
    path : Path
        Token file.

    Returns
    -------
    Tokens
        At least one token. They follow the file when it changes.

    Raises
    ------
    ServiceError
        If it cannot be read, other users can write it, or a line is not a token.
    """
    return Tokens(_read_digests(path), path)


def _read_digests(path: Path) -> list[tuple[Principal, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"token file {path} cannot be read ({error}); give another --token-file") from None
    if os.name == "posix" and mode & 0o022:
        raise ServiceError(f"token file {path} is writable by other users; run: chmod 600 {path}")
    digests = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.match(text)
        if match is None:
            raise ServiceError(
                f"token file {path}, line {number}: expected NAME:ROLE:SHA256 with a role of {', '.join(ROLES)}; make "
                "one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
            )
        digests.append((Principal(name=match["name"], role=match["role"]), match["digest"]))
    if not digests:
        raise ServiceError(
            f"token file {path} holds no token; make one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
        )
    return digests


def new_token(path: Path, name_and_role: str) -> str:
    """Create a token and add its digest to a file.

    Parameters
    ----------
    path : Path
        Token file. Created with access for its owner only if it does not exist.
    name_and_role : str
        NAME:ROLE.

    Returns
    -------
    str
        The token. It is not stored anywhere.

    Raises
    ------
    ServiceError
        If the name or the role is invalid, the name exists already, or the file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    line = f"{name_and_role}:{digest(token)}"
    if not _LINE.match(line):
        raise ServiceError(f"--new-token {name_and_role}: expected NAME:ROLE with a role of {', '.join(ROLES)}")
    name = name_and_role.partition(":")[0]
    try:
        if path.exists() and any(entry.startswith(f"{name}:") for entry in path.read_text("utf-8").splitlines()):
            raise ServiceError(f"token file {path} has a token named {name!r} already; remove its line first")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise ServiceError(
            f"token file {path} cannot be written ({error.strerror}); give another --token-file"
        ) from None
    return token


def is_loopback_name(host: str) -> bool:
    """Return whether a host name or address can only be reached from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def request_principal(request: Request) -> Principal:
    """Return the principal of a request.

    Raises
    ------
    NotSignedIn
        If the request has no valid token.
    """
    principal: Principal | None = request.scope.get("principal")
    if principal is None:
        raise NotSignedIn("this request needs a valid token; send it as 'Authorization: Bearer TOKEN'")
    return principal


def require_role(role: str) -> Callable[[Request], Awaitable[Principal]]:
    """Return a FastAPI dependency that requires a role.

    Parameters
    ----------
    role : str
        One of `ROLES`.

    Returns
    -------
    callable
        The dependency. It returns the principal.

    Raises
    ------
    NotAllowed
        Raised by the dependency if the principal does not have the role.
    """

    # asynchronous, because every tile passes through here and a thread would cost more
    async def _check(request: Request) -> Principal:
        principal = request_principal(request)
        if not principal.has_role(role):
            raise NotAllowed(
                f"the token of {principal.name!r} has the role {principal.role}; this needs the role {role}"
            )
        return principal

    return _check
