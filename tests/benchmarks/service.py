"""The service under load: many viewers that pan over one slide, each tile's latency, and what memory it takes.

The service runs as users run it, ``wsigraph serve`` on loopback, with the viewers on the same cores, so the figures
include both. A viewer keeps connections open as a browser does, moves by one tile twice a second, and requests the
tiles of the new edge at once; latency is the time from the request to the last byte. First every tile is requested
once, which opens the slide and fills the cache; then the viewers pan over the same tiles, then again while an
explanation of the slide runs on a worker, and with `--large` for half an hour, after which the memory has to be what it
was. The client does no more than receive: nothing is decoded or drawn.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError

import numpy as np

from tests.benchmarks.table import Table
from wsigraph.geometry import Size
from wsigraph.service.deepzoom import DeepZoom

WARM, COLD, BESIDE_A_JOB = "from the warm cache", "made anew, four at a time", "from the warm cache, while a job runs"
GOALS_MS = {COLD: 150.0, WARM: 40.0, BESIDE_A_JOB: 500.0}
"""Goals for the 95th percentile of latency with 50 viewers on two idle cores, ms."""
N_VIEWERS, STEP_S, LASTS_S, SOAK_S = 50, 0.5, 20.0, 1800.0
_EDGE, _CONNECTIONS = 4, 4


@dataclass
class Load:
    """Measurements of the viewers.

    Attributes
    ----------
    ms : list of float
        Latency of every tile.
    n_bytes, n_failed : int
        Bytes received, and responses other than 200.
    seconds : float
        Duration.
    """

    ms: list[float] = field(default_factory=list)
    n_bytes: int = 0
    n_failed: int = 0
    seconds: float = 0.0


@contextmanager
def serving(data: Path) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Yield the port and the process of a service with a rate limit high enough for fifty viewers."""
    no_limits = ["service.tiles_per_s=1000000", "service.tiles_burst=1000000"]
    words = [sys.executable, "-m", "wsigraph", "serve", "--data", str(data), "--port", "0", "--workers", "1"]
    process = subprocess.Popen(
        [*words, *(word for option in no_limits for word in ("--set", option))], stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline() if process.stderr else ""
        match = re.search(r":(\d+)/", line)
        if match is None:
            raise RuntimeError(f"the service did not start: {line}")
        port = int(match.group(1))
        _until_ready(port)
        yield port, process
    finally:
        process.terminate()
        process.wait(60)
        if process.stderr:
            process.stderr.close()


def compile_kernels() -> None:
    """Compile what jobs use, as after the first start, so that it does not run beside the measurement."""
    subprocess.run([sys.executable, "-m", "wsigraph.run.batch.compile_kernels"], check=True)


def start_seconds(data: Path) -> float:
    """Return the seconds from the start of the command to the response of ``/v1/slides``."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "wsigraph", "serve", "--data", str(data), "--port", "0", "--workers", "1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        match = re.search(r":(\d+)/", process.stderr.readline() if process.stderr else "")
        if match is None:
            raise RuntimeError("the service did not start")
        with urllib.request.urlopen(f"http://127.0.0.1:{match.group(1)}/v1/slides") as answer:
            answer.read()
        took = time.perf_counter() - began
        process.terminate()
    return took


def _until_ready(port: int) -> None:
    """Wait until workers are there, so that their start does not count as load."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/ready") as answer:
                if answer.status == 200:
                    return
        except URLError:
            time.sleep(0.5)
    raise RuntimeError("no worker has come within two minutes")


