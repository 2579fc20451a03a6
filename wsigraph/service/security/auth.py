"""Who asks, and how far the role reaches: tokens hashed at rest, compared in constant time.

Tokens are 256 random bits, so one round of SHA-256 is all that hiding them takes; a slow hash would only guard words
that people choose, and those are refused. Without tokens the service listens on loopback alone and every caller is
the administrator.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from wsigraph.errors import NotAllowed, NotSignedIn, ServiceError

READ, RUN, ADMIN = "read", "run", "admin"
ROLES = (READ, RUN, ADMIN)
"""Each role may do what those before it may."""
COOKIE = "wsigraph-token"
"""Cookie of a browser that has signed in."""
_MIN_CHARACTERS = 32
_LINE = re.compile(r"^(?P<name>[A-Za-z0-9._@-]{1,64}):(?P<role>read|run|admin):(?P<digest>[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks.

    Attributes
    ----------
    name : str
        Name of the token; owner of the jobs that are started with it.
    role : str
        One of `ROLES`.
    """

    name: str
    role: str

    def reaches(self, role: str) -> bool:
        """Return whether the caller may do what takes `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)


LOCAL = Caller(name="local", role=ADMIN)
"""Every caller of a service without tokens."""


class Tokens:
    """The tokens that are known, as digests.

    Parameters
    ----------
    known : iterable of (Caller, str)
        Callers and the SHA-256 of their tokens.
    """

    def __init__(self, known: Iterable[tuple[Caller, str]] = ()) -> None:
        self._known = list(known)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, caller: Caller, token: str) -> None:
        """Add a token in plain text.

        Raises
        ------
        ServiceError
            If it is too short to be safe.
        """
        if len(token) < _MIN_CHARACTERS:
            raise ServiceError(
                f"the token of {caller.name!r} has {len(token)} characters, expected at least {_MIN_CHARACTERS}; make "
                "one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
            )
        self._known.append((caller, digest(token)))

    def caller(self, token: str) -> Caller | None:
        """Return whose token it is, or None; takes as long for any token."""
        met = digest(token)
        found: Caller | None = None
        for caller, known in self._known:
            if hmac.compare_digest(met, known):
                found = caller
        return found


def digest(token: str) -> str:
    """Return the SHA-256 of a token, 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def read_tokens(path: Path) -> Tokens:
    """Return the tokens of a file: lines of NAME:ROLE:SHA256, and comments.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Tokens
        At least one.

    Raises
    ------
    ServiceError
        If it does not read, other users may write it, or a line is no token.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"token file {path} does not read ({error}); give another --token-file") from None
    if os.name == "posix" and mode & 0o022:
        raise ServiceError(f"token file {path} may be written by other users; run: chmod 600 {path}")
    known = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        found = _LINE.match(text)
        if found is None:
            raise ServiceError(
                f"token file {path}, line {number}: expected NAME:ROLE:SHA256 with a role of {', '.join(ROLES)}; make "
                "one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
            )
        known.append((Caller(name=found["name"], role=found["role"]), found["digest"]))
    if not known:
        raise ServiceError(
            f"token file {path} holds no token; make one with: wsigraph serve --token-file FILE --new-token NAME:ROLE"
        )
    return Tokens(known)


def new_token(path: Path, name_and_role: str) -> str:
    """Add a token to a file, of which only the digest is kept.

    Parameters
    ----------
    path : Path
        The file; made, for its owner alone, where it is not there.
    name_and_role : str
        NAME:ROLE.

    Returns
    -------
    str
        The token, which is not stored anywhere.

    Raises
    ------
    ServiceError
        If the name or the role is none, the name is taken, or the file cannot be written.
    """
    token = secrets.token_urlsafe(32)
    line = f"{name_and_role}:{digest(token)}"
    if not _LINE.match(line):
        raise ServiceError(f"--new-token {name_and_role}: expected NAME:ROLE with a role of {', '.join(ROLES)}")
    name = name_and_role.partition(":")[0]
    try:
        if path.exists() and any(each.startswith(f"{name}:") for each in path.read_text("utf-8").splitlines()):
            raise ServiceError(f"token file {path} holds a token of {name!r} already; remove its line first")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(line + "\n")
    except OSError as error:
        raise ServiceError(
            f"token file {path} cannot be written ({error.strerror}); give another --token-file"
        ) from None
    return token


def caller_of(request: Request) -> Caller:
    """Return who asks.

    Raises
    ------
    NotSignedIn
        If nobody that is known.
    """
    caller: Caller | None = request.scope.get("caller")
    if caller is None:
        raise NotSignedIn("this needs a token that the service knows; send it as 'Authorization: Bearer TOKEN'")
    return caller


def needs(role: str) -> Callable[[Request], Awaitable[Caller]]:
    """Return what lets a route be called by those alone whose role reaches so far.

    Parameters
    ----------
    role : str
        One of `ROLES`.

    Returns
    -------
    callable
        A dependency.

    Raises
    ------
    NotAllowed
        By the dependency, if the caller's role does not reach.
    """

    # asynchronous, so that it costs no turn in a thread: every tile passes here
    async def _check(request: Request) -> Caller:
        caller = caller_of(request)
        if not caller.reaches(role):
            raise NotAllowed(f"the token of {caller.name!r} has the role {caller.role}, this needs {role}")
        return caller

    return _check
