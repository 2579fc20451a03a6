"""Checks the slide files of a manifest: whether they exist, have the stated digest, and occur twice."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsigraph.cohort.manifest.digests import DigestCache, Progress, digest_slides, sample
from wsigraph.cohort.manifest.manifest_row import Fault, ManifestRow, quote
from wsigraph.errors import UnreadableSlide
from wsigraph.slide import files

_SLAB = 500
"""Files checked by one task: a network mount is slow, and a thread costs more than a local check."""


def find_files(rows: Sequence[ManifestRow], *, threads: int) -> tuple[dict[Path, os.stat_result], list[Fault]]:
    """Look for the file or folder of every row.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows.
    threads : int
        Number of threads.

    Returns
    -------
    tuple of (dict of Path to os.stat_result, list of Fault)
        File status by path, and a fault for each row whose slide is missing.
    """
    paths = list(dict.fromkeys(row.path for row in rows if row.path is not None))
    slabs = [paths[start : start + _SLAB] for start in range(0, len(paths), _SLAB)]
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="find") as pool:
        answers = [answer for slab in pool.map(_stat, slabs) for answer in slab]
    stats = {path: answer for path, answer in zip(paths, answers, strict=True) if isinstance(answer, os.stat_result)}
    refused = {path: answer for path, answer in zip(paths, answers, strict=True) if isinstance(answer, OSError)}
    faults = [
        Fault(row.line, "path", row.slide_id, _refusal(row.path, refused[row.path]))
        for row in rows
        if row.path is not None and row.path in refused
    ]
    return stats, faults


def find_companion_files(rows: Sequence[ManifestRow]) -> list[Fault]:
    """Return a fault for each row whose file of regions or of features is missing."""
    return [
        Fault(row.line, column, row.slide_id, f"{quote(str(path))} is no file; correct the cell, or leave it empty")
        for row in rows
        for column, path in (("roi", row.roi), ("features", row.features))
        if path is not None and not path.is_file()
    ]


def compare_digests(
    rows: Sequence[ManifestRow],
    stats: Mapping[Path, os.stat_result],
    cache: DigestCache,
    *,
    threads: int,
    progress: Progress | None = None,
) -> tuple[dict[Path, str], list[Fault], list[str]]:
    """Compute digests of slides with a stated one, and of slides that may be equal.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows.
    stats : mapping of Path to os.stat_result
        Files from `find_files`.
    cache : DigestCache
        Known digests.
    threads : int
        Files that are read at a time.
    progress : callable, optional
        Called with ("digest", slides done, number of slides).

    Returns
    -------
    tuple of (dict of Path to str, list of Fault, list of str)
        Digests, a fault for each row whose slide has another digest than stated, and warnings.
    """
    stated = [row for row in rows if row.sha256 is not None and row.path in stats]
    wanted = [row.path for row in stated if row.path is not None] + _twins(stats, threads)
    digests, unreadable = digest_slides(wanted, cache, threads=threads, progress=progress)
    faults = [
        Fault(
            row.line,
            "sha256",
            row.slide_id,
            f"the slide's bytes have the digest {digests[row.path]}, expected {row.sha256}; fetch the slide again, "
            "or correct the cell",
        )
        for row in stated
        if row.path is not None and row.path in digests and digests[row.path] != row.sha256
    ]
    warnings = [
        f"the digest of slide {row.slide_id!r} (line {row.line}) was not checked: {unreadable[row.path]}"
        for row in stated
        if row.path is not None and row.path in unreadable
    ]
    return digests, faults, [*warnings, *cache.warnings]


def group_same_bytes(
    rows: Sequence[ManifestRow], stats: Mapping[Path, os.stat_result], digests: Mapping[Path, str]
) -> list[list[ManifestRow]]:
    """Return the rows whose slides have the same bytes.

    Parameters
    ----------
    rows : sequence of ManifestRow
        All rows.
    stats : mapping of Path to os.stat_result
        Files from `find_files`; may be empty.
    digests : mapping of Path to str
        Computed digests; the stated one is used for the others.

    Returns
    -------
    list of list of ManifestRow
        Groups of two or more, in the order of the file.
    """
    digest_of: dict[Hashable, str] = {}
    keys: list[Hashable] = []
    for row in rows:
        stat_result = None if row.path is None else stats.get(row.path)
        place: Hashable = row.path if stat_result is None else (stat_result.st_dev, stat_result.st_ino)
        digest = row.sha256 if row.path is None else digests.get(row.path, row.sha256)
        key: Hashable = ("row", row.line) if place is None else place
        keys.append(key)
        if digest is not None:
            digest_of.setdefault(key, digest)
    groups: dict[Hashable, list[ManifestRow]] = defaultdict(list)
    for row, key in zip(rows, keys, strict=True):
        groups[digest_of.get(key, key)].append(row)
    return [group for group in groups.values() if len({row.slide_id for row in group}) > 1]


def _stat(paths: Iterable[Path]) -> list[os.stat_result | OSError]:
    answers: list[os.stat_result | OSError] = []
    for path in paths:
        try:
            answers.append(os.stat(path))  # noqa: PTH116 - half the time of Path.stat, asked 100,000 times
        except OSError as error:
            answers.append(error)
    return answers


def _refusal(path: Path | None, error: OSError) -> str:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return f"there is no {path}, expected a slide; correct the path, which counts from the manifest's folder"
    return f"{quote(str(path))} cannot be read: {error.strerror}; check its permissions"


def _twins(stats: Mapping[Path, os.stat_result], threads: int) -> list[Path]:
    """Return slides that may have equal bytes: those of equal size with equal samples."""
    files_once = {(stat_result.st_dev, stat_result.st_ino): path for path, stat_result in stats.items()}
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="sample") as pool:
        folders = [path for path in files_once.values() if stat.S_ISDIR(stats[path].st_mode)]
        size_of = {path: stat_result.st_size for path, stat_result in stats.items()} | dict(
            zip(folders, pool.map(_folder_bytes, folders), strict=True)
        )
        as_large = _shared((size_of[path], path) for path in files_once.values())
        return _shared(zip(pool.map(_likeness, as_large), as_large, strict=True))


def _shared(keyed: Iterable[tuple[Hashable, Path]]) -> list[Path]:
    """Return the paths that share their key with another; None is no key."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for key, path in keyed:
        groups[key].append(path)
    return [path for key, group in groups.items() if key is not None and len(group) > 1 for path in group]


def _folder_bytes(folder: Path) -> int | None:
    sizes = _sizes(folder)
    return None if sizes is None else sum(sizes)


def _likeness(path: Path) -> Hashable:
    if path.is_dir():
        return _sizes(path)
    try:
        return sample(path)
    except OSError:
        return None


def _sizes(folder: Path) -> tuple[int, ...] | None:
    """Return the sizes of a folder's files; None if it cannot be read, which the run then reports."""
    try:
        return tuple(sorted(part.stat().st_size for part in files.slide_files(files.locate(folder))))
    except (OSError, UnreadableSlide):
        return None
