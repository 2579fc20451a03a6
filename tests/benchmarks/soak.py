"""A service under use while its processes are killed at random: afterwards nothing is lost, and nothing was done twice.

Twenty viewers pan, slides are uploaded, and jobs start on them. Meanwhile the service itself, its workers, and the
processes that open slides and run jobs are killed (SIGKILL), with a printed seed. At the end every slide whose upload
was acknowledged is there once with its bytes, every job that was acknowledged is done once by the database and by its
results, and no process, port, lease or file of the service is left::

    python -m tests.benchmarks soak --minutes 60
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import tifffile

from tests.benchmarks.slide_maker import SOURCE
from tests.benchmarks.table import Table
from wsigraph.errors import WsigraphError
from wsigraph.service.client import Client

N_VIEWERS, PAUSE_S = 20, 0.5
UPLOAD_S, KILL_S, SAMPLE_S = 15.0, 25.0, 10.0
END_S, SETTLE_S = 60.0, 1800.0
_MARK = "WSIGRAPH_SOAK"
_SIDE_PX = 700
_SETTINGS = (
    "service.requests_per_s=1e5", "service.requests_burst=1000000", "service.tiles_per_s=1e6",
    "service.tiles_burst=1000000", "service.session_h=1", "batch.attempts=10", "batch.lease_beat_s=1",
    "batch.lease_stale_s=5",
)  # fmt: skip
KINDS = {
    "service": ("wsigraph serve", 0.15),
    "worker": ("spawn_main", 0.25),
    "process of a job": ("sandbox_process", 0.3),
    "process that opens slides": ("isolation.worker", 0.3),
}
"""What is killed: a part of its command line, and how often it is chosen."""


@dataclass
class Service:
    """A service that can be killed and started again on the same port."""

    folder: Path
    port: int
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.folder / "data" / ".wsigraph"

    def start(self) -> None:
        words = [sys.executable, "-m", "wsigraph", "serve", "--data", str(self.folder / "data")]
        words += ["--port", str(self.port), "--workers", "2"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, *(word for setting in _SETTINGS for word in ("--set", setting))],
                stderr=log,
                env=os.environ | {_MARK: self.mark, "TMPDIR": str(self.folder / "tmp")},
            )
        self.started_at = time.monotonic()

    def processes(self) -> dict[int, str]:
        """Return the command line of every process that was started by this service, by number."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if self.mark.encode() in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return {number: words for number, words in found.items() if words}

    def stop(self) -> float:
        """Ask it to end, and return how long that takes, s."""
        began = time.monotonic()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(END_S)
        return time.monotonic() - began


