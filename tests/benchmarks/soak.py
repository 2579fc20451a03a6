"""A service under use while its processes are killed at random: afterwards nothing is lost, and nothing was done twice.

Twenty viewers look at slides, slides are uploaded, and jobs start on them. Meanwhile the service, its workers, and the
processes that open slides and run jobs are killed (SIGKILL), with a printed seed. At the end every slide whose upload
was acknowledged is there once with its bytes, every job that was acknowledged is done once by the database and by its
results, and no process, port, lease or file of the service is left. In the second half the service itself is not
killed, and its memory must be flat. A soak in which too little happened to show this has failed::

    python -m tests.benchmarks soak --minutes 60
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from tests.benchmarks.slide_maker import SOURCE
from tests.benchmarks.soak_actors import KINDS, Log, Service, kill, sample, upload, view
from tests.benchmarks.table import Table
from wsigraph.service.client import Client

N_VIEWERS = 20
SPARED_FRACTION = 0.55
"""The last part of the time, in which the service itself is not killed, so that its memory can be watched."""
SETTLE_S = 1800.0
MIN_PER_MINUTE = {"slides acknowledged": 0.4, "jobs done": 0.4, "kills": 0.3, "tiles": 200.0}
"""Progress without which a soak shows nothing, and has failed."""
ALL_KINDS_MINUTES, MEMORY_MINUTES = 20.0, 50.0
"""Time after which every kind of process must have been killed, and memory must have been watched for half an hour."""
WATCHED_S, WARM_S, GROWTH = 1500.0, 300.0, 0.1
"""Memory is flat if it grows by at most a tenth in this time, from the first five minutes on."""


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
    # an upload whose last answer was lost may be there, but not twice
    twice += [f"bytes of {digest}" for digest in log.sent if kept[digest] > 1]
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


def missing_progress(minutes: float, log: Log, n_done: int) -> list[str]:
    """Return in which part so little happened that the soak shows nothing about it."""
    numbers = {
        "slides acknowledged": len(log.digests),
        "jobs done": n_done,
        "kills": sum(log.killed.values()),
        "tiles": len(log.ms),
    }
    missing = []
    for what, number in numbers.items():
        least = max(1, int(MIN_PER_MINUTE[what] * minutes))
        if number < least:
            missing.append(f"{what}: {number}, expected at least {least}")
    if minutes >= ALL_KINDS_MINUTES:
        missing += [f"no {kind} was killed" for kind in KINDS if not log.killed[kind]]
    return missing


def memory_growth(log: Log) -> tuple[float, float, float] | None:
    """Return how long the longest life of the service was watched, s, and its memory early and late in it, MB."""
    lives: list[list[tuple[int, int, int, int, int]]] = []
    for row in log.memory:
        if not lives or row[1] < lives[-1][-1][1]:
            lives.append([])
        lives[-1].append(row)
    life = max(lives, key=lambda rows: rows[-1][1], default=None)
    if life is None or life[-1][1] < 2 * WARM_S:
        return None
    early = [row[2] for row in life if WARM_S <= row[1] < 2 * WARM_S]
    late = [row[2] for row in life if row[1] > life[-1][1] - WARM_S]
    return life[-1][1] - WARM_S, float(np.median(early)), float(np.median(late))


def memory_faults(minutes: float, growth: tuple[float, float, float] | None) -> list[str]:
    """Return what is wrong with memory over time."""
    if growth is not None and growth[2] > (1 + GROWTH) * growth[1]:
        return [f"{growth[1]:.0f} MB became {growth[2]:.0f} MB within {growth[0] / 60:.0f} min"]
    if minutes >= MEMORY_MINUTES and (growth is None or growth[0] < WATCHED_S):
        return [f"no service lived for {WATCHED_S / 60:.0f} min after its start"]
    return []


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
        What was found, and memory over time. The first one has failed if anything was lost or left, or too little
        happened.
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
    service.compile_kernels()
    log, stop, began = Log(), threading.Event(), time.monotonic()
    service.start()
    killer = partial(kill, spare_service_s=60 * minutes * (1 - SPARED_FRACTION))
    actors: list[Callable[..., None]] = [view] * N_VIEWERS + [upload, killer]
    threads = [
        threading.Thread(target=actor, args=(service, log, stop, seed + number)) for number, actor in enumerate(actors)
    ]
    threads.append(threading.Thread(target=sample, args=(service, log, stop, began)))
    for thread in threads:
        thread.start()
    try:
        _report_progress(minutes, service, log, began)
        _end(stop, threads)
        settle(service, log)
        found = findings(service, log)
        n_done = sum(state == "done" for state, _, _ in stored(service).values())
        end_s = service.stop()
        found |= left_over(service)
    finally:
        # after an interrupt, too, nothing goes on
        _end(stop, threads)
        for number in service.processes():
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    growth = memory_growth(log)
    found["too little happened"] = missing_progress(minutes, log, n_done)
    found["memory not flat"] = memory_faults(minutes, growth)
    return [
        _summary((minutes, seed), log, found, {"jobs done": n_done, "end after SIGTERM, s": round(end_s, 1)}, growth),
        _memory(log),
    ]


def _report_progress(minutes: float, service: Service, log: Log, began: float) -> None:
    """Wait until the time is over, and print a line every minute."""
    while (left_s := 60 * minutes - (time.monotonic() - began)) > 0:
        time.sleep(min(60.0, left_s))
        states = Counter(state for state, _, _ in stored(service).values())
        numbers = f"{len(log.ms)} tiles, {len(log.digests)} of {len(log.sent)} slides, jobs {dict(states)}"
        print(f"{(time.monotonic() - began) / 60:.1f} min: {numbers}, killed {dict(log.killed)}", flush=True)


def _end(stop: threading.Event, threads: list[threading.Thread]) -> None:
    stop.set()
    for thread in threads:
        thread.join()


def _summary(
    run: tuple[float, int],
    log: Log,
    found: dict[str, list[str]],
    numbers: dict[str, float],
    growth: tuple[float, float, float] | None,
) -> Table:
    minutes, seed = run
    rows: list[tuple[str, object]] = [("viewers", N_VIEWERS)]
    rows += [("files sent", len(log.sent)), ("slides acknowledged", len(log.digests))]
    rows += [("jobs acknowledged", len(log.jobs)), ("jobs done", numbers["jobs done"])]
    rows += [("kills", sum(log.killed.values()))]
    rows += [(f"kills: {kind}", number) for kind, number in sorted(log.killed.items())]
    rows += [(f"tiles: {status}", number) for status, number in sorted(log.tiles.items())]
    if log.ms:
        rows.append(("median and 95th percentile of tiles, ms", _both(log.ms)))
    if growth is not None:
        watched = (
            f"memory of one service, {WARM_S / 60:.0f} and {(growth[0] + WARM_S) / 60:.0f} min after its start, MB"
        )
        rows.append((watched, f"{growth[1]:.0f} and {growth[2]:.0f}"))
    rows += [(what, len(names)) for what, names in found.items()]
    rows.append(("end after SIGTERM, s", numbers["end after SIGTERM, s"]))
    notes = [f"WSIGRAPH_SEED={seed} repeats the kills"]
    failed = [f"{what}: {name}" for what, names in found.items() for name in names[:20]]
    return Table(f"A soak of {minutes:g} min", ["what", "number"], list(rows), notes, failed)


def _both(ms: list[float]) -> str:
    return " and ".join(f"{value:.0f}" for value in np.percentile(ms, (50, 95)))


def _memory(log: Log) -> Table:
    columns = ["s", "s since its start", "memory of the service, MB", "open files", "processes"]
    step = max(1, len(log.memory) // 30)
    return Table("Memory over time", columns, list(log.memory[::step]))
