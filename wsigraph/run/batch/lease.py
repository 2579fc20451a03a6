"""Leases: only the process that holds the lease of a slide may write its directory.

A lease is a file, created with O_EXCL, that names its owner. The owner sets its modification time again and again (the
heartbeat), through the open file, so that a lease that was taken over cannot be revived by mistake. A process that
waits compares the file at two moments of its own clock, so the clocks of different machines need not agree. A lease is
taken over at once if it belongs to the same run, whose scheduler gives a slide to one worker at a time, or to a process
of this machine that has ended; otherwise after ``batch.lease_stale_s`` without a heartbeat. To take over, the very file
that was examined is renamed. If two processes take over at the same moment, one of them notices it at its next
heartbeat and stops.
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
    """The content of a lease file.

    Attributes
    ----------
    run_id : str
        Identifies the run that holds it; empty if the file cannot be read.
    host : str
        Machine and process namespace of the owner.
    process : int
        Its process number there.
    nonce : str
        A random text, different for every lease.
    beat_ns : int
        Time of the last heartbeat by the clock of the file system, ns; only to be compared with earlier values.
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
        Time between heartbeats, s.
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
        """Release the lease; one that was taken over is left to its new owner."""
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
            at_path = self._path.stat()
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (at_path.st_ino, at_path.st_dev) == (own.st_ino, own.st_dev)


def acquire(path: Path, run_id: str, *, beat_s: float, seen_stale: Holder | None = None) -> Lease | Holder:
    """Take the lease of a slide, or return who holds it.

    Parameters
    ----------
    path : Path
        The lease file; missing parent directories are made.
    run_id : str
        Identifies the run that wants the lease.
    beat_s : float
        Time between heartbeats, s.
    seen_stale : Holder, optional
        Content that the lease has had for longer than ``batch.lease_stale_s``; if it is still the same, the lease is
        taken over.

    Returns
    -------
    Lease or Holder
        The lease, or its content if another process holds it.

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
    """Return the content of a lease file; None if there is none."""
    try:
        with path.open("rb") as stream:
            content, beat_ns = stream.read(), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    values = _parse(content)
    return Holder(
        run_id=str(values.get("run_id", "")),
        host=str(values.get("host", "")),
        process=int(values.get("process", 0)),
        nonce=str(values.get("nonce", "")),
        beat_ns=beat_ns,
    )


def host_identity() -> str:
    """Return a name of this machine and its process namespace, because containers number processes separately."""
    try:
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        namespace = ""
    return f"{socket.gethostname()} {namespace}".strip()


def is_gone(host: str, process: int) -> bool:
    """Return whether a process has ended for certain; False for processes of other machines."""
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


def _remove(path: Path, examined: Holder) -> None:
    """Remove the lease that was examined; put back another one that has replaced it meanwhile."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    moved = read_holder(aside)
    if moved is not None and moved.nonce != examined.nonce:
        # if a third process has taken the lease in between, the owner of the moved one will notice
        with suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)


def _parse(content: bytes) -> dict[str, Any]:
    """Return the content of a lease; empty if its writer was killed before it had written."""
    try:
        values = json.loads(content)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
