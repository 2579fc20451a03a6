"""Audit log: who did what and when, one JSON object a line."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from cachetools import LRUCache
from starlette.types import Scope

_CHANGES = frozenset({"POST", "PATCH", "DELETE"})
_REFUSALS = frozenset({401, 403, 421, 429})
_PATIENT_DATA = ("/v1/slides/{slide_id}", "/results/{name}", "/associated/{name}.jpeg", "/thumbnail.jpeg")
_SIGN_IN = "/oidc/callback"
_VIEW_S = 600.0
_MAX_VIEWS = 10_000


class Audit:
    """An append-only log. It is safe to use from several threads.

    Parameters
    ----------
    path : Path
        The log file. Only its owner can read it.
    max_bytes : int
        Size at which the file is renamed with a time stamp and a new one is started.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        # when each viewer's look at a subject was noted
        self._viewed_at: LRUCache[tuple[str, str, str], float] = LRUCache(_MAX_VIEWS)

    def record(self, *, principal: str, address: str, method: str, path: str, status: int, **more: Any) -> None:
        """Add one answered request."""
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "principal": principal,
            "address": address,
            "method": method,
            "path": path[:500],
            "status": status,
            **more,
        }
        encoded = (json.dumps(line) + "\n").encode()
        with self._lock:
            descriptor = self._open()
            os.write(descriptor, encoded)
            if os.fstat(descriptor).st_size > self._max_bytes:
                os.close(descriptor)
                self._descriptor = None
                self._path.rename(self._path.with_name(f"{self._path.stem}-{time.time_ns()}{self._path.suffix}"))

    def record_view(self, subject: str, **line: Any) -> None:
        """Add a look at the pixels of a subject: one line for each viewer every ten minutes, not one for each tile."""
        viewer = (line["principal"], line["address"], subject)
        now = time.monotonic()
        with self._lock:
            is_known = now - self._viewed_at.get(viewer, -_VIEW_S) < _VIEW_S
            if not is_known:
                self._viewed_at[viewer] = now
        if not is_known:
            self.record(**line, view=subject)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._descriptor


def is_audited(method: str, route: str, status: int) -> bool:
    """Return whether a response is logged: changes, sign-ins, refusals, and reads of patient data other than tiles."""
    if status in _REFUSALS or (method in _CHANGES and not (method == "PATCH" and status == 200)):
        return True
    if route.endswith(_SIGN_IN) and status < 400:
        return True
    return method == "GET" and status == 200 and route.endswith(_PATIENT_DATA)


def viewed_subject(scope: Scope) -> str:
    """Return the identifier of the slide or job whose pixels a request asked for."""
    parameters = scope.get("path_params") or {}
    return str(parameters.get("slide_id") or parameters.get("job_id") or scope["path"][:200])
