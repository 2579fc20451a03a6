"""A PostgreSQL of its own for the tests, on a socket in a temporary folder; as another user where we are root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_USERS = ("postgres", "nobody")


def programs() -> Path:
    """Return where PostgreSQL's programs lie; skips the test where they are not installed."""
    if find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb")
    if not debian and found is None:
        pytest.skip("PostgreSQL is not installed (initdb)")
    return debian[-1].parent if debian else Path(str(found)).parent


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server that can be stopped and started again."""

    url: str
    program: Path
    folder: Path
    run: dict[str, Any]

    def start(self) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=50"
        self._control("-w", "-o", options, "-l", self.folder / "log", "start")

    def stop(self, how: str = "immediate") -> None:
        self._control("-w", "-m", how, "stop")

    def _control(self, *arguments: str | Path) -> None:
        subprocess.run([self.program, "-D", self.folder / "cluster", *arguments], **self.run)


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of an empty database."""
    with postgres_server() as server:
        yield server.url


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Yield a server with an empty database, started; it is stopped at the end where it runs then."""
    bin_ = programs()
    user = next((each for each in _USERS if _exists(each)), None) if os.getuid() == 0 else None
    if os.getuid() == 0 and user is None:
        pytest.skip("PostgreSQL does not run as root, and there is no other user")
    folder = Path(tempfile.mkdtemp(prefix="wsigraph-pg-"))
    try:
        folder.chmod(0o755)
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        run = {
            "user": user,
            "check": True,
            "capture_output": True,
            "cwd": folder,
            "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
        }
        cluster = folder / "cluster"
        subprocess.run([bin_ / "initdb", "-D", cluster, "-U", "wsigraph", "-A", "trust", "-N", "-E", "UTF8"], **run)
        url = f"postgresql+psycopg://wsigraph@/postgres?host={folder}"
        server = Server(url, bin_ / "pg_ctl", folder, run)
        server.start()
        try:
            yield server
        finally:
            if (cluster / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
