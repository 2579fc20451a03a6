"""Sessions: a signed-in browser has a random identifier, and the service knows whose it is and until when.

The token never reaches the cookie, nor do those of an OpenID Connect provider. A session ends when it expires, when its
browser signs out, when its token is removed from the token file, and with the service, which keeps sessions in memory
only.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

from wsigraph.service.security.auth import Principal, digest

COOKIE = "wsigraph-session"
"""Name of the cookie of a signed-in browser."""
SECURE_COOKIE = "__Host-wsigraph-session"
"""Its name under TLS: browsers accept it only from this host, over TLS, and for all paths."""
_MAX_SESSIONS = 10_000


def cookie_name(scheme: str) -> str:
    """Return the name of the cookie; under TLS only the secure one counts."""
    return SECURE_COOKIE if scheme == "https" else COOKIE


class Sessions:
    """The open sessions. It is safe to use from several threads.

    Parameters
    ----------
    lasts_s : float
        Time until a session expires, s.
    clock : callable, optional
        Returns a monotonic time in seconds.
    """

    def __init__(self, lasts_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lasts_s = lasts_s
        self._clock = clock
        # by the digest of its identifier: the digest of its token or its account, and when it expires
        self._sessions: LRUCache[str, tuple[str | Principal, float]] = LRUCache(_MAX_SESSIONS)
        self._lock = threading.Lock()

    def begin(self, token: str) -> str:
        """Begin a session for a valid token. Return its identifier, 256 random bits."""
        return self._begin(digest(token))

    def begin_for(self, principal: Principal) -> str:
        """Begin a session for an account that has signed in elsewhere. Return its identifier, 256 random bits."""
        return self._begin(principal)

    def _begin(self, owner: str | Principal) -> str:
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[digest(session_id)] = (owner, self._clock() + self.lasts_s)
        return session_id

    def owner(self, session_id: str) -> str | Principal | None:
        """Return the digest of the token of a session, or its account; None if there is no session, or it expired."""
        key = digest(session_id)
        with self._lock:
            owner, expires_at = self._sessions.get(key, ("", 0.0))
            if not owner:
                return None
            if self._clock() >= expires_at:
                del self._sessions[key]
                return None
            return owner

    def end(self, session_id: str) -> None:
        """End a session, so that its identifier is worth nothing from now on."""
        with self._lock:
            self._sessions.pop(digest(session_id), None)
