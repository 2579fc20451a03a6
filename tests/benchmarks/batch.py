"""A cohort on worker processes, compared with plain loops over the same slides.

Every method builds the graphs of the same made slides, in turns. Clusters are started and every process has loaded its
compiled code before anything is timed; a run is timed from the first slide handed out to the last one done.
"""

from __future__ import annotations

import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks import slide_maker
from tests.benchmarks.table import Table
from wsigraph.cohort.manifest.manifest import Manifest, ManifestRow
from wsigraph.config import Config, load
from wsigraph.run.batch.run import run_cohort
from wsigraph.run.cluster import KEEP_MEMORY
from wsigraph.run.steps import run_slide

N_SLIDES, WIDTH, HEIGHT = 24, 8_000, 6_000
UNTIL = "graph"
GOAL_SPEED_UP, GOAL_OVERHEAD = 1.7, 0.05


def make_cohort(folder: Path, n_slides: int, width: int, height: int) -> Manifest:
    """Return a manifest of copies of one made slide, each a file of its own."""
    source = slide_maker.made(folder, width, height)
    rows = []
    for number in range(n_slides):
        path = folder / f"cohort_{width}x{height}_{number:02d}.svs"
        if not path.is_file():
            shutil.copyfile(source, path)
        rows.append(
            ManifestRow(
                line=2 + number, slide_id=path.stem, patient_id=path.stem, site=None, path=path, mpp=None, stage=None,
                grade=None, time_days=None, event=None, split=None, sha256=None, free={},
            )
        )  # fmt: skip
    return Manifest(path=folder / "cohort.csv", rows=tuple(rows), warnings=())


@contextmanager
def workers(n_workers: int) -> Iterator[Config]:
    """Yield settings for new worker processes of one thread each, set up as ``wsigraph run`` does."""
    import dask
    from distributed import LocalCluster

    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    with dask.config.set(KEEP_MEMORY):
        made = LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, **options)
    with made as cluster:
        yield load(overrides=[f"cluster.kind={cluster.scheduler_address}", "cluster.insecure=true"])


def loop(manifest: Manifest, threads: int) -> dict[str, Any]:
    """Process the slides one after another in this process."""
    config = load(overrides=[f"runtime.threads={threads}"])
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        for row in manifest.rows:
            assert row.path is not None
            run_slide(row.path, out, config, slide_id=row.slide_id, until=UNTIL)
        return {"seconds": time.perf_counter() - started, "workers": {}}


def engine(manifest: Manifest, config: Config) -> dict[str, Any]:
    """Process the slides on a cluster and return the summary of the run."""
    with tempfile.TemporaryDirectory() as out:
        summary = run_cohort(manifest, out, config, until=UNTIL).summary
    assert summary["done"] == len(manifest.rows), summary["failures"]
    return summary


def benchmark(
    folder: Path, repeats: int, n_slides: int = N_SLIDES, width: int = WIDTH, height: int = HEIGHT
) -> list[Table]:
    """Return the table of a cohort on one and two worker processes and in one process."""
    manifest = make_cohort(folder, n_slides, width, height)
    warm_up = Manifest(path=manifest.path, rows=manifest.rows[:4], warnings=())
    runs_by_method: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        one, two = (stack.enter_context(workers(number)) for number in (1, 2))
        methods: dict[str, Callable[[Manifest], dict[str, Any]]] = {
            "one worker of one thread": lambda cohort: engine(cohort, one),
            "bare loop, one thread": lambda cohort: loop(cohort, 1),
            "two workers of one thread": lambda cohort: engine(cohort, two),
            "one process, two threads": lambda cohort: loop(cohort, 2),
        }
        for method in methods.values():
            method(warm_up)
        for _ in range(repeats):
            for name, method in methods.items():
                runs_by_method.setdefault(name, []).append(method(manifest))
    return [_table(runs_by_method, n_slides, width, height)]


def _table(runs_by_method: dict[str, list[dict[str, Any]]], n_slides: int, width: int, height: int) -> Table:
    table = Table(
        f"A cohort of {n_slides} slides of {width} x {height} px up to their graphs",
        ("method", "speed over one worker", "wall s", "slides a minute", "Mpx/s of level 0", "peak GB a worker"),
    )
    for name, runs in runs_by_method.items():
        wall = statistics.median(run["seconds"] for run in runs)
        peaks = [worker["peak_gb"] for run in runs for worker in run["workers"].values()]
        speed = ratio(runs_by_method["one worker of one thread"], runs)
        mpx = n_slides * width * height / 1e6
        table.rows.append((name, speed, wall, 60 * n_slides / wall, mpx / wall, max(peaks) if peaks else None))
    overhead = ratio(runs_by_method["one worker of one thread"], runs_by_method["bare loop, one thread"]) - 1
    against = ratio(runs_by_method["one process, two threads"], runs_by_method["two workers of one thread"])
    speed_up = ratio(runs_by_method["one worker of one thread"], runs_by_method["two workers of one thread"])
    table.notes.extend(
        [
            f"two workers over one: {speed_up:.2f} (goal {GOAL_SPEED_UP}); over one process with two threads: "
            f"{against:.2f} (goal 1); the engine costs {100 * overhead:.1f} % over the bare loop (goal below "
            f"{100 * GOAL_OVERHEAD:.0f} %)",
            f"ratios are medians of the ratios of {len(runs_by_method['bare loop, one thread'])} rounds; starting the "
            "processes and loading compiled code are not counted",
        ]
    )
    return table


def ratio(slower: list[dict[str, Any]], faster: list[dict[str, Any]]) -> float:
    """Return the median over the rounds of the ratio of two methods' times."""
    return statistics.median(a["seconds"] / b["seconds"] for a, b in zip(slower, faster, strict=True))
