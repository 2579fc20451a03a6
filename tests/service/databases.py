"""A PostgreSQL of its own for the tests, on a socket in a temporary folder; as another user where we are root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

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


@contextmanager
def postgres() -> Iterator[str]:
    """Yield the address of an empty database."""
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
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=50"
        subprocess.run([bin_ / "pg_ctl", "-D", cluster, "-w", "-o", options, "-l", folder / "log", "start"], **run)
        try:
            yield f"postgresql+psycopg://wsigraph@/postgres?host={folder}"
        finally:
            subprocess.run([bin_ / "pg_ctl", "-D", cluster, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
