"""Where a run keeps what only it needs, and what tells another terminal how it stands.

``OUT/.batch/`` holds the leases of slides that are worked on and one small file a client, replaced every two seconds.
The client's state is for people: nothing is decided by it, and what is done is decided by the records alone.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsigraph.errors import StoreError
from wsigraph.run.batch.lease import host_identity, is_gone
from wsigraph.store.atomic import discard, partial_of, writing
from wsigraph.store.header import canonical_document

DIRECTORY = ".batch"
"""Directory of a run's own files; no slide can be named so."""
EVERY_S = 2.0
"""Time between two states, s."""
_OTHERS = 0o007
_KEPT = 8
_SILENT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """What one client said of its run last.

    Attributes
    ----------
    run_id : str
        The run.
    standing : str
        ``running``; ``silent`` where a client of another machine has said nothing for a minute; ``killed`` where its
        process is gone; else how it ended: ``finished``, ``interrupted`` or ``stopped``.
    age_s : float
        Time since it said so, s, by this machine's clock.
    told : dict
        What it said: ``wsigraph.run.batch.tally.Tally.snapshot`` and the circumstances of the run.
    """

    run_id: str
    standing: str
    age_s: float
    told: dict[str, Any]


def lease_path(out: Path, slide_id: str) -> Path:
    """Return where the lease of a slide lies."""
    return out / DIRECTORY / "leases" / f"{slide_id}.json"


class StateFile:
    """The state of one client's run.

    Parameters
    ----------
    out : Path
        Directory of the run.
    run_id : str
        The run.
    circumstances : mapping of str to JSON value
        What does not change: manifest, cluster, dashboard, last stage.
    """

    def __init__(self, out: Path, run_id: str, circumstances: Mapping[str, Any]) -> None:
        self._path = out / DIRECTORY / f"client-{run_id}.json"
        self._fixed = {
            **circumstances,
            "run_id": run_id,
            "host": host_identity(),
            "process": os.getpid(),
            "started_at": time.time(),
        }
        _close_to_others(out / DIRECTORY)
        _forget_old(out)

    def add(self, circumstances: Mapping[str, Any]) -> None:
        """Add to what does not change."""
        self._fixed |= circumstances

    def write(self, snapshot: Mapping[str, Any], ended: str | None = None) -> None:
        """Replace the state.

        Parameters
        ----------
        snapshot : mapping of str to JSON value
            How far the run is.
        ended : str, optional
            How it ended, where it did.

        Raises
        ------
        StoreError
            If it cannot be written.
        """
        content = canonical_document({**self._fixed, **snapshot, "ended": ended})
        # not flushed to the disk every two seconds: after a power cut an older state does no harm
        with writing(self._path):
            partial = partial_of(self._path)
            try:
                partial.write_bytes(content)
                partial.replace(self._path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise


def read_states(out: Path) -> list[ClientState]:
    """Return what the clients of a run directory said last, the latest first.

    Parameters
    ----------
    out : Path
        Directory of the run.

    Returns
    -------
    list of ClientState
        At most eight.

    Raises
    ------
    StoreError
        If no run was ever started there.
    """
    files = sorted((out / DIRECTORY).glob("client-*.json"), key=_age_s)
    states = [state for state in (_read(file) for file in files[:_KEPT]) if state is not None]
    if not states:
        raise StoreError(f"{out} holds no run, expected the --out directory of 'wsigraph run'; check the path")
    return states


def held_slides(out: Path) -> list[str]:
    """Return the slides that have a lease now, sorted."""
    return sorted(path.stem for path in (out / DIRECTORY / "leases").glob("[!.]*.json"))


def _read(file: Path) -> ClientState | None:
    try:
        told, age_s = json.loads(file.read_bytes()), _age_s(file)
    except (OSError, ValueError):
        # replaced or removed at this moment, or cut short by a power cut
        return None
    if told["ended"]:
        standing = told["ended"]
    elif is_gone(told["host"], told["process"]):
        standing = "killed"
    else:
        standing = "running" if told["host"] == host_identity() or age_s < _SILENT_S else "silent"
    return ClientState(run_id=told["run_id"], standing=standing, age_s=age_s, told=told)


def _close_to_others(directory: Path) -> None:
    """Make the directory, or close it: names of slides and paths are not for every user of the machine.

    The user's group is left as it is, because several people may share a run.
    """
    with writing(directory):
        directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        found = directory.stat()
        if found.st_mode & _OTHERS and found.st_uid == os.geteuid():
            directory.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def _forget_old(out: Path) -> None:
    """Remove all but the latest states."""
    for file in sorted((out / DIRECTORY).glob("client-*.json"), key=_age_s)[_KEPT - 1 :]:
        discard(file)


def _age_s(file: Path) -> float:
    try:
        return max(0.0, time.time() - file.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")