class Connection:
    """A connection that stays open, as a browser's does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def fetch(self, path: str, load: Load) -> None:
        """Request one tile and record the response."""
        began = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        content = await reader.readexactly(int(length.group(1)) if length else 0)
        load.ms.append(1e3 * (time.perf_counter() - began))
        load.n_bytes += len(content)
        load.n_failed += b" 200 " not in head[:20]

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()


async def _pan(port: int, slide: str, pyramid: DeepZoom, seed: int, lasts_s: float, load: Load) -> None:
    """Pan over the finest levels; request a new edge of tiles in each step."""
    rng = np.random.default_rng(seed)
    connections = [Connection(port) for _ in range(_CONNECTIONS)]
    level = pyramid.n_levels - 1 - int(rng.integers(0, 3))
    cols, rows = pyramid.grid(level)
    col, row = int(rng.integers(0, cols)), int(rng.integers(0, max(1, rows - _EDGE)))
    heading = 1 if rng.random() < 0.5 else -1
    await asyncio.sleep(float(rng.random()) * STEP_S)
    until = time.monotonic() + lasts_s
    while (now := time.monotonic()) < until:
        if not 0 <= col + heading < cols:
            heading = -heading
        col = min(max(col + heading, 0), cols - 1)
        edge = range(row, min(row + _EDGE, rows))
        paths = [f"/v1/slides/{slide}/dzi_files/{level}/{col}_{tile_row}.jpeg" for tile_row in edge]
        await asyncio.gather(*(one.fetch(path, load) for one, path in zip(connections, paths, strict=False)))
        await asyncio.sleep(max(0.0, STEP_S - (time.monotonic() - now)))
    for connection in connections:
        connection.close()


async def _fill(port: int, slide: str, pyramid: DeepZoom, load: Load) -> None:
    """Request every tile of the finest three levels once, four at a time."""
    paths: asyncio.Queue[str] = asyncio.Queue()
    for level in range(max(0, pyramid.n_levels - 3), pyramid.n_levels):
        cols, rows = pyramid.grid(level)
        for row in range(rows):
            for col in range(cols):
                paths.put_nowait(f"/v1/slides/{slide}/dzi_files/{level}/{col}_{row}.jpeg")

    async def work() -> None:
        connection = Connection(port)
        while not paths.empty():
            await connection.fetch(paths.get_nowait(), load)
        connection.close()

    await asyncio.gather(*(work() for _ in range(4)))


def fill(port: int, slide: str, pyramid: DeepZoom) -> Load:
    """Return the measurements of requesting every tile once."""
    load, began = Load(), time.perf_counter()
    asyncio.run(_fill(port, slide, pyramid, load))
    load.seconds = time.perf_counter() - began
    return load


def pan(port: int, slide: str, pyramid: DeepZoom, n_viewers: int, lasts_s: float) -> Load:
    """Return the measurements of many viewers that pan."""
    load, began = Load(), time.perf_counter()

    async def all_of_them() -> None:
        await asyncio.gather(*(_pan(port, slide, pyramid, seed, lasts_s, load) for seed in range(n_viewers)))

    asyncio.run(all_of_them())
    load.seconds = time.perf_counter() - began
    return load


def start_job(port: int, slide: str) -> str:
    """Start an explanation of the slide and return its job."""
    body = json.dumps({"slide_id": slide, "kind": "explain", "target": "risk"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/jobs", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["job_id"])


def state_of(port: int, job_id: str) -> str:
    """Return the state of a job."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/jobs/{job_id}") as answer:
        return str(json.load(answer)["state"])


def benchmark(
    slide: Path,
    *,
    folder: Path,
    n_viewers: int = N_VIEWERS,
    lasts_s: float = LASTS_S,
    starts: int = 3,
    soak_s: float = 0.0,
) -> list[Table]:
    """Return the latencies of tiles and the memory of the service."""
    import psutil

    data = folder / "served"
    data.mkdir(exist_ok=True)
    target = data / slide.name
    if not target.exists():
        shutil.copy(slide, target)
    latency = Table(
        f"{n_viewers} viewers panning over {slide.name}",
        ("tiles", "p95 over the goal", "goal ms", "p50 ms", "p95 ms", "p99 ms", "tiles/s", "failed"),
    )
    columns = ["process", "before", "cache filled", "after the viewers", "after the job"]
    if soak_s:
        columns.append(f"after {soak_s / 60:.0f} min more")
    memory = Table("Memory of the service, MB", columns)
    compile_kernels()
    started = [start_seconds(data) for _ in range(starts)]
    with serving(data) as (port, process):
        name = slide.stem
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/slides/{name}") as answer:
            size = json.load(answer)["size"]
        pyramid = DeepZoom(size=Size(size["height"], size["width"]))
        service = psutil.Process(process.pid)
        resident = [_resident(service)]
        cold = fill(port, name, pyramid)
        resident.append(_resident(service))
        before = service.cpu_times()
        warm = pan(port, name, pyramid, n_viewers, lasts_s)
        after = service.cpu_times()
        resident.append(_resident(service))
        job_id = start_job(port, name)
        beside = pan(port, name, pyramid, n_viewers, lasts_s)
        state = state_of(port, job_id)
        resident.append(_resident(service))
        if soak_s:
            soaked = pan(port, name, pyramid, n_viewers, soak_s)
            resident.append(_resident(service))
            memory.notes.append(f"{len(soaked.ms)} tiles in the last part, {soaked.n_failed} failed")
    for title, load in ((COLD, cold), (WARM, warm), (BESIDE_A_JOB, beside)):
        p50, p95, p99 = np.percentile(load.ms, [50, 95, 99])
        goal = GOALS_MS[title]
        latency.rows.append((title, p95 / goal, goal, p50, p95, p99, len(load.ms) / load.seconds, load.n_failed))
    latency.notes.append(f"the job was {state} when its viewers left")
    cpu = after.user + after.system - before.user - before.system
    latency.notes.append(
        f"goals are for an idle machine; the service took {1e3 * cpu / len(warm.ms):.2f} ms of "
        f"CPU a tile, {100 * cpu / warm.seconds:.0f} % of one core; viewers run on the same cores"
    )
    latency.notes.append(
        f"/v1/slides answers {statistics.median(started):.2f} s after the command (median of {starts})"
    )
    for row in ("service", "slide processes"):
        memory.rows.append((row, *(memory_mb[row] for memory_mb in resident)))
    return [latency, memory]


def _resident(service: object) -> dict[str, float]:
    """Return resident memory of the service and of the processes that open slides, MB."""
    import psutil

    if not isinstance(service, psutil.Process):
        raise TypeError("expected a process")
    reading = 0.0
    for child in service.children():
        try:
            if "wsigraph.service.isolation.worker" in " ".join(child.cmdline()):
                reading += child.memory_info().rss / 1e6
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            # it has ended between the two looks
            continue
    return {"service": service.memory_info().rss / 1e6, "slide processes": reading}
