"""Files and directories that appear whole or not at all.

A file is written under a hidden name beside its destination, flushed to disk and renamed. A reader sees the old
content or the new content, never a part; a directory is absent for the moment between its two renames. The hidden
name carries host and process id. What a killed process leaves is removed by the next writer of the same destination,
once that process has ended or a day has passed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wsigraph.errors import StoreError

LEFTOVER_AGE_S = 86_400
"""Age after which a partial of an unknown process counts as abandoned."""

SCRATCH_PREFIX = ".wsigraph-"
"""How the names of temporary stores beside a record begin."""

_SUFFIX = ".partial"


def write_file(path: Path, content: bytes) -> None:
    """Replace a file by `content` in one step.

    Parameters
    ----------
    path : Path
        Destination; missing parent directories are made.
    content : bytes
        The whole file.

    Raises
    ------
    StoreError
        If the destination cannot be written; nothing is left behind and an older file stays as it was.
    """
    with writing(path):
        partial = partial_of(path)
        try:
            with partial.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _flush_directory(path.parent)


def partial_of(path: Path) -> Path:
    """Return an unused hidden name beside `path`, after removing what dead writers of `path` left there.

    Parameters
    ----------
    path : Path
        Destination; missing parent directories are made.

    Returns
    -------
    Path
        Where to write; hand a directory to `publish_directory` when it is whole.

    Raises
    ------
    OSError
        If the parent directory cannot be made or listed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        discard(leftover)
    return path.parent / f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}{_SUFFIX}"


def publish_directory(partial: Path, path: Path) -> None:
    """Rename a finished directory to its destination; an older one there is replaced.

    Parameters
    ----------
    partial : Path
        Directory from `partial_of`, complete.
    path : Path
        Destination.

    Raises
    ------
    OSError
        If a rename fails.
    """
    for root, _, names in os.walk(partial):
        for name in names:
            with (Path(root) / name).open("rb") as stream:
                os.fsync(stream.fileno())
        _flush_directory(Path(root))
    if path.exists():
        # A directory cannot replace a full one in one call; between these two renames the destination is absent,
        # which every reader takes for "not done".
        old = partial_of(path)
        path.rename(old)
        partial.rename(path)
        discard(old)
    else:
        partial.rename(path)
    _flush_directory(path.parent)


def discard(path: Path) -> None:
    """Remove a file or a directory tree; one that is already gone is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Remove what killed writers left in a directory of records that nobody else is writing now.

    Parameters
    ----------
    directory : Path
        A slide's directory; may be absent. Only hidden partial files and scratch stores go.
    """
    for leftover in [*directory.glob(f".*{_SUFFIX}"), *directory.glob(f"{SCRATCH_PREFIX}*")]:
        discard(leftover)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn operating-system faults while writing `path` into StoreError.

    Parameters
    ----------
    path : Path
        Destination named in the message.

    Raises
    ------
    StoreError
        If the block raises OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = (
            "free some space and run again"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "choose a directory that can be written"
        )
        raise StoreError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error


def _leftovers(path: Path) -> Iterator[Path]:
    prefix = f".{path.name}."
    for candidate in list(path.parent.iterdir()):
        name = candidate.name
        if name.startswith(prefix) and name.endswith(_SUFFIX):
            host, _, process = name[len(prefix) : -len(_SUFFIX)].rpartition(".")[0].rpartition(".")
            if (host == _host() and process.isdigit() and not _is_running(int(process))) or _is_old(candidate):
                yield candidate


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFTOVER_AGE_S
    except FileNotFoundError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


_host: Callable[[], str] = socket.gethostname


def _flush_directory(path: Path) -> None:
    # Some file systems (network mounts, FUSE) refuse fsync on a directory; the rename itself has then happened anyway.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
