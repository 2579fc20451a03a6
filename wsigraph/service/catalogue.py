"""The catalogue: slides of the data directory and uploaded slides, each with a unique identifier.

An identifier from a client is only looked up in the catalogue and never becomes part of a path. The slides are those
that `wsigraph.slide.discover` finds in the data directory and its subfolders. Linked folders are not followed, and
folders that cannot be read are skipped.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsigraph.errors import NotFound, ServiceError
from wsigraph.service.shown_names import show_safely
from wsigraph.service.upload_note import notes_in
from wsigraph.slide.discover import FolderSearch, SlideFormats, slide_formats
from wsigraph.slide.slide_id import distinct_slide_ids

_MAX_DEPTH = 8
_MAX_SLIDES = 100_000
_MAX_PARTS = 2000
# a scan is reused for this long, or for this many times its own duration
_REUSE_S, _REUSE_SCANS = 2.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A slide of the catalogue.

    Attributes
    ----------
    slide_id : str
        Identifier in URLs and results.
    name : str
        Display name: its path in the data directory, or the name of the uploaded file, without characters that mislead.
    path : Path
        Path of the file. Never sent to a client.
    n_bytes : int
        Size of the file in bytes; 0 for a folder.
    version : str
        Changes when the file changes.
    uploaded : bool
        Whether it was uploaded.
    """

    slide_id: str
    name: str
    path: Path
    n_bytes: int
    version: str
    uploaded: bool

    def is_current(self) -> bool:
        """Return whether the file is still of this version."""
        return file_version(self.path) == self.version


class Catalogue:
    """The slides that are available now.

    Parameters
    ----------
    data : Path
        Directory of slides.
    uploaded : Path
        Directory of uploaded slides.
    only : Path, optional
        The one slide of `data` that is served; all if left out.

    Raises
    ------
    ServiceError
        If `data` is not a directory.
    """

    def __init__(self, data: Path, uploaded: Path, only: Path | None = None) -> None:
        if not data.is_dir():
            raise ServiceError(f"--data {data} is not a directory; give the directory of the slides")
        self._data = data
        self._uploaded = uploaded
        self._only = only
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._good_until = float("-inf")
        self._formats: SlideFormats | None = None

    def slides(self) -> list[Entry]:
        """Return all slides, sorted by path.

        The directory is scanned at most every two seconds, and less often if a scan is slow.
        """
        with self._lock:
            started = time.monotonic()
            if started > self._good_until:
                self._entries = {entry.slide_id: entry for entry in self._scan()}
                ended = time.monotonic()
                self._good_until = ended + max(_REUSE_S, _REUSE_SCANS * (ended - started))
            return list(self._entries.values())

    def find(self, slide_id: str) -> Entry:
        """Return a slide by its identifier. The directory is scanned again if the file has changed since.

        Raises
        ------
        NotFound
            If there is no such slide.
        """
        self.slides()
        entry = self._entries.get(slide_id)
        if entry is not None and not entry.is_current():
            self.forget()
            self.slides()
            entry = self._entries.get(slide_id)
        if entry is None:
            raise NotFound(f"there is no slide {slide_id!r}; GET /v1/slides lists all slides")
        return entry

    def known(self, slide_id: str) -> Entry | None:
        """Return a slide from the last scan, or None if that is too old. Opens no file."""
        return self._entries.get(slide_id) if time.monotonic() <= self._good_until else None

    def forget(self) -> None:
        """Scan again at the next request."""
        with self._lock:
            self._good_until = float("-inf")

    def _scan(self) -> Iterator[Entry]:
        if self._formats is None:
            self._formats = slide_formats()
        search = FolderSearch(self._formats, follow_links=False, skip_unreadable=True, max_depth=_MAX_DEPTH)
        slides = search.slides(self._data, recursive=True) if self._only is None else [self._only]
        paths = sorted(slides)[:_MAX_SLIDES]
        for path, slide_id in zip(paths, distinct_slide_ids(paths, self._data), strict=True):
            inside = path.relative_to(self._data)
            yield from _entry(
                show_safely(slide_id), inside.as_posix() if inside.parts else slide_id, path, uploaded=False
            )
        for folder, upload in notes_in(self._uploaded):
            yield from _entry(upload.slide_id, upload.name, folder / upload.file, uploaded=True)


def slug(text: str) -> str:
    """Return a text as a name for URLs and directories: letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:120] or "slide"


def file_version(path: Path) -> str:
    """Return what changes when a file or a folder of files is replaced; empty if there is none.

    Parameters
    ----------
    path : Path
        A slide.

    Returns
    -------
    str
        16 hexadecimal digits, from size, times and inode. Of a folder, those of its files count, but not of subfolders.
    """
    try:
        stats = [path.stat()]
        if path.is_dir():
            with os.scandir(path) as inside:
                stats += [entry.stat() for entry in sorted(inside, key=lambda entry: entry.name)[:_MAX_PARTS]]
    except OSError:
        # removed in this moment, or a broken link
        return ""
    parts = [f"{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ctime_ns}\0{stat.st_ino}" for stat in stats]
    return hashlib.sha256("\0".join([str(path), *parts]).encode(errors="surrogateescape")).hexdigest()[:16]


def _entry(slide_id: str, name: str, path: Path, *, uploaded: bool) -> Iterator[Entry]:
    version = file_version(path)
    if not version:
        return
    try:
        n_bytes = 0 if path.is_dir() else path.stat().st_size
    except OSError:
        # removed in this moment
        return
    yield Entry(
        slide_id=slide_id, name=show_safely(name), path=path, n_bytes=n_bytes, version=version, uploaded=uploaded
    )
