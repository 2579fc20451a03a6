"""Nothing that was begun and not finished is ever taken for finished, and nothing of it stays."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsigraph import store
from wsigraph.errors import StoreError
from wsigraph.geometry import Size
from wsigraph.store.atomic import LEFTOVER_AGE_S, discard, partial_of, publish_directory, writing

KILLED = """
import os, sys
from pathlib import Path
from wsigraph.store import atomic

def die(*_):
    os.kill(os.getpid(), 9)

path = Path(sys.argv[2])
if sys.argv[1] == "file":
    Path.replace = die
    atomic.write_file(path, b"new")
else:
    partial = atomic.partial_of(path)
    partial.mkdir()
    (partial / "data").write_bytes(b"new")
    Path.rename = die
    atomic.publish_directory(partial, path)
"""


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_killed_between_write_and_rename_keeps_the_old_and_the_next_writer_cleans_up(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "record"
    if kind == "file":
        path.write_bytes(b"old")
    else:
        path.mkdir()
        (path / "data").write_bytes(b"old")
    died = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)], check=False)
    assert died.returncode == -9
    assert len(list(tmp_path.iterdir())) == 2, "the killed process left its partial"
    assert (path if kind == "file" else path / "data").read_bytes() == b"old"

    if kind == "file":
        store.write_file(path, b"newer")
        assert path.read_bytes() == b"newer"
    else:
        partial = partial_of(path)
        partial.mkdir()
        (partial / "data").write_bytes(b"newer")
        publish_directory(partial, path)
        assert (path / "data").read_bytes() == b"newer"
    assert list(tmp_path.iterdir()) == [path]


def test_another_living_writer_is_left_alone_until_it_is_a_day_old(tmp_path: Path) -> None:
    path = tmp_path / "record"
    mine, foreign = partial_of(path), tmp_path / ".record.elsewhere.77.abcd.partial"
    for partial in (mine, foreign):
        partial.write_bytes(b"")
    store.write_file(path, b"x")
    assert mine.exists()
    assert foreign.exists()
    old = time.time() - LEFTOVER_AGE_S - 60
    os.utime(foreign, (old, old))
    store.write_file(path, b"x")
    assert mine.exists()
    assert not foreign.exists()


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record"
    store.write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"cannot write .*record: No space left on device; free some space"):
        store.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_destination_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="choose a directory that can be written"):
        store.write_file(tmp_path / "file" / "record", b"x")
    with pytest.raises(StoreError, match=r"file/superpixels\.zarr"):
        store.create_labels(tmp_path / "file" / "superpixels.zarr", Size(4, 4))
    with pytest.raises(StoreError, match="cannot read"):
        store.digest(tmp_path / "absent")
    with writing(tmp_path):
        discard(tmp_path / "absent")


def test_digest_of_a_directory_counts_names_and_bytes_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "c").mkdir(parents=True)
        (tmp_path / name / "c" / "0").write_bytes(b"x")
    assert store.digest(tmp_path / "a") == store.digest(tmp_path / "b")
    (tmp_path / "b" / "c" / "0").rename(tmp_path / "b" / "c" / "1")
    assert store.digest(tmp_path / "a") != store.digest(tmp_path / "b")
