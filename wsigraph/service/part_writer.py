"""Part writer: appends the bytes of one request to the file of an upload."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from wsigraph.errors import Conflict, NotFound, StoreError
from wsigraph.service.upload_note import Upload


class PartWriter:
    """Appends bytes to an upload, until it is closed or another request continues the upload.

    Parameters
    ----------
    path : Path
        The file.
    upload : Upload
        The upload.
    on_close : callable
        Called with the writer when it is closed.

    Attributes
    ----------
    start, offset : int
        Size of the file before the first byte, and now.

    Raises
    ------
    NotFound
        If the file was deleted.
    """

    def __init__(self, path: Path, upload: Upload, on_close: Callable[[PartWriter], None]) -> None:
        self._upload = upload
        self._on_close = on_close
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            raise NotFound(f"upload {upload.upload_id!r} was deleted") from None
        self.start = self.offset = os.fstat(self._descriptor).st_size

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises
        ------
        Conflict
            If the upload would become larger than announced, or another request continues it.
        StoreError
            If the disk is full.
        """
        with self._lock:
            if self.offset + len(content) > self._upload.size:
                raise Conflict(f"the upload has more bytes than the {self._upload.size} that were announced")
            descriptor = self._open_descriptor()
            try:
                while content:
                    n_bytes = os.write(descriptor, content)
                    self.offset, content = self.offset + n_bytes, content[n_bytes:]
            except OSError as error:
                raise StoreError(
                    f"the upload cannot be stored ({error.strerror}); free some space and continue"
                ) from None

    def discard(self) -> None:
        """Remove the bytes of this part again, because they are not those that were sent."""
        with self._lock:
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, self.start)
                self.offset = self.start

    def close(self) -> None:
        """Flush the file to disk and close it."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
        try:
            if descriptor is not None:
                os.fsync(descriptor)
        finally:
            if descriptor is not None:
                os.close(descriptor)
            self._on_close(self)

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise Conflict(f"another request continues upload {self._upload.upload_id!r}")
        return self._descriptor
