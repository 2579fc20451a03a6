"""Small cohorts of real tissue, and work that goes wrong on purpose; importable by the workers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import tifffile

from wsigraph.cohort.manifest.manifest import Manifest, ManifestRow
from wsigraph.geometry import Box, grid
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import acquire
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.batch.split_work import ChunkMapper
from wsigraph.run.batch.work import carry_out, topic
from wsigraph.slide.reader import Slide, read

CORNERS = {"alpha": (900, 600), "beta": (1000, 700), "gamma": (1200, 640), "delta": (1500, 800), "omega": (1900, 700)}


def write_slides(folder: Path, source: Path) -> dict[str, Path]:
    """Write pieces of a real slide, each as a slide of its own."""
    pixels = tifffile.imread(source, key=0)
    paths = {}
    for name, (y, x) in CORNERS.items():
        paths[name] = folder / f"{name}.tiff"
        tifffile.imwrite(
            paths[name], pixels[y : y + 700, x : x + 800],
            tile=(256, 256), photometric="rgb", resolution=(2e4, 2e4), resolutionunit="CENTIMETER",
        )  # fmt: skip
    return paths


def row(line: int, slide_id: str, path: Path | None, **known: object) -> ManifestRow:
    """Return a row of which nothing but the file is known, unless it is given."""
    fields: dict[str, object] = {
        "line": line, "slide_id": slide_id, "patient_id": slide_id, "site": None, "path": path, "mpp": None,
        "stage": None, "grade": None, "time_days": None, "event": None, "split": None, "sha256": None, "free": {},
    }  # fmt: skip
    return ManifestRow(**{**fields, **known})  # type: ignore[arg-type]


def manifest_of(paths: dict[str, Path] | Iterable[ManifestRow]) -> Manifest:
    """Return a manifest of slides, or of rows."""
    rows = [row(2 + n, *each) for n, each in enumerate(paths.items())] if isinstance(paths, dict) else paths
    return Manifest(path=Path("cohort.csv"), rows=tuple(rows), warnings=())


def content(out: Path) -> dict[str, bytes]:
    """Return every file of every slide's directory but the timings; hidden leftovers would be among them."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and path.name != "run.json"
        and path.parent != out
        and path.relative_to(out).parts[0] != ".batch"
    }


def do_nothing(job: Job) -> Outcome:
    """Stand for a slide that costs nothing."""
    return Outcome(status="done", worker="here", seconds={"read": 0.0, "graph": 0.001}, mpx=1.0)


def hang_once(job: Job) -> Outcome:
    """Take the lease of the slide ``beta`` and hang for two minutes; the second time it is done."""
    from distributed import get_worker

    marker = Path(job.out) / "hung"
    if job.slide_id == "beta" and not marker.exists():
        acquire(lease_path(Path(job.out), job.slide_id), job.run_id, beat_s=0.2)
        marker.write_text(f"{get_worker().address} {os.getpid()}")
        output = {"slide": "beta", "worker": get_worker().address, "stage": "segment", "done": 1, "total": 2}
        get_worker().log_event(topic(job.run_id), output)
        time.sleep(120)
    return carry_out(job)


def fail_once(job: Job) -> Outcome:
    """Fail in the first attempt at each slide, on whatever worker that is."""
    from distributed import get_worker

    marker = Path(job.out) / f"tried-{job.slide_id}"
    if not marker.exists():
        marker.write_text(get_worker().address)
        return Outcome(
            status="failed", worker=get_worker().address, step="tissue", error="UnreadableSlide", message="x"
        )
    (Path(job.out) / f"again-{job.slide_id}").write_text(get_worker().address)
    return Outcome(status="done", worker=get_worker().address, seconds={"graph": 0.1}, mpx=1.0)


def die(job: Job) -> Outcome:
    """End the worker's process, as a lack of memory does; not before its nanny knows that it has begun."""
    time.sleep(1.0)
    os._exit(9)


def read_unless(box: Box, slide: Slide, owner: str) -> int:
    """Read the whole slide where this is not the owner's worker, and say whether it was."""
    from distributed import get_worker

    if get_worker().address == owner:
        time.sleep(0.05)
        return 0
    slide.read(Box(y0=0, x0=0, y1=slide.size().height, x1=slide.size().width))
    return 1


def share_reading(path: Path, run_id: str) -> tuple[int, int]:
    """Have a slide read by other workers alone; return how many reads there were and the bad tiles that came back."""
    from distributed import get_worker

    with read(path) as slide:
        mapper = ChunkMapper(run_id, 1e-6, has_cluster=True)
        boxes = list(grid(slide.size(), 200))
        reads = mapper(read_unless, boxes, (slide, get_worker().address), lambda n_px: None)
        return sum(reads), len(slide.bad_tiles)
