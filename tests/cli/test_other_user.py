"""What another user of the machine gets of a run and of a service: nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.command import ROOT, SLIDE, command
from tests.slurm import fake_slurm

Process = subprocess.Popen[bytes]
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user of the machine")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that everybody may enter, as data often lie in one; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="wsigraph-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def started(folder: Path, *words: object, **environment: str) -> Iterator[Process]:
    """Start a command whose scratch files lie in the open, and end all of its processes."""
    scratch = folder / "tmp"
    scratch.mkdir()
    scratch.chmod(0o1777)
    variables = {**os.environ, "TMPDIR": str(scratch), **environment}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command(*words), cwd=folder, stdout=log, stderr=log, env=variables)
    try:
        yield process
    finally:
        family = [process, *_below(process.pid)]
        for each in family:
            each.kill()
        process.wait()


def _below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def listening(*pids: int) -> list[tuple[str, int]]:
    """Return address and port of every listening socket of some processes and all below them."""
    found = set()
    for pid in pids:
        for process in (psutil.Process(pid), *_below(pid)):
            for kind in ("inet", "inet6"):
                connections = process.net_connections(kind)
                found |= {tuple(each.laddr) for each in connections if each.status == psutil.CONN_LISTEN}
    return sorted(found)


def until(condition: Callable[[], Any], process: Process, folder: Path, wait_s: float = 120.0) -> None:
    end = time.monotonic() + wait_s
    while not condition():
        log = (folder / "log").read_text()
        assert process.poll() is None, log
        assert time.monotonic() < end, log
        time.sleep(0.1)


def steady(*pids: int) -> list[tuple[str, int]]:
    """Return the listening sockets once no more come."""
    before: list[tuple[str, int]] = []
    while not before or before != listening(*pids):
        before = listening(*pids)
        time.sleep(1.0)
    return before


def intrude(folder: Path, ports: list[int], *paths: Path) -> dict[str, list[str]]:
    """Have another user try everything; return what they got."""
    mark = folder / "tmp" / "mark"
    words = [str(mark), json.dumps(ports), json.dumps([str(path) for path in paths])]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.cli.intruder", *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    got = json.loads(ended.stdout)
    got["ran"] = mark.read_text().split() if mark.exists() else []
    return got


def write_cohort(folder: Path, n_slides: int) -> Path:
    slide = folder / "slide.svs"
    shutil.copy(SLIDE, slide)
    lines = [f"s{number},{slide}" for number in range(n_slides)]
    (folder / "cohort.csv").write_text("\n".join(["slide_id,path", *lines]) + "\n")
    return folder / "cohort.csv"


def leases(out: Path) -> list[Path]:
    return list((out / ".batch" / "leases").glob("[!.]*.json"))


NOTHING = {"answers": [], "read": [], "ran": []}


@is_root
@pytest.mark.parametrize("kind", ["threads", "local", "slurm"])
def test_a_run_gives_nothing_away(kind: str, open_folder: Path) -> None:
    table, out = write_cohort(open_folder, 40), open_folder / "runs"
    environment, words = {}, []
    if kind == "slurm":
        pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed (extra 'slurm')")
        environment = fake_slurm(open_folder / "slurm")
        for word in ("slurm_cores=1", "slurm_memory=4GB", "slurm_interface=lo"):
            words += ["--set", f"cluster.{word}"]
    with started(
        open_folder, "run", table, "--out", out, "--workers", 2 if kind != "slurm" else 1, "--cluster", kind, *words,
        "--until", "predict", **environment,
    ) as process:  # fmt: skip
        try:
            until(lambda: leases(out), process, open_folder)
            pids = [process.pid]
            if kind == "slurm":
                pids.append(int((open_folder / "slurm" / "job").read_text()))
            sockets = steady(*pids) if kind != "threads" else listening(*pids)
            assert {address for address, _ in sockets} <= {"127.0.0.1"}
            # threads of one process need no port at all
            assert bool(sockets) == (kind != "threads")
            hidden = [out / ".batch", open_folder / "tmp", *open_folder.glob(".wsigraph-*")]
            assert intrude(open_folder, [port for _, port in sockets], *hidden) == NOTHING
            assert process.poll() is None, (open_folder / "log").read_text()
            assert leases(out)
        finally:
            if kind == "slurm":
                for each in (psutil.Process(pids[1]), *_below(pids[1])):
                    each.kill()


@is_root
def test_a_service_gives_nothing_away(open_folder: Path) -> None:
    data, tokens = open_folder / "data", open_folder / "tokens"
    data.mkdir()
    shutil.copy(SLIDE, data / "slide.svs")
    made = subprocess.run(
        command("serve", "--token-file", tokens, "--new-token", "one:run"), capture_output=True, text=True, check=True
    )
    header = {"Authorization": f"Bearer {made.stdout.strip()}", "Content-Type": "application/json"}
    words = ["--data", data, "--port", 0, "--workers", 2, "--token-file", tokens]
    with started(open_folder, "serve", *words) as process:
        until(lambda: " serves " in (open_folder / "log").read_text(), process, open_folder)
        address = (open_folder / "log").read_text().split("http://")[1].split("/")[0]
        wish = urllib.request.Request(
            f"http://{address}/v1/jobs", b'{"slide_id": "slide", "kind": "explain", "target": "risk"}', header
        )

        def status() -> str:
            with urllib.request.urlopen(ask) as answer:
                return str(json.load(answer)["state"])

        until(lambda: _answers(f"http://{address}/v1/ready"), process, open_folder)
        with urllib.request.urlopen(wish) as answer:
            job = json.load(answer)["job_id"]
        ask = urllib.request.Request(f"http://{address}/v1/jobs/{job}", headers=header)
        until(lambda: status() == "running", process, open_folder)
        sockets = steady(process.pid)
        assert {host for host, _ in sockets} == {"127.0.0.1"}
        ports = [port for _, port in sockets if port != int(address.rpartition(":")[2])]
        assert len(ports) >= 5, "a scheduler, two nannies and two workers"
        assert intrude(open_folder, ports, data / ".wsigraph", open_folder / "tmp", tokens) == NOTHING


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
