"""Who may write a slide's directory: one file a slide, made by whoever comes first.

A lease is created with O_EXCL, names its owner, and shows life by its modification time, which the owner sets through
the open file: a lease that was taken over cannot be revived by mistake. Whoever waits compares what a lease shows at
two moments of its own clock, so that clocks of different machines need not agree. A lease is taken over at once if it
belongs to the same run (whose scheduler hands a slide to one worker at a time) or to a process of this machine that is
gone; otherwise after it has shown no life for ``batch.lease_stale_s``. Taking over is a rename of the very file that
was judged; in the worst race of two that take over, one of them notices at its next sign of life and stops.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from wsigraph.errors import LeaseLost
from wsigraph.store.atomic import writing

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What a lease file shows.

    Attributes
    ----------
    run_id : str
        The run that it belongs to; empty where the file does not read.
    host : str
        Machine and process namespace of the owner.
    process : int
        Its number there.
    nonce : str
        Drawn anew for every lease.
    beat_ns : int
        Time of the last sign of life by the file system's clock, ns; to be compared with itself alone.
    """

    run_id: str
    host: str
    process: int
    nonce: str
    beat_ns: int


class Lease:
    """The right to write one slide's directory, kept alive by a thread until it is released.

    Parameters
    ----------
    path : Path
        The lease file.
    descriptor : int
        Open file descriptor of it.
    beat_s : float
        Time between signs of life, s.
    """

    def __init__(self, path: Path, descriptor: int, beat_s: float) -> None:
        self._path = path
        self._descriptor = descriptor
        self._beat_s = beat_s
        self._ended = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name=f"lease-{path.name}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that the lease is still held.

        Raises
        ------
        LeaseLost
            If another process has taken it over.
        """
        if self._lost:
            raise LeaseLost(f"{self._path} was taken over by another process, which now works on this slide")

    def release(self) -> None:
        """Give the lease up; one that was taken over is left to its new owner."""
        self._ended.set()
        self._thread.join()
        try:
            if self._is_own():
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            if not self._is_own():
                self._lost = True
                return
            os.utime(self._descriptor)

    def _is_own(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(self._descriptor)
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)


def acquire(path: Path, run_id: str, *, beat_s: float, seen_stale: Holder | None = None) -> Lease | Holder:
    """Take the lease of a slide, or tell who holds it.

    Parameters
    ----------
    path : Path
        The lease file; missing parent directories are made.
    run_id : str
        The run that asks.
    beat_s : float
        Time between signs of life, s.
    seen_stale : Holder, optional
        What the lease showed for longer than ``batch.lease_stale_s``; it is taken over if it shows the same now.

    Returns
    -------
    Lease or Holder
        The lease; or what it shows, where another process holds it.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    holder: Holder | None = None
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            descriptor = _create(path, run_id)
            if descriptor is not None:
                return Lease(path, descriptor, beat_s)
            holder = read_holder(path)
            if holder is None:
                continue
            if not (holder.run_id == run_id or is_gone(holder.host, holder.process) or holder == seen_stale):
                return holder
            _remove(path, holder)
    return holder or Holder(run_id="", host="", process=0, nonce="", beat_ns=0)


def read_holder(path: Path) -> Holder | None:
    """Return what a lease file shows; None where there is none."""
    try:
        with path.open("rb") as stream:
            content, beat_ns = stream.read(), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    found = _parse(content)
    return Holder(
        run_id=str(found.get("run_id", "")),
        host=str(found.get("host", "")),
        process=int(found.get("process", 0)),
        nonce=str(found.get("nonce", "")),
        beat_ns=beat_ns,
    )


def host_identity() -> str:
    """Return a name of this machine that differs between containers whose process numbers mean different things."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def is_gone(host: str, process: int) -> bool:
    """Return whether a process is known to have ended; of another machine nothing is known."""
    if host != host_identity() or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _create(path: Path, run_id: str) -> int | None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return None
    content = {"run_id": run_id, "host": host_identity(), "process": os.getpid(), "nonce": secrets.token_hex(8)}
    try:
        os.write(descriptor, json.dumps(content).encode())
    except BaseException:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def _remove(path: Path, judged: Holder) -> None:
    """Remove the lease that was judged; put back one that has appeared in its place meanwhile."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    moved = read_holder(aside)
    if moved is not None and moved.nonce != judged.nonce:
        # where a third has come in between, the owner of the moved one will notice
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _parse(content: bytes) -> dict[str, Any]:
    """Return what a lease says; nothing where its writer was killed before it had written."""
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
