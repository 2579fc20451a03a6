"""Upload store: resumable uploads, written to disk under names that the service chooses.

An upload is a directory with the file and a JSON note. Its offset is the size of the file. A complete upload is checked
in an isolated process before it becomes a slide. It is only removed if the check refuses the file. If the check could
not run, because all processes were busy or one died or took too long, the upload stays and the next request checks it
again.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from wsigraph.config import ServiceConfig
from wsigraph.errors import (
    ConfigError,
    Conflict,
    NotFound,
    ReaderLost,
    SlideError,
    StoreError,
    TooLarge,
    TooMany,
    Unavailable,
)
from wsigraph.service.catalogue import slug
from wsigraph.slide.self_contained import SUFFIXES
from wsigraph.store.atomic import writing

ACCEPTED = frozenset[str]().union(*SUFFIXES.values())
"""Suffixes of files that can be uploaded. The check decides whether the content is a single-file format."""
_NOTE, _OPEN = "upload.json", ".open"
_FREE_BYTES = 2**30
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload.

    Attributes
    ----------
    upload_id : str
        Identifier.
    name : str
        File name at the client. Displayed, never used as a path.
    file : str
        File name in the upload directory.
    size : int
        Total size in bytes.
    owner : str
        Name of the principal that sends it.
    slide_id : str
        Identifier of the slide that it becomes.
    """

    upload_id: str
    name: str
    file: str
    size: int
    owner: str
    slide_id: str


