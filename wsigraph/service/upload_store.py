"""Slides on their way in: written to disk as they come, resumable, under names that the service chooses.

An upload is a directory with a file and a note beside it; how far it is, is the size of the file. Once whole it is
opened in a process of its own before it becomes a slide. Only a verdict on the file removes it: where the check could
not be made, because all processes were busy, one died or took too long, the upload stays and the next request checks
it again.
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
"""Suffixes of files that can be uploaded; whether the content is of a format of one file, the check finds out."""
_NOTE, _OPEN = "upload.json", ".open"
_FREE_BYTES = 2**30
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A slide on its way in.

    Attributes
    ----------
    upload_id : str
        Its name.
    name : str
        What the client calls the file; shown, never used as a path.
    file : str
        What it is called here.
    size : int
        Bytes in all.
    owner : str
        Who sends it.
    slide_id : str
        The slide that it becomes.
    """

    upload_id: str
    name: str
    file: str
    size: int
    owner: str
    slide_id: str


class Uploads:
    """Unfinished uploads; safe to use from several threads.

    Parameters
    ----------
    folder : Path
        Where finished uploads lie, one directory each.
    config : ServiceConfig
        Limits.
    """

    def __init__(self, folder: Path, config: ServiceConfig) -> None:
        self._folder = folder
        self._config = config
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def begin(self, name: str, size: int, owner: str) -> Upload:
        """Begin an upload.

        Parameters
        ----------
        name : str
            What the client calls the file; its ending says of what format it is.
        size : int
            Bytes in all.
        owner : str
            Who sends it.

        Returns
        -------
        Upload
            Of which nothing has come yet.

        Raises
        ------
        ConfigError
            If no slide ends so.
        StoreError
            If the disk has no room for it.
        TooLarge
            If it is larger than allowed.
        TooMany
            If too many are unfinished.
        """
        shown = re.sub(r"[\x00-\x1f\x7f]", "", name.replace("\\", "/").rpartition("/")[2]).strip()[:200]
        suffix = Path(shown).suffix.lower()
        if suffix not in ACCEPTED:
            raise ConfigError(
                f"file {shown!r} ends in {suffix or 'nothing'!r}, expected one of {', '.join(sorted(ACCEPTED))}; those "
                "of several files go into the data directory"
            )
        most = int(self._config.upload_max_gb * 1e9)
        if size > most:
            raise TooLarge(f"a slide of {size} bytes, more than the {most} that may be uploaded; raise upload_max_gb")
        self.sweep()
        if shutil.disk_usage(self._folder).free < size + _FREE_BYTES:
            raise StoreError(f"the disk has no room for {size} bytes; free some space")
        upload_id = secrets.token_hex(10)
        upload = Upload(
            upload_id=upload_id,
            name=shown,
            file=f"slide{suffix}",
            size=size,
            owner=owner,
            slide_id=f"{slug(Path(shown).stem)}~{upload_id[:8]}",
        )
        place = self._place(upload_id)
        with self._lock, writing(place):
            if len(list(self._unfinished())) >= self._config.uploads_max:
                raise TooMany("too many uploads are unfinished; finish or delete some, or raise service.uploads_max")
            place.mkdir(mode=0o700, parents=True)
            (place / upload.file).touch(mode=0o600)
            (place / _NOTE).write_text(json.dumps(asdict(upload)), encoding="utf-8")
        return upload

    def find(self, upload_id: str) -> tuple[Upload, int]:
        """Return an upload, finished or not, and how many bytes have come.

        Raises
        ------
        NotFound
            If there is none of that name.
        """
        for place in (self._place(upload_id), self._folder / upload_id):
            try:
                upload = Upload(**json.loads((place / _NOTE).read_bytes()))
                return upload, (place / upload.file).stat().st_size
            except (OSError, ValueError):
                continue
        raise NotFound(f"upload {upload_id!r} is not there; it has ended, or begin it with POST /v1/uploads")

    def is_finished(self, upload_id: str) -> bool:
        """Return whether an upload has become a slide; a client that missed the last answer asks again."""
        return (self._folder / upload_id / _NOTE).is_file()

    def writer(self, upload_id: str, offset: int) -> PartWriter:
        """Return what takes the bytes from an offset on; one at a time for each upload.

        Raises
        ------
        Conflict
            If the upload is elsewhere, or is being written to.
        NotFound
            If there is none of that name.
        """
        upload, there = self.find(upload_id)
        if offset != there:
            raise Conflict(f"upload {upload_id!r} is at {there}, met Upload-Offset {offset}; go on from {there}")
        self._take(upload_id)
        path = self._place(upload_id) / upload.file
        return PartWriter(path, upload, there, lambda: self._busy.discard(upload_id))

    def finish(self, upload: Upload, check: Callable[[Path], None]) -> None:
        """Make a whole upload a slide.

        Parameters
        ----------
        upload : Upload
            All of whose bytes have come.
        check : callable
            Opens the file. A `SlideError` or `TooLarge` is a verdict, and the upload is removed; after any other error
            it stays.

        Raises
        ------
        Conflict
            If it is being checked already.
        SlideError
            If it is no slide that can be served.
        StoreError
            If it cannot be stored, or was given up meanwhile.
        TooLarge
            If it has more pixels or needs more memory than allowed.
        Unavailable
            If it could not be checked; the next request checks it again.
        """
        place = self._place(upload.upload_id)
        self._take(upload.upload_id)
        try:
            with writing(place):
                if self.is_finished(upload.upload_id):
                    return
                # a sign of life, so that a busy service does not let it expire
                os.utime(place / upload.file)
                check(place / upload.file)
                place.rename(self._folder / upload.upload_id)
        except (ReaderLost, Unavailable) as error:
            raise Unavailable(
                f"upload {upload.upload_id!r} is whole and kept, but was not checked ({error}); send an empty part at "
                f"{upload.size} to have it checked again"
            ) from None
        except (SlideError, TooLarge):
            shutil.rmtree(place, ignore_errors=True)
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
            If there is none of that name.
        """
        upload, _ = self.find(upload_id)
        if self.is_finished(upload_id):
            raise Conflict(f"upload {upload_id!r} is a slide; remove it with DELETE /v1/slides/{upload.slide_id}")
        shutil.rmtree(self._place(upload_id), ignore_errors=True)

    def remove_slide(self, slide_id: str) -> None:
        """Remove the file of a slide that was uploaded.

        Raises
        ------
        NotFound
            If no upload became that slide.
        """
        for note in self._folder.glob(f"*/{_NOTE}"):
            if json.loads(note.read_bytes())["slide_id"] == slide_id:
                shutil.rmtree(note.parent)
                return
        raise NotFound(
            f"slide {slide_id!r} was not uploaded; those of the data directory are not the service's to remove"
        )

    def owner_of(self, slide_id: str) -> str:
        """Return who uploaded a slide; empty where nobody did."""
        notes = (json.loads(note.read_bytes()) for note in self._folder.glob(f"*/{_NOTE}"))
        return next((str(told["owner"]) for told in notes if told["slide_id"] == slide_id), "")

    def sweep(self) -> None:
        """Remove what has had no news for too long."""
        before = time.time() - self._config.upload_expire_h * _HOUR_S
        for place in self._unfinished():
            try:
                is_old = next(place.glob("slide.*"), place).stat().st_mtime < before
            except OSError:
                # given up at this moment
                continue
            if is_old and place.name not in self._busy:
                shutil.rmtree(place, ignore_errors=True)

    def _take(self, upload_id: str) -> None:
        with self._lock:
            if upload_id in self._busy:
                raise Conflict(f"upload {upload_id!r} is being written to or checked; send one part at a time")
            self._busy.add(upload_id)

    def _unfinished(self) -> list[Path]:
        folder = self._folder / _OPEN
        return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []

    def _place(self, upload_id: str) -> Path:
        if not re.fullmatch(r"[0-9a-f]{20}", upload_id):
            raise NotFound(f"upload {upload_id[:40]!r} is not there")
        return self._folder / _OPEN / upload_id


def is_upload(path: Path) -> bool:
    """Return whether a file came through the service, finished or not: its note lies beside it."""
    return (path.parent / _NOTE).is_file()


class PartWriter:
    """Takes bytes of one upload, in their order.

    Parameters
    ----------
    path : Path
        The part file.
    upload : Upload
        Whose it is.
    offset : int
        Bytes that are there.
    ended : callable
        Told when it is closed.

    Attributes
    ----------
    offset : int
        Bytes that are there now.
    """

    def __init__(self, path: Path, upload: Upload, offset: int, ended: Callable[[], None]) -> None:
        self.offset = offset
        self._upload = upload
        self._ended = ended
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            ended()
            raise NotFound(f"upload {upload.upload_id!r} is not there any more") from None

    def write(self, content: bytes) -> None:
        """Add bytes.

        Raises
        ------
        Conflict
            If more come than the upload was said to hold.
        StoreError
            If the disk is full.
        """
        if self.offset + len(content) > self._upload.size:
            raise Conflict(f"more bytes than the {self._upload.size} that the upload was said to hold")
        try:
            while content:
                n = os.write(self._descriptor, content)
                self.offset, content = self.offset + n, content[n:]
        except OSError as error:
            raise StoreError(f"the upload cannot be stored ({error.strerror}); free some space and go on") from None

    def close(self) -> None:
        """Leave the file as it is on disk."""
        try:
            os.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)
            self._ended()