@dataclass
class Log:
    """What was acknowledged, and what happened; the threads only append and count."""

    digests: dict[str, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    tiles: Counter[str] = field(default_factory=Counter)
    ms: list[float] = field(default_factory=list)
    memory: list[tuple[object, ...]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def view(service: Service, log: Log, stop: threading.Event, seed: int) -> None:
    """Look at tiles of random slides, about two a second."""
    rng = random.Random(seed)
    with httpx.Client(base_url=service.address, timeout=30) as client:
        while not stop.wait(PAUSE_S * rng.uniform(0.5, 1.5)):
            slide = rng.choice([*log.digests, "first"])
            level = rng.randint(6, 9)
            place = rng.randrange(max(1, 2 ** (level - 8))), rng.randrange(max(1, 2 ** (level - 8)))
            began = time.perf_counter()
            try:
                answer = client.get(f"/v1/slides/{slide}/tiles/{level}/{place[0]}_{place[1]}.jpeg")
            except httpx.TransportError:
                log.tiles["no connection (the service was killed)"] += 1
                continue
            log.tiles[str(answer.status_code)] += 1
            if answer.status_code == 200:
                log.ms.append(1e3 * (time.perf_counter() - began))


def write_slide(path: Path, pixels: np.ndarray, rng: random.Random) -> str:
    """Write a part of the real slide that no other file has; return its digest."""
    y, x = rng.randrange(600, 1600), rng.randrange(500, 900)
    tifffile.imwrite(
        path, pixels[y : y + _SIDE_PX, x : x + _SIDE_PX], tile=(256, 256), photometric="rgb",
        resolution=(2e4, 2e4), resolutionunit="CENTIMETER", description=secrets.token_hex(8),
    )  # fmt: skip
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(service: Service, log: Log, stop: threading.Event, seed: int) -> None:
    """Upload slides and start jobs on them."""
    rng = random.Random(seed)
    pixels = tifffile.imread(SOURCE, key=0)
    while not stop.wait(UPLOAD_S * rng.uniform(0.5, 1.5)):
        path = service.folder / "upload.tiff"
        digest = write_slide(path, pixels, rng)
        log.sent.append(digest)
        with Client(service.address) as client:
            try:
                slide = client.upload(path)
            except WsigraphError as error:
                note_failure(log, "upload", error)
                continue
            log.digests[slide] = digest
            for kind in ("predict", "explain")[: rng.randint(1, 2)]:
                try:
                    log.jobs.append(client.start(slide, kind)["job_id"])
                except WsigraphError as error:
                    note_failure(log, kind, error)


def note_failure(log: Log, what: str, error: Exception) -> None:
    """Note a failure that is not the end of a connection."""
    if "does not answer" not in str(error):
        log.unexpected.append(f"{what}: {type(error).__name__}: {error}")


def kill(service: Service, log: Log, stop: threading.Event, seed: int) -> None:
    """Kill processes at random moments; start the service again where it was killed."""
    rng = random.Random(seed)
    while not stop.wait(rng.expovariate(1 / KILL_S)):
        kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        numbers = [number for number, words in service.processes().items() if KINDS[kind][0] in words]
        if not numbers:
            continue
        with suppress(ProcessLookupError):
            os.kill(rng.choice(numbers), signal.SIGKILL)
            log.killed[kind] += 1
        if kind == "service" and service.process is not None:
            service.process.wait(END_S)
            service.start()


def sample(service: Service, log: Log, stop: threading.Event, began: float) -> None:
    """Note memory, processes and open files from time to time."""
    while not stop.wait(SAMPLE_S):
        with suppress(OSError, AttributeError):
            number = service.process.pid  # type: ignore[union-attr]
            resident = Path(f"/proc/{number}/statm").read_text().split()[1]
            log.memory.append(
                (
                    round(time.monotonic() - began),
                    round(time.monotonic() - service.started_at),
                    round(int(resident) * os.sysconf("SC_PAGE_SIZE") / 1e6),
                    len(list(Path(f"/proc/{number}/fd").iterdir())),
                    len(service.processes()),
                )
            )


def stored(service: Service) -> dict[str, tuple[str, int, str]]:
    """Return state, completions and slide of every job, from the database itself."""
    with sqlite3.connect(f"file:{service.state / 'jobs.sqlite'}?mode=ro", uri=True, timeout=30) as database:
        rows = database.execute("SELECT job_id, state, completions, slide_id FROM wsigraph_jobs").fetchall()
    return {job: (state, completions, slide) for job, state, completions, slide in rows}


def settle(service: Service, log: Log) -> None:
    """Wait until every job has ended."""
    end = time.monotonic() + SETTLE_S
    while time.monotonic() < end:
        states = stored(service)
        if all(states[job][0] in ("done", "failed", "cancelled") for job in log.jobs if job in states):
            return
        time.sleep(1.0)


def findings(service: Service, log: Log) -> dict[str, list[str]]:
    """Return what was lost or done twice, while the service still runs."""
    jobs = stored(service)
    lost = [f"job {job}: {jobs.get(job, ('absent',))[0]}" for job in log.jobs if jobs.get(job, ("",))[0] != "done"]
    twice = [f"job {job}: {done} times" for job, (_, done, _) in jobs.items() if done > 1]
    for job in log.jobs:
        path = service.state / "results" / job / jobs.get(job, ("", 0, ""))[2] / "prediction.json"
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            lost.append(f"results of {job}: {type(error).__name__}")
    with Client(service.address) as client:
        listed = Counter(str(slide["slide_id"]) for slide in client.slides())
    kept = Counter(
        hashlib.sha256(path.read_bytes()).hexdigest() for path in (service.state / "uploads").glob("*/slide.*")
    )
    lost += [f"slide {slide}" for slide in log.digests if not listed[slide]]
    lost += [f"bytes of {slide}" for slide, digest in log.digests.items() if not kept[digest]]
    twice += [f"slide {slide}" for slide, number in listed.items() if number > 1]
    twice += [f"bytes of {slide}" for slide, digest in log.digests.items() if kept[digest] > 1]
    return {"lost": lost, "done twice": twice, "unexpected answers": log.unexpected}


def left_over(service: Service) -> dict[str, list[str]]:
    """Return what a service has left behind that has ended."""
    end = time.monotonic() + 10
    while service.processes() and time.monotonic() < end:
        time.sleep(0.2)
    left = {"processes left": list(service.processes().values()), "ports left": []}
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", service.port))
        except OSError as error:
            left["ports left"] = [str(error)]
    # kept on purpose: compiled code, and the scratch folder of dask workers itself
    files = [path for path in (service.folder / "tmp").rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix not in (".nbc", ".nbi", ".lock") and "dask" not in str(path)]
    leases = (service.state / "results").glob("*/.batch/leases/*")
    partial = [path for path in service.state.rglob("*") if "partial" in path.name]
    left["files left"] = [str(path.relative_to(service.folder)) for path in (*files, *leases, *partial)]
    return left


def benchmark(folder: Path, minutes: float) -> list[Table]:
    """Use a service for some minutes, and look at what is left.

    Parameters
    ----------
    folder : Path
        Where its data are.
    minutes : float
        How long it is used; it then has half an hour to end the jobs.

    Returns
    -------
    list of Table
        What was found, and memory over time.
    """
    seed = int(os.environ.get("WSIGRAPH_SEED") or secrets.randbelow(2**32))
    print(f"soak of {minutes:g} min, WSIGRAPH_SEED={seed}", flush=True)
    folder = Path(folder) / f"soak-{secrets.token_hex(4)}"
    for name in ("data", "tmp"):
        (folder / name).mkdir(parents=True)
    shutil.copy(SOURCE, folder / "data" / "first.svs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        service = Service(folder, free.getsockname()[1])
    log, stop, began = Log(), threading.Event(), time.monotonic()
    service.start()
    actors: list[Callable[..., None]] = [view] * N_VIEWERS + [upload, kill]
    threads = [
        threading.Thread(target=actor, args=(service, log, stop, seed + number)) for number, actor in enumerate(actors)
    ]
    threads.append(threading.Thread(target=sample, args=(service, log, stop, began)))
    for thread in threads:
        thread.start()
    try:
        time.sleep(60 * minutes)
        _end(stop, threads)
        settle(service, log)
        found = findings(service, log)
        end_s = service.stop()
        found |= left_over(service)
    finally:
        # after an interrupt, too, nothing goes on
        _end(stop, threads)
        for number in service.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    return [_summary(minutes, seed, log, found, end_s), _memory(log)]


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        thread.join()


def _summary(minutes: float, seed: int, log: Log, found: dict[str, list[str]], end_s: float) -> Table:
    rows: list[tuple[str, object]] = [("viewers", N_VIEWERS)]
    rows += [("files sent", len(log.sent)), ("slides acknowledged", len(log.digests))]
    rows += [("jobs acknowledged", len(log.jobs)), ("kills", sum(log.killed.values()))]
    rows += [(f"kills: {kind}", number) for kind, number in sorted(log.killed.items())]
    rows += [(f"tiles: {status}", number) for status, number in sorted(log.tiles.items())]
    if log.ms:
        rows.append(("median and 95th percentile of tiles, ms", _both(log.ms)))
    rows += [(what, len(names)) for what, names in found.items()]
    rows.append(("end after SIGTERM, s", round(end_s, 1)))
    notes = [f"WSIGRAPH_SEED={seed} repeats the kills"]
    notes += [f"{what}: {name}" for what, names in found.items() for name in names[:20]]
    return Table(f"A soak of {minutes:g} min", ["what", "number"], list(rows), notes)


def _both(ms: list[float]) -> str:
    return " and ".join(f"{value:.0f}" for value in np.percentile(ms, (50, 95)))


def _memory(log: Log) -> Table:
    columns = ["s", "s since its start", "memory of the service, MB", "open files", "processes"]
    step = max(1, len(log.memory) // 30)
    return Table("Memory over time", columns, list(log.memory[::step]))
