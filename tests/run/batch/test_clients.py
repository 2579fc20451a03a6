"""Clients that are killed, that come two at once, that find the disk full; what another terminal sees of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.batch.cohorts import content, manifest_of
from wsigraph.cohort.manifest.manifest import write_manifest
from wsigraph.config import Config
from wsigraph.errors import StoreError
from wsigraph.run.batch.run import RunResult, run_cohort
from wsigraph.run.batch.run_state import lease_path, read_states

Slides = dict[str, Path]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def table(slides: Slides, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "cohort.csv"
    write_manifest(manifest_of(slides).rows, path)
    return path


def command(table: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "wsigraph", "run", str(table), "--out", str(out), "--until", "coarsen", *options]


def test_a_client_killed_with_its_workers_is_gone_on_with(
    table: Path, slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    client = subprocess.Popen(
        command(table, out, "--workers", "1"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        _await(lambda: list(out.glob("*/graph.safetensors")) and list(out.glob(".batch/leases/*.json")), client)
    finally:
        client.send_signal(signal.SIGKILL)
        client.wait()
    (state,) = read_states(out)
    assert state.status == "killed"
    output = subprocess.run(
        [sys.executable, "-m", "wsigraph", "status", str(out)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "killed" in output.stdout
    assert "run the same command again to continue" in output.stdout
    # workers of a killed client end with it; until then their leases hold
    result = run_cohort(manifest_of(slides), out, on_two, until="coarsen")
    assert result.n_failed == 0
    assert content(out) == reference
    assert read_states(out)[0].status == "finished"


def _await(happens: object, process: subprocess.Popen[bytes], within_s: float = 90.0) -> None:
    for _ in range(int(within_s / 0.02)):
        if happens():  # type: ignore[operator]
            return
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    raise AssertionError("nothing happened")


def test_two_clients_at_once_share_the_work(
    slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    found: list[RunResult] = []

    def client() -> None:
        found.append(run_cohort(manifest_of(slides), tmp_path, on_two, until="coarsen"))

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    for result in found:
        assert (result.n_failed, result.summary["done"] + result.summary["skipped"]) == (0, 5)
    assert sum(result.summary["done"] for result in found) == 5, "a slide was done twice"
    assert content(tmp_path) == reference


def test_a_lease_left_by_a_vanished_machine_is_waited_for_and_taken(
    slides: Slides, on_two: Config, reference: dict[str, bytes], tmp_path: Path
) -> None:
    path = lease_path(tmp_path, "gamma")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"run_id": "old", "host": "vanished", "process": 7, "nonce": "n"}))
    started = time.monotonic()
    result = run_cohort(manifest_of({"gamma": slides["gamma"]}), tmp_path, on_two, until="coarsen")
    assert time.monotonic() - started > on_two.batch.lease_stale_s
    assert result.summary["done"] == 1
    assert content(tmp_path) == {name: kept for name, kept in reference.items() if name.startswith("gamma/")}
    assert not path.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if not done or done.returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_loses_nothing_that_was_done(
    small_disk: Path, slides: Slides, on_two: Config, reference: dict[str, bytes]
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(500_000))
    with pytest.raises(StoreError, match="free some space and run the same command again"):
        run_cohort(manifest_of(slides), small_disk, on_two, until="coarsen")
    left = {name: kept for name, kept in content(small_disk).items() if not name.startswith(".")}
    whole = {name for name, kept in left.items() if reference.get(name) == kept}
    assert {name for name in left if not name.startswith("ballast")} == whole, "a torn record"
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert run_cohort(manifest_of(slides), small_disk, on_two, until="coarsen").n_failed == 0
    assert content(small_disk) == reference


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no run"):
        read_states(tmp_path)
