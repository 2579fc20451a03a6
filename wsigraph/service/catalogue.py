"""The catalogue: slides of the data directory and uploaded slides, each with a unique identifier.

An identifier from a client is only looked up in the catalogue and never becomes part of a path. Hidden entries are
skipped, including the directory of the service. Linked folders are not followed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsigraph.errors import NotFound, ServiceError

SUFFIXES = frozenset(
    ".svs .tif .tiff .ndpi .scn .mrxs .bif .vms .vmu .svslide .dcm .czi .png .jpg .jpeg".split()  # noqa: SIM905
)
"""Suffixes of files that may be slides. The reader decides whether they are."""
_MAX_DEPTH = 8
_MAX_SLIDES = 100_000
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
        Display name: its path in the data directory, or the name of the uploaded file.
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


class Catalogue:
    """The slides that are available now.

    Parameters
    ----------
    data : Path
        Directory of slides.
    uploaded : Path
        Directory of uploaded slides.

    Raises
    ------
    ServiceError
        If `data` is not a directory.
    """

    def __init__(self, data: Path, uploaded: Path) -> None:
        if not data.is_dir():
            raise ServiceError(f"--data {data} is not a directory; give the directory of the slides")
        self._data = data
        self._uploaded = uploaded
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._good_until = float("-inf")

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
        """Return a slide by its identifier.

        Raises
        ------
        NotFound
            If there is no such slide.
        """
        self.slides()
        entry = self._entries.get(slide_id)
        if entry is None or not entry.path.exists():
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
        taken: set[str] = set()
        for path in sorted(_slide_paths(self._data, 0))[:_MAX_SLIDES]:
            name = path.relative_to(self._data).as_posix()
            slide_id = slug(_stem(path))
            if slide_id in taken:
                slide_id = f"{slide_id}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
            taken.add(slide_id)
            yield from _entry(slide_id, name, path, uploaded=False)
        for note in sorted(self._uploaded.glob("*/upload.json")):
            upload = json.loads(note.read_bytes())
            yield from _entry(upload["slide_id"], upload["name"], note.parent / upload["file"], uploaded=True)


def slug(text: str) -> str:
    """Return a text as a name for URLs and directories: letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:120] or "slide"


def _stem(path: Path) -> str:
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return path.name
    return path.with_suffix("").stem if path.stem.lower().endswith(".ome") else path.stem


def _entry(slide_id: str, name: str, path: Path, *, uploaded: bool) -> Iterator[Entry]:
    try:
        stat = path.stat()
    except OSError:
        # removed in this moment, or a broken link
        return
    identity = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}"
    yield Entry(
        slide_id=slide_id,
        name=name,
        path=path,
        n_bytes=0 if path.is_dir() else stat.st_size,
        version=hashlib.sha256(identity.encode()).hexdigest()[:16],
        uploaded=uploaded,
    )


def _slide_paths(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        # a folder without read permission has no slide that could be served
        return
    names = {entry.name for entry in entries}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path, suffix = Path(entry.path), Path(entry.name).suffix.lower()
        if entry.is_dir(follow_symlinks=False):
            if suffix == ".zarr" or _is_series(path):
                yield path
            elif depth < _MAX_DEPTH and f"{entry.name}.mrxs" not in names:
                yield from _slide_paths(path, depth + 1)
        elif suffix in SUFFIXES and entry.is_file():
            yield path


def _is_series(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.lower().endswith(".dcm") for entry in entries)
    except OSError:
        return False
