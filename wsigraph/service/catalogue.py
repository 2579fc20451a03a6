"""The slides of the data directory and those uploaded, each under a name of its own.

A name from a client is looked up among the names found here and never becomes part of a path. The slides are those
that `wsigraph.slide.discover` finds in the data directory and its subfolders; folders that are links are not followed,
and what cannot be read is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsigraph.errors import NotFound, ServiceError
from wsigraph.slide.discover import FolderSearch, SlideFormats, slide_formats
from wsigraph.slide.slide_id import distinct_slide_ids

_MAX_DEPTH = 8
_MAX_SLIDES = 100_000
_KEPT_S, _KEPT_LOOKS = 2.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A slide that can be asked for.

    Attributes
    ----------
    slide_id : str
        Its name in addresses and results.
    name : str
        What people call it: its path below the data directory, or the name it was uploaded under.
    path : Path
        Where it lies; never told to a client.
    n_bytes : int
        Bytes of the file itself; 0 for a folder.
    version : str
        Changes when the file does.
    uploaded : bool
        Whether it came through the service.
    """

    slide_id: str
    name: str
    path: Path
    n_bytes: int
    version: str
    uploaded: bool


class Catalogue:
    """What slides there are now.

    Parameters
    ----------
    data : Path
        Directory of slides.
    uploaded : Path
        Directory of the slides that came through the service.

    Raises
    ------
    ServiceError
        If `data` is no directory.
    """

    def __init__(self, data: Path, uploaded: Path) -> None:
        if not data.is_dir():
            raise ServiceError(f"--data {data} is no directory; give the one that holds the slides")
        self._data = data
        self._uploaded = uploaded
        self._lock = threading.Lock()
        self._found: dict[str, Entry] = {}
        self._good_until = float("-inf")
        self._formats: SlideFormats | None = None

    def slides(self) -> list[Entry]:
        """Return all slides, sorted by name; looked for anew every two seconds, less often where it takes long."""
        with self._lock:
            began = time.monotonic()
            if began > self._good_until:
                self._found = {entry.slide_id: entry for entry in self._look()}
                ended = time.monotonic()
                self._good_until = ended + max(_KEPT_S, _KEPT_LOOKS * (ended - began))
            return list(self._found.values())

    def find(self, slide_id: str) -> Entry:
        """Return the slide of a name.

        Raises
        ------
        NotFound
            If there is none.
        """
        self.slides()
        entry = self._found.get(slide_id)
        if entry is None or not entry.path.exists():
            raise NotFound(f"slide {slide_id!r} is not there; GET /v1/slides lists those that are")
        return entry

    def known(self, slide_id: str) -> Entry | None:
        """Return a slide that was found a moment ago, or None; looks at no file."""
        return self._found.get(slide_id) if time.monotonic() <= self._good_until else None

    def forget(self) -> None:
        """Look again at the next request."""
        with self._lock:
            self._good_until = float("-inf")

    def _look(self) -> Iterator[Entry]:
        if self._formats is None:
            self._formats = slide_formats()
        search = FolderSearch(self._formats, follow_links=False, skip_unreadable=True, max_depth=_MAX_DEPTH)
        paths = sorted(search.slides(self._data, recursive=True))[:_MAX_SLIDES]
        for path, slide_id in zip(paths, distinct_slide_ids(paths, self._data), strict=True):
            inside = path.relative_to(self._data)
            yield from _entry(slide_id, inside.as_posix() if inside.parts else slide_id, path, uploaded=False)
        for note in sorted(self._uploaded.glob("*/upload.json")):
            told = json.loads(note.read_bytes())
            yield from _entry(told["slide_id"], told["name"], note.parent / told["file"], uploaded=True)


def slug(text: str) -> str:
    """Return a text as a name that stands in addresses and directories: letters, digits, ``-``, ``_`` and ``.``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:120] or "slide"


def _entry(slide_id: str, name: str, path: Path, *, uploaded: bool) -> Iterator[Entry]:
    try:
        stat = path.stat()
    except OSError:
        # removed at this moment, or a link that leads nowhere
        return
    told = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}"
    yield Entry(
        slide_id=slide_id,
        name=name,
        path=path,
        n_bytes=0 if path.is_dir() else stat.st_size,
        version=hashlib.sha256(told.encode()).hexdigest()[:16],
        uploaded=uploaded,
    )
