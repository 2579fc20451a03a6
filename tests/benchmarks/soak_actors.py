"""What acts on the service in the soak: the service itself, its viewers, an uploader, and who kills its processes.

A viewer behaves as a person does: it opens a slide, pans and zooms with a look in between, stops to read, and opens the
next. Twenty of them ask for about twenty tiles a second together, whatever the speed of the machine.
"""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import tifffile

from tests.benchmarks.slide_maker import SOURCE
from wsigraph.errors import Unavailable, WsigraphError
from wsigraph.geometry import Size
from wsigraph.service.client import Client
from wsigraph.service.deepzoom import DeepZoom

LOOK_S, READ_S, LONGEST_S = 2.0, 12.0, 30.0
"""Median time of a look between two moves and of a stop to read, and the longest of either, s."""
UPLOAD_S, KILL_S, SAMPLE_S = 30.0, 40.0, 10.0
END_S, RETRY_S, GIVE_UP_S = 60.0, 2.0, 180.0
_MARK = "WSIGRAPH_SOAK"
_SIDE_PX, _MOVES, _STEP_TILES = 700, (4, 12), 3
_SETTINGS = (
    "service.requests_per_s=1e5", "service.requests_burst=1000000", "service.tiles_per_s=1e6",
    "service.tiles_burst=1000000", "service.session_h=1", "service.tile_cache_mb=16", "batch.attempts=10",
    "batch.lease_beat_s=1", "batch.lease_stale_s=5",
)  # fmt: skip
SERVICE = "service"
KINDS = {
    SERVICE: ("wsigraph serve", 0.2),
    "worker": ("spawn_main", 0.2),
    "process of a job": ("sandbox_process", 0.35),
    "process that opens slides": ("isolation.worker", 0.25),
}
"""What is killed: a part of its command line, and how often it is chosen."""
EXPECTED = {200, 422, 503}
"""Answers to a tile: 422 where the process that read it was killed, 503 where the service starts."""


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

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {_MARK: self.mark, "TMPDIR": str(self.folder / "tmp")}

    def compile_kernels(self) -> None:
        """Compile what jobs use, as after an installation, so that the time of the soak is use."""
        subprocess.run([sys.executable, "-m", "wsigraph.run.batch.compile_kernels"], check=True, env=self.environment)

    def start(self) -> None:
        words = [sys.executable, "-m", "wsigraph", "serve", "--data", str(self.folder / "data")]
        words += ["--port", str(self.port), "--workers", "2"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*words, *(word for setting in _SETTINGS for word in ("--set", setting))],
                stderr=log,
                env=self.environment,
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
    memory: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


def view(service: Service, log: Log, stop: threading.Event, seed: int) -> None:
    """Look at one slide after another."""
    rng = random.Random(seed)

    def wait(median_s: float) -> bool:
        return stop.wait(min(LONGEST_S, rng.lognormvariate(np.log(median_s), 0.6)))

    with httpx.Client(base_url=service.address, timeout=30) as client:
        while not wait(READ_S):
            slide = rng.choice([*log.digests, *["first"] * (1 + len(log.digests) // 3)])
            pyramid = DeepZoom(size=Size(2967, 2220) if slide == "first" else Size(_SIDE_PX, _SIDE_PX))
            level = 8
            for _ in range(rng.randint(*_MOVES)):
                level = min(max(level + rng.choice((-1, 0, 0, 1, 1)), 7), pyramid.n_levels - 1)
                cols, rows = pyramid.grid(level)
                col, row = rng.randrange(cols), rng.randrange(rows)
                for step in range(min(_STEP_TILES, cols - col)):
                    _fetch(client, f"/v1/slides/{slide}/dzi_files/{level}/{col + step}_{row}.jpeg", log)
                if wait(LOOK_S):
                    return


def _fetch(client: httpx.Client, path: str, log: Log) -> None:
    began = time.perf_counter()
    try:
        answer = client.get(path)
    except httpx.TransportError:
        log.tiles["no connection (the service was killed)"] += 1
        return
    log.tiles[str(answer.status_code)] += 1
    if answer.status_code == 200:
        log.ms.append(1e3 * (time.perf_counter() - began))
    elif answer.status_code not in EXPECTED:
        log.unexpected.append(f"{answer.status_code} to {path}: {answer.text[:200]}")


def write_slide(path: Path, pixels: np.ndarray, rng: random.Random) -> str:
    """Write a part of the real slide that no other file has; return its digest."""
    y, x = rng.randrange(600, 1600), rng.randrange(500, 900)
    tifffile.imwrite(
        path, pixels[y : y + _SIDE_PX, x : x + _SIDE_PX], tile=(256, 256), photometric="rgb",
        resolution=(2e4, 2e4), resolutionunit="CENTIMETER", description=secrets.token_hex(8),
    )  # fmt: skip
    return hashlib.sha256(path.read_bytes()).hexdigest()


def upload(service: Service, log: Log, stop: threading.Event, seed: int) -> None:
    """Upload slides and start jobs on them; whoever finds the service away tries again when it is back."""
    rng = random.Random(seed)
    pixels = tifffile.imread(SOURCE, key=0)
    while not stop.wait(UPLOAD_S * rng.uniform(0.5, 1.5)):
        path = service.folder / "upload.tiff"
        digest = write_slide(path, pixels, rng)
        with Client(service.address) as client:
            # the upload itself is not repeated: the client resumes it, and a second one would be a second slide
            if _until_there(client.slides, log, stop) is None:
                continue
            log.sent.append(digest)
            try:
                slide = client.upload(path)
            except WsigraphError as error:
                _note_failure(log, "upload", error)
                continue
            log.digests[slide] = digest
            for kind in ("predict", "explain")[: rng.randint(1, 2)]:
                job = _until_there(partial(client.start, slide, kind), log, stop)
                if job is not None:
                    log.jobs.append(job["job_id"])


def _until_there(request: Callable[[], Any], log: Log, stop: threading.Event) -> Any:
    """Return what a request returns that can be repeated; None if the service stays away or refuses it."""
    end = time.monotonic() + GIVE_UP_S
    while True:
        try:
            return request()
        except Unavailable as error:
            if time.monotonic() > end or stop.wait(RETRY_S):
                _note_failure(log, "request", error)
                return None
        except WsigraphError as error:
            _note_failure(log, "request", error)
            return None


def _note_failure(log: Log, what: str, error: Exception) -> None:
    """Note a failure that is not the end of a connection."""
    if "does not answer" not in str(error):
        log.unexpected.append(f"{what}: {type(error).__name__}: {error}")


def kill(service: Service, log: Log, stop: threading.Event, seed: int, spare_service_s: float) -> None:
    """Kill processes at random moments, and start the service again where it was killed.

    After `spare_service_s` the service itself is left alone, so that its memory can be watched.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    while not stop.wait(rng.expovariate(1 / KILL_S)):
        kind = rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
        if kind == SERVICE and time.monotonic() - began > spare_service_s:
            continue
        numbers = [number for number, words in service.processes().items() if KINDS[kind][0] in words]
        if not numbers:
            continue
        with suppress(ProcessLookupError):
            os.kill(rng.choice(numbers), signal.SIGKILL)
            log.killed[kind] += 1
        if kind == SERVICE and service.process is not None:
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
