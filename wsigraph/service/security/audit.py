"""Who did what and when, one line of JSON each; for whoever has to answer for patient data."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

_CHANGES = frozenset({"POST", "PATCH", "DELETE"})
_REFUSALS = frozenset({401, 403, 421, 429})
_PATIENT_DATA = ("/v1/slides/{slide_id}", "/results/{name}", "/associated/{name}.jpeg", "/thumbnail.jpeg")


class Audit:
    """An append-only log; safe to use from several threads.

    Parameters
    ----------
    path : Path
        The file, readable by its owner alone.
    max_bytes : int
        Size at which it is put aside under the time and a new one is begun.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def note(self, *, caller: str, address: str, method: str, path: str, status: int, **more: Any) -> None:
        """Note one request that was answered."""
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "caller": caller,
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

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._descriptor


def is_noted(method: str, route: str, status: int) -> bool:
    """Return whether an answer goes into the log: changes, refusals, and looks at patient data but for tiles."""
    if status in _REFUSALS or (method in _CHANGES and not (method == "PATCH" and status == 200)):
        return True
    return method == "GET" and status == 200 and route.endswith(_PATIENT_DATA)
