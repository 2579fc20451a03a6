"""Upload checks: opens complete uploads in the background, until there is a verdict on each.

A check that could not run (the process died, took too long, or the service ended) is no verdict, and is made again: at
once after an empty part, otherwise after a while that doubles each time, and when the service starts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from wsigraph.errors import Conflict, SlideError, StoreError, TooLarge, Unavailable
from wsigraph.service.upload_note import Upload
from wsigraph.service.upload_store import UploadStore

_THREADS = 32
_FIRST_WAIT_S, _LAST_WAIT_S = 2.0, 600.0
_log = logging.getLogger("wsigraph.service")


class _Check:
    """The check of one upload. `attempt` ends with the attempt that runs now or next."""

    def __init__(self) -> None:
        self.attempt: Future[None] = Future()
        self.again = threading.Event()
        self.detail = ""


class UploadChecks:
    """Checks of complete uploads. It is safe to use from several threads.

    Parameters
    ----------
    uploads : UploadStore
        The uploads.
    check : callable
        Opens the file of an owner; see `UploadStore.finish`.
    on_slide : callable
        Called when an upload has become a slide.
    """

    def __init__(self, uploads: UploadStore, check: Callable[[Path, str], None], on_slide: Callable[[], None]) -> None:
        self._uploads, self._check, self._on_slide = uploads, check, on_slide
        self._checks: dict[str, _Check] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads = ThreadPoolExecutor(_THREADS, "wsigraph-check")

    def start(self) -> None:
        """Check the complete uploads that an earlier run of the service left without a verdict."""
        for upload in self._uploads.complete():
            self.submit(upload)

    def submit(self, upload: Upload) -> Future[None]:
        """Check an upload now. Return a future that ends with the attempt, whether there is a verdict or not."""
        with self._lock:
            check = self._checks.get(upload.upload_id)
            if check is None:
                check = self._checks[upload.upload_id] = _Check()
                if self._closing.is_set():
                    check.attempt.set_result(None)
                else:
                    self._threads.submit(self._run, upload, check)
            check.again.set()
            return check.attempt

    def detail(self, upload_id: str) -> str:
        """Return why the last attempt gave no verdict; empty if there was none."""
        check = self._checks.get(upload_id)
        return check.detail if check is not None else ""

    def close(self) -> None:
        """Stop. The uploads stay, and are checked when the service starts again."""
        self._closing.set()
        with self._lock:
            for check in self._checks.values():
                check.again.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, upload: Upload, check: _Check) -> None:
        wait_s = _FIRST_WAIT_S
        try:
            while not self._closing.is_set():
                check.again.clear()
                if self._attempt(upload, check):
                    return
                with self._lock:
                    attempt, check.attempt = check.attempt, Future()
                attempt.set_result(None)
                check.again.wait(wait_s)
                wait_s = min(2 * wait_s, _LAST_WAIT_S)
        finally:
            with self._lock:
                self._checks.pop(upload.upload_id, None)
            check.attempt.set_result(None)

    def _attempt(self, upload: Upload, check: _Check) -> bool:
        """Check an upload once. Return whether that was the last time."""
        try:
            self._uploads.finish(upload, lambda path: self._check(path, upload.owner))
        except (SlideError, TooLarge):
            # the note has the verdict
            return True
        except (Conflict, StoreError, Unavailable) as error:
            check.detail = str(error)
            _log.warning("%s", error)
            return upload not in self._uploads.complete()
        except Exception as error:  # noqa: BLE001  (the thread must go on, and the upload must not be lost)
            check.detail = f"unexpected {type(error).__name__}"
            _log.exception("upload %s was not checked", upload.upload_id)
            return False
        self._on_slide()
        return True
