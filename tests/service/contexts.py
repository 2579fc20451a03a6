"""Services for the tests: small slides, short limits, and work that workers can import."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import tifffile

from wsigraph.config import Config, load
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.service.context import ServiceContext, open_context
from wsigraph.service.security.auth import Principal, Tokens

TOKENS = {role: f"a-token-of-the-role-{role}-{'x' * 24}" for role in ("read", "run", "admin")}


def tokens() -> Tokens:
    """One token of each role."""
    known = Tokens()
    for role, token in TOKENS.items():
        known.add(Principal(name=f"one-who-may-{role}", role=role), token)
    return known


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def settings(*overrides: str) -> Config:
    """Settings with high rate limits."""
    roomy = ["service.requests_burst=100000", "service.requests_per_s=10000", "service.slide_processes=1"]
    return load(overrides=[*roomy, *overrides])


def make_context(data: Path, *overrides: str, runs_jobs: bool = False, **options: object) -> ServiceContext:
    return open_context(data, settings(*overrides), runs_jobs=runs_jobs, **options)  # type: ignore[arg-type]


def write_slide(path: Path, height: int = 700, width: int = 900, mpp: float | None = 0.5, seed: int = 0) -> Path:
    """Write a tiled TIFF of smooth colours, so that tiles can be compared in spite of JPEG."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / rng.uniform(60, 120)) + np.cos(y / rng.uniform(60, 120)) for _ in range(3)]
    pixels = np.stack([np.clip(127 + 50 * wave, 0, 255) for wave in waves], axis=-1).astype(np.uint8)
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", **resolution)
    return path


def light(job: Job) -> Outcome:
    """Pretend to work: leave a line for each time that a job was begun and each time that it was finished."""
    marks = Path(job.out)
    marks.mkdir(parents=True, exist_ok=True)
    if (marks / "finished").exists():
        # as a slide whose records are all there: its worker died before it could say so
        return Outcome(status="done")
    mark(marks / "begun")
    time.sleep(0.05)
    directory = marks / job.slide_id
    directory.mkdir(exist_ok=True)
    (directory / "prediction.json").write_text("{}")
    mark(marks / "finished")
    return Outcome(status="done")


def slow(job: Job) -> Outcome:
    """Work until a file says that it may end."""
    marks = Path(job.out)
    marks.mkdir(parents=True, exist_ok=True)
    mark(marks / "begun")
    until = time.monotonic() + 60
    while not (marks.parent / "go").exists() and time.monotonic() < until:
        time.sleep(0.02)
    mark(marks / "finished")
    return Outcome(status="done")


def deadly(job: Job) -> Outcome:
    """End the worker's process the first time that one job is tried; work lightly otherwise."""
    marks = Path(job.out)
    if "doomed" in job.slide_id and not (marks / "begun").exists():
        marks.mkdir(parents=True, exist_ok=True)
        mark(marks / "begun")
        os._exit(3)
    return light(job)


def mark(path: Path) -> None:
    with path.open("a") as stream:
        stream.write(f"{os.getpid()}\n")


def marks(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.is_file() else 0


def hang(job: Job) -> Outcome:
    """Tell of a beginning, and then of nothing more."""
    from distributed import get_worker

    from wsigraph.run.batch.work import topic

    worker = get_worker()
    event = {"slide": job.slide_id, "worker": worker.address, "stage": "graph", "done": 0, "total": 1}
    worker.log_event(topic(job.run_id), event)
    time.sleep(120)
    return Outcome(status="done")