class UploadStore:
    """Unfinished uploads. It is safe to use from several threads.

    Parameters
    ----------
    folder : Path
        Directory of finished uploads, with one subdirectory for each.
    config : ServiceConfig
        Limits.
    """

    def __init__(self, folder: Path, config: ServiceConfig) -> None:
        self._folder = folder
        self._config = config
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def create(self, name: str, size: int, owner: str) -> Upload:
        """Create an upload.

        Parameters
        ----------
        name : str
            File name at the client. Its suffix decides the format.
        size : int
            Total size in bytes.
        owner : str
            Name of the principal that sends it.

        Returns
        -------
        Upload
            The new upload, at offset 0.

        Raises
        ------
        ConfigError
            If the suffix is not that of a slide.
        StoreError
            If the disk does not have enough space.
        TooLarge
            If it is larger than allowed.
        TooMany
            If there are too many unfinished uploads.
        """
        display_name = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/").rpartition("/")[2]).strip()[:200]
        suffix = Path(display_name).suffix.lower()
        if suffix not in ACCEPTED:
            raise ConfigError(
                f"file {display_name!r} ends in {suffix or 'nothing'!r}, expected one of "
                f"{', '.join(sorted(ACCEPTED))}; "
                "slides of several files are placed in the data directory"
            )
        max_bytes = int(self._config.upload_max_gb * 1e9)
        if size > max_bytes:
            raise TooLarge(
                f"the slide has {size} bytes, more than the {max_bytes} allowed; raise service.upload_max_gb"
            )
        self.sweep()
        if shutil.disk_usage(self._folder).free < size + _FREE_BYTES:
            raise StoreError(f"the disk does not have space for {size} bytes; free some space")
        upload_id = secrets.token_hex(10)
        upload = Upload(
            upload_id=upload_id,
            name=display_name,
            file=f"slide{suffix}",
            size=size,
            owner=owner,
            slide_id=f"{slug(Path(display_name).stem)}~{upload_id[:8]}",
        )
        folder = self._upload_folder(upload_id)
        with self._lock, writing(folder):
            if len(list(self._unfinished())) >= self._config.uploads_max:
                raise TooMany(
                    "there are too many unfinished uploads; finish or delete some, or raise service.uploads_max"
                )
            folder.mkdir(mode=0o700, parents=True)
            (folder / upload.file).touch(mode=0o600)
            (folder / _NOTE).write_text(json.dumps(asdict(upload)), encoding="utf-8")
        return upload

    def find(self, upload_id: str) -> tuple[Upload, int]:
        """Return an upload, finished or not, and its offset in bytes.

        Raises
        ------
        NotFound
            If there is no such upload.
        """
        for folder in (self._upload_folder(upload_id), self._folder / upload_id):
            try:
                upload = Upload(**json.loads((folder / _NOTE).read_bytes()))
                return upload, (folder / upload.file).stat().st_size
            except (OSError, ValueError):
                continue
        raise NotFound(
            f"there is no upload {upload_id!r}; it has expired or was deleted, start it again with POST /v1/uploads"
        )

    def is_finished(self, upload_id: str) -> bool:
        """Return whether an upload has become a slide. A client that missed the last response asks this."""
        return (self._folder / upload_id / _NOTE).is_file()

    def writer(self, upload_id: str, offset: int) -> PartWriter:
        """Return a writer for the bytes from an offset on. Each upload has one writer at a time.

        Raises
        ------
        Conflict
            If the upload is at another offset, or another request is writing to it.
        NotFound
            If there is no such upload.
        """
        upload, current = self.find(upload_id)
        if offset != current:
            raise Conflict(
                f"upload {upload_id!r} is at offset {current}, got Upload-Offset {offset}; continue from {current}"
            )
        self._lock_upload(upload_id)
        path = self._upload_folder(upload_id) / upload.file
        return PartWriter(path, upload, current, lambda: self._busy.discard(upload_id))

    def finish(self, upload: Upload, check: Callable[[Path], None]) -> None:
        """Turn a complete upload into a slide.

        Parameters
        ----------
        upload : Upload
            A complete upload.
        check : callable
            Opens the file. `SlideError` and `TooLarge` refuse the file, and the upload is removed. After any other
            error it stays.

        Raises
        ------
        Conflict
            If another request is checking it.
        SlideError
            If it is not a slide that can be served.
        StoreError
            If it cannot be stored, or was deleted meanwhile.
        TooLarge
            If it has more pixels or needs more memory than allowed.
        Unavailable
            If the check could not run. The next request tries it again.
        """
        folder = self._upload_folder(upload.upload_id)
        self._lock_upload(upload.upload_id)
        try:
            with writing(folder):
                if self.is_finished(upload.upload_id):
                    return
                # update the time stamp, so that the upload does not expire while the service is busy
                os.utime(folder / upload.file)
                check(folder / upload.file)
                folder.rename(self._folder / upload.upload_id)
        except (ReaderLost, Unavailable) as error:
            raise Unavailable(
                f"upload {upload.upload_id!r} is complete and kept, but was not checked ({error}); send an empty part "
                f"at offset {upload.size} to check it again"
            ) from None
        except (SlideError, TooLarge):
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._busy.discard(upload.upload_id)

    def remove(self, upload_id: str) -> None:
        """Remove an unfinished upload.

        Raises
        ------
        Conflict
            If it has become a slide.
        NotFound
            If there is no such upload.
        """
        upload, _ = self.find(upload_id)
        if self.is_finished(upload_id):
            raise Conflict(f"upload {upload_id!r} is a slide; remove it with DELETE /v1/slides/{upload.slide_id}")
        shutil.rmtree(self._upload_folder(upload_id), ignore_errors=True)

    def remove_slide(self, slide_id: str) -> None:
        """Remove the file of a slide that was uploaded.

        Raises
        ------
        NotFound
            If the slide was not uploaded.
        """
        for note in self._folder.glob(f"*/{_NOTE}"):
            if json.loads(note.read_bytes())["slide_id"] == slide_id:
                shutil.rmtree(note.parent)
                return
        raise NotFound(f"slide {slide_id!r} was not uploaded; the service does not remove slides of the data directory")

    def slide_owner(self, slide_id: str) -> str:
        """Return the owner of an uploaded slide; empty for other slides."""
        notes = (json.loads(note.read_bytes()) for note in self._folder.glob(f"*/{_NOTE}"))
        return next((str(note["owner"]) for note in notes if note["slide_id"] == slide_id), "")

    def sweep(self) -> None:
        """Remove uploads that were not written to for too long."""
        before = time.time() - self._config.upload_expire_h * _HOUR_S
        for folder in self._unfinished():
            try:
                is_old = next(folder.glob("slide.*"), folder).stat().st_mtime < before
            except OSError:
                # deleted in this moment
                continue
            if is_old and folder.name not in self._busy:
                shutil.rmtree(folder, ignore_errors=True)

    def _lock_upload(self, upload_id: str) -> None:
        with self._lock:
            if upload_id in self._busy:
                raise Conflict(f"upload {upload_id!r} is being written or checked; send one part at a time")
            self._busy.add(upload_id)

    def _unfinished(self) -> list[Path]:
        folder = self._folder / _OPEN
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def _upload_folder(self, upload_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{20}", upload_id):
            raise NotFound(f"there is no upload {upload_id[:40]!r}")
        return self._folder / _OPEN / upload_id


def is_upload(path: Path) -> bool:
    """Return whether a file was uploaded, finished or not: uploads have a note in the same directory."""
    return (path.parent / _NOTE).is_file()


class PartWriter:
    """Appends bytes to an upload.

    Parameters
    ----------
    path : Path
        The file.
    upload : Upload
        The upload.
    offset : int
        Current size of the file.
    on_close : callable
        Called when the writer is closed.

    Attributes
    ----------
    offset : int
        Current size of the file, bytes.
    """

    def __init__(self, path: Path, upload: Upload, offset: int, on_close: Callable[[], None]) -> None:
        self.offset = offset
        self._upload = upload
        self._on_close = on_close
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            on_close()
            raise NotFound(f"upload {upload.upload_id!r} was deleted") from None

    def write(self, content: bytes) -> None:
        """Append bytes.

        Raises
        ------
        Conflict
            If the upload would become larger than announced.
        StoreError
            If the disk is full.
        """
        if self.offset + len(content) > self._upload.size:
            raise Conflict(f"the upload has more bytes than the {self._upload.size} that were announced")
        try:
            while content:
                n_bytes = os.write(self._descriptor, content)
                self.offset, content = self.offset + n_bytes, content[n_bytes:]
        except OSError as error:
            raise StoreError(f"the upload cannot be stored ({error.strerror}); free some space and continue") from None

    def close(self) -> None:
        """Flush the file to disk and close it."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            self._on_close()
