"""Digests of many slides: computed in threads and cached between runs.

A digest is stored with the names, sizes and modification times (ns) of the slide's files. The next start reads only
files that have changed. The cache is saved every 30 s and on interruption.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from wsigraph.errors import StoreError, UnreadableSlide
from wsigraph.slide import files
from wsigraph.store.atomic import write_file

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total) from the calling thread."""

_SAVE_EVERY_S = 30.0
_SAMPLE_BYTES = 65_536


class DigestCache:
    """Cache of digests.

    Parameters
    ----------
    path : Path or None
        JSON file of the cache; None for a cache in memory.

    Attributes
    ----------
    warnings : list of str
        Why the file could not be used; digests are then computed again.
    """

    def __init__(self, path: Path | None) -> None:
        self.warnings: list[str] = []
        self._path = path
        self._known: dict[str, tuple[str, str]] = {}
        self._saved = time.monotonic()
        self._is_dirty = False
        if path is not None and path.exists():
            try:
                stored = json.loads(path.read_bytes())
                self._known = {str(name): (str(state), str(digest)) for name, (state, digest) in stored.items()}
            except (OSError, ValueError, AttributeError, TypeError) as error:
                self.warnings.append(f"the digest cache {path} cannot be used ({error}); digests are computed again")

    def find(self, path: Path, state: str) -> str | None:
        """Return the digest of a slide whose files are unchanged, or None."""
        stored_state, digest = self._known.get(str(path), ("", ""))
        return digest if stored_state == state else None

    def keep(self, path: Path, state: str, digest: str) -> None:
        """Add a digest."""
        self._known[str(path)] = (state, digest)
        self._is_dirty = True
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the cache; a file that cannot be written is a warning."""
        self._saved = time.monotonic()
        if self._path is None or not self._is_dirty:
            return
        try:
            write_file(self._path, json.dumps(self._known, sort_keys=True, indent=0).encode())
            self._is_dirty = False
        except StoreError as error:
            self.warnings.append(f"the digest cache is not saved: {error}")
            self._path = None


def digest_slides(
    paths: Iterable[Path], cache: DigestCache, *, threads: int, progress: Progress | None = None
) -> tuple[dict[Path, str], dict[Path, str]]:
    """Return the digests of slides.

    Parameters
    ----------
    paths : iterable of Path
        Slide files or folders.
    cache : DigestCache
        Cache of digests.
    threads : int
        Files that are read at a time.
    progress : callable, optional
        Called with ("digest", slides done, number of slides).

    Returns
    -------
    tuple of (dict of Path to str, dict of Path to str)
        Digests, and the reason for each slide that cannot be read.
    """
    wanted = list(dict.fromkeys(paths))
    digests: dict[Path, str] = {}
    unreadable: dict[Path, str] = {}

    def look(path: Path) -> tuple[str, str, bool]:
        located = files.locate(path)
        state = _state(located)
        digest = cache.find(path, state)
        return (state, digest, True) if digest else (state, files.slide_digest(located), False)

    pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="digest")
    try:
        jobs: dict[Future[tuple[str, str, bool]], Path] = {pool.submit(look, path): path for path in wanted}
        for done, job in enumerate(as_completed(jobs), start=1):
            path = jobs.pop(job)
            try:
                state, digest, is_known = job.result()
                digests[path] = digest
                if not is_known:
                    cache.keep(path, state, digest)
            except UnreadableSlide as error:
                unreadable[path] = str(error)
            if progress is not None:
                progress("digest", done, len(wanted))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        cache.save()
    return digests, unreadable


def sample(path: Path) -> bytes:
    """Return a digest of a file's size and its first, middle and last bytes, which equal files share.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    bytes
        32 bytes.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, size // 2, max(0, size - _SAMPLE_BYTES)):
            handle.seek(start)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.digest()


def _state(located: Path) -> str:
    """Return a text that changes when a slide's files change."""
    parts = files.slide_files(located)
    try:
        stats = [(part.name, part.stat()) for part in parts]
    except OSError as error:
        message = f"slide {str(located)!r} cannot be read: {error.strerror}; check its permissions"
        raise UnreadableSlide(message) from None
    if len(stats) == 1:
        return f"{stats[0][1].st_size}:{stats[0][1].st_mtime_ns}"
    text = "\n".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in stats)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
