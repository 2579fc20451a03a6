"""Upload store: resumable uploads, written to disk under names that the service chooses.

An upload is a directory with the file and a JSON note. Its offset is the size of the file. A complete upload is checked
in an isolated process before it becomes a slide. Its bytes are only removed if the check refuses the file; then the
note stays until it expires, so that its client can ask for the reason. If the check could not run, because all
processes were busy or one died or took too long, the upload stays and is checked again.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
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
from wsigraph.service.part_writer import PartWriter
from wsigraph.service.shown_names import show_safely
from wsigraph.service.upload_note import NOTE, Upload, notes_in, read_note, write_note
from wsigraph.slide.self_contained import SUFFIXES
from wsigraph.store.atomic import publish_directory, writing

ACCEPTED = frozenset[str]().union(*SUFFIXES.values())
"""Suffixes of files that can be uploaded. The check decides whether the content is a single-file format."""
_OPEN = ".open"
_FREE_BYTES = 2**30
_HOUR_S = 3600.0


class UploadState(StrEnum):
    """States of an upload. The last two are final."""

    UPLOADING = "uploading"
    CHECKING = "checking"
    DONE = "done"
    REFUSED = "refused"


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
        self._checking: set[str] = set()
        self._writers: dict[str, PartWriter] = {}

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
            If the disk does not have space for it beside the bytes that other uploads announced.
        TooLarge
            If it is larger than allowed, or its owner's quota is exceeded.
        TooMany
            If there are too many unfinished uploads.
        """
        base_name = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/").rpartition("/")[2])
        display_name = show_safely(base_name).strip()[:200]
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
            self._check_limits(upload)
            folder.mkdir(mode=0o700, parents=True)
            (folder / upload.file).touch(mode=0o600)
            write_note(folder, upload)
        return upload

    def _check_limits(self, upload: Upload) -> None:
        """Check the number of uploads, the quota of the owner, and the disk less the bytes that others announced."""
        unfinished = [(folder, other) for folder, other in notes_in(self._folder / _OPEN) if not other.error]
        if len(unfinished) >= self._config.uploads_max:
            raise TooMany("there are too many unfinished uploads; finish or delete some, or raise service.uploads_max")
        slides = [other for _, other in notes_in(self._folder)]
        n_owned = sum(
            other.size for other in (*slides, *(other for _, other in unfinished)) if other.owner == upload.owner
        )
        quota = int(self._config.upload_quota_gb * 1e9)
        if n_owned + upload.size > quota:
            raise TooLarge(
                f"{upload.owner!r} has {n_owned} bytes of uploads, and {upload.size} more exceed the quota of {quota}; "
                "remove some slides, or raise service.upload_quota_gb"
            )
        reserved = sum(max(0, other.size - _size(folder / other.file)) for folder, other in unfinished)
        if shutil.disk_usage(self._folder).free < reserved + upload.size + _FREE_BYTES:
            raise StoreError(
                f"the disk does not have space for {upload.size} bytes beside the {reserved} bytes that other uploads "
                "announced; free some space"
            )

    def find(self, upload_id: str) -> tuple[Upload, int]:
        """Return an upload, finished or not, and its offset in bytes.

        Raises
        ------
        NotFound
            If there is no such upload.
        """
        for folder in (self._upload_folder(upload_id), self._folder / upload_id):
            upload = read_note(folder)
            if upload is not None:
                return upload, upload.size if upload.error else _size(folder / upload.file)
        raise NotFound(
            f"there is no upload {upload_id!r}; it has expired or was deleted, start it again with POST /v1/uploads"
        )

    def is_finished(self, upload_id: str) -> bool:
        """Return whether an upload has become a slide. A client that missed the last response asks this."""
        return (self._folder / upload_id / NOTE).is_file()

    def state(self, upload: Upload, offset: int) -> UploadState:
        """Return the state of an upload at an offset, as `find` returns them."""
        if upload.error:
            return UploadState.REFUSED
        if self.is_finished(upload.upload_id):
            return UploadState.DONE
        return UploadState.CHECKING if offset == upload.size else UploadState.UPLOADING

    def expires_at(self, upload: Upload) -> datetime | None:
        """Return when an unfinished upload is removed unless it goes on; None for a slide."""
        try:
            changed_at = (self._upload_folder(upload.upload_id) / upload.file).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(changed_at + self._config.upload_expire_h * _HOUR_S, UTC)

    def complete(self) -> list[Upload]:
        """Return the uploads that have all their bytes, and no verdict."""
        unfinished = notes_in(self._folder / _OPEN)
        return [
            upload for folder, upload in unfinished if not upload.error and _size(folder / upload.file) == upload.size
        ]

    def writer(self, upload_id: str, offset: int) -> PartWriter:
        """Return a writer for the bytes from an offset on.

        Each upload has one writer at a time. A request that continues at the current offset replaces the one before,
        whose connection may be dead without a sign of it.

        Raises
        ------
        Conflict
            If the upload is at another offset, or is being checked.
        NotFound
            If there is no such upload.
        """
        upload, current = self.find(upload_id)
        with self._lock:
            if upload_id in self._checking:
                raise Conflict(f"upload {upload_id!r} is complete and being checked; ask for its state")
            former = self._writers.get(upload_id)
        _check_offset(upload_id, offset, current)
        if former is not None:
            former.close()
        writer = PartWriter(self._upload_folder(upload_id) / upload.file, upload, self._forget_writer)
        with self._lock:
            current_writer = self._writers.setdefault(upload_id, writer)
        if current_writer is not writer or writer.offset != offset:
            writer.close()
        if current_writer is not writer:
            raise Conflict(f"another request continues upload {upload_id!r}")
        _check_offset(upload_id, offset, writer.offset)
        return writer

    def _forget_writer(self, writer: PartWriter) -> None:
        with self._lock:
            for upload_id in [key for key, other in self._writers.items() if other is writer]:
                del self._writers[upload_id]

    def finish(self, upload: Upload, check: Callable[[Path], None]) -> None:
        """Turn a complete upload into a slide.

        Parameters
        ----------
        upload : Upload
            A complete upload.
        check : callable
            Opens the file. `SlideError` and `TooLarge` refuse the file, and its bytes are removed. After any other
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
        with self._lock:
            if upload.upload_id in self._checking:
                raise Conflict(f"upload {upload.upload_id!r} is being checked")
            self._checking.add(upload.upload_id)
        try:
            with writing(folder):
                if self.is_finished(upload.upload_id):
                    return
                # update the time stamp, so that the upload does not expire while the service is busy
                os.utime(folder / upload.file)
                check(folder / upload.file)
                publish_directory(folder, self._folder / upload.upload_id)
        except (ReaderLost, Unavailable) as error:
            raise Unavailable(
                f"upload {upload.upload_id!r} is complete and kept, but was not checked yet ({error}); it is checked "
                "again, at once after an empty part"
            ) from None
        except (SlideError, TooLarge) as error:
            self._refuse(folder, upload, error)
            raise
        finally:
            with self._lock:
                self._checking.discard(upload.upload_id)

    def _refuse(self, folder: Path, upload: Upload, error: Exception) -> None:
        """Remove the bytes of an upload, and keep the reason."""
        write_note(folder, replace(upload, error=type(error).__name__, message=" ".join(str(error).split())))
        (folder / upload.file).unlink(missing_ok=True)

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
        for folder, upload in notes_in(self._folder):
            if upload.slide_id == slide_id:
                shutil.rmtree(folder)
                return
        raise NotFound(f"slide {slide_id!r} was not uploaded; the service does not remove slides of the data directory")

    def slide_owner(self, slide_id: str) -> str:
        """Return the owner of an uploaded slide; empty for other slides."""
        return next((upload.owner for _, upload in notes_in(self._folder) if upload.slide_id == slide_id), "")

    def sweep(self) -> None:
        """Remove uploads that were not written to for too long."""
        before = time.time() - self._config.upload_expire_h * _HOUR_S
        for folder in self._unfinished():
            try:
                is_old = next(folder.glob("slide.*"), folder).stat().st_mtime < before
            except OSError:
                # deleted in this moment
                continue
            if is_old and folder.name not in self._checking and folder.name not in self._writers:
                shutil.rmtree(folder, ignore_errors=True)

    def _unfinished(self) -> list[Path]:
        folder = self._folder / _OPEN
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def _upload_folder(self, upload_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{20}", upload_id):
            raise NotFound(f"there is no upload {upload_id[:40]!r}")
        return self._folder / _OPEN / upload_id


def _size(path: Path) -> int:
    """Return the size of a file; 0 if it was deleted."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _check_offset(upload_id: str, offset: int, current: int) -> None:
    if offset != current:
        raise Conflict(
            f"upload {upload_id!r} is at offset {current}, got Upload-Offset {offset}; continue from {current}"
        )


def is_upload(path: Path) -> bool:
    """Return whether a file was uploaded, finished or not: uploads have a note in the same directory."""
    return (path.parent / NOTE).is_file()
