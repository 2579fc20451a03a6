"""Images kept on disk: thumbnails, the lowest tiles and the metadata of slides, so that a restart renders none again.

Everything is stored under the version of the slide, which changes when the file or a setting of the images changes. An
image of a replaced slide is therefore never found again. The images stay in the directory of the service, which only
its user can read, and those of slides that no longer exist are removed.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Collection
from pathlib import Path

from wsigraph.errors import StoreError
from wsigraph.store.atomic import write_file

_log = logging.getLogger("wsigraph.service")
_KEPT_FRACTION = 0.8
_ENDS = {".jpeg": b"\xff\xd9", ".json": b"}"}


class ImageStore:
    """A directory of images with a size limit. It is safe to use from several threads.

    Parameters
    ----------
    directory : Path
        Where the images are stored. Created if missing.
    max_bytes : int
        Size at which the images of the slides that were stored first are removed; 0 keeps nothing.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._n_bytes: int | None = None

    def read(self, version: str, name: str) -> bytes | None:
        """Return an image, or None if it is not stored whole."""
        if not self._max_bytes:
            return None
        path = self._directory / version / name
        try:
            content = path.read_bytes()
        except OSError:
            # not stored yet, or removed in this moment: it is rendered
            return None
        return content if content.endswith(_ENDS[path.suffix]) else None

    def write(self, version: str, name: str, content: bytes) -> None:
        """Store an image. A full disk costs the next start some time, and nothing else."""
        if not self._max_bytes:
            return
        try:
            write_file(self._directory / version / name, content)
        except StoreError as error:
            _log.warning("an image is not kept on disk: %s", error)
            return
        with self._lock:
            if self._n_bytes is None:
                self._n_bytes = sum(_size(directory) for directory in self._versions())
            else:
                self._n_bytes += len(content)
            if self._n_bytes > self._max_bytes:
                self._shrink()

    def remove(self, version: str) -> None:
        """Remove the images of one version of a slide."""
        shutil.rmtree(self._directory / version, ignore_errors=True)
        with self._lock:
            self._n_bytes = None

    def keep_only(self, versions: Collection[str]) -> None:
        """Remove the images of all versions but some."""
        for directory in self._versions():
            if directory.name not in versions:
                self.remove(directory.name)

    def _versions(self) -> list[Path]:
        if not self._directory.is_dir():
            return []
        return [entry for entry in self._directory.iterdir() if entry.is_dir()]

    def _shrink(self) -> None:
        sizes = sorted((entry.stat().st_mtime, entry, _size(entry)) for entry in self._versions())
        total = sum(size for _, _, size in sizes)
        for _, entry, size in sizes:
            if total <= _KEPT_FRACTION * self._max_bytes:
                break
            shutil.rmtree(entry, ignore_errors=True)
            total -= size
        self._n_bytes = total


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())
