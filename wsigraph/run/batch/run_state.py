"""The state files of a run, which ``wsigraph status`` reads from another terminal.

``OUT/.batch/`` holds the leases of slides that are being worked on, and one small file for each client, replaced every
two seconds. The state of a client is for people: only the records decide which slides are done.
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
"""Directory of a run's own files; no slide can have this name."""
EVERY_S = 2.0
"""Time between two states, s."""
_OTHERS = 0o007
_N_STATES = 8
_SILENT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState:
    """The last state that one client has written.

    Attributes
    ----------
    run_id : str
        Identifies the run.
    status : str
        ``running``; ``silent`` if a client on another machine has written nothing for a minute; ``killed`` if its
        process is gone; else how it ended: ``finished``, ``interrupted`` or ``stopped``.
    age_s : float
        Time since the client wrote it, s, by the clock of this machine.
    content : dict
        What the client wrote: `wsigraph.run.batch.tally.Tally.snapshot` and the facts about the run.
    """

    run_id: str
    status: str
    age_s: float
    content: dict[str, Any]


def lease_path(out: Path, slide_id: str) -> Path:
    """Return the path of the lease of a slide."""
    return out / DIRECTORY / "leases" / f"{slide_id}.json"


class StateFile:
    """Writes the state of one client.

    Parameters
    ----------
    out : Path
        Directory of the run.
    run_id : str
        Identifies the run.
    circumstances : mapping of str to JSON value
        Facts that do not change: manifest, cluster, dashboard, last step.
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
        """Add facts that do not change."""
        self._fixed |= circumstances

    def write(self, snapshot: Mapping[str, Any], ended: str | None = None) -> None:
        """Replace the state.

        Parameters
        ----------
        snapshot : mapping of str to JSON value
            Progress of the run.
        ended : str, optional
            How it ended, if it has ended.

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
    """Return the last states of the clients of a run directory, the latest first.

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
        If no run was ever started in it.
    """
    files = sorted((out / DIRECTORY).glob("client-*.json"), key=_age_s)
    states = [state for state in (_read(file) for file in files[:_N_STATES]) if state is not None]
    if not states:
        raise StoreError(f"{out} holds no run, expected the --out directory of 'wsigraph run'; check the path")
    return states


def held_slides(out: Path) -> list[str]:
    """Return the slides that have a lease now, sorted."""
    return sorted(path.stem for path in (out / DIRECTORY / "leases").glob("[!.]*.json"))


def _read(file: Path) -> ClientState | None:
    try:
        content, age_s = json.loads(file.read_bytes()), _age_s(file)
    except (OSError, ValueError):
        # just being replaced or removed, or truncated by a power cut
        return None
    if content["ended"]:
        status = content["ended"]
    elif is_gone(content["host"], content["process"]):
        status = "killed"
    else:
        status = "running" if content["host"] == host_identity() or age_s < _SILENT_S else "silent"
    return ClientState(run_id=content["run_id"], status=status, age_s=age_s, content=content)


def _close_to_others(directory: Path) -> None:
    """Make the directory, readable to its owner and group only, because it names slides and paths.

    The permissions of the group are kept, because several people may share a run.
    """
    with writing(directory):
        directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        status = directory.stat()
        if status.st_mode & _OTHERS and status.st_uid == os.geteuid():
            directory.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)


def _forget_old(out: Path) -> None:
    """Remove all but the latest states."""
    for file in sorted((out / DIRECTORY).glob("client-*.json"), key=_age_s)[_N_STATES - 1 :]:
        discard(file)


def _age_s(file: Path) -> float:
    try:
        return max(0.0, time.time() - file.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")
