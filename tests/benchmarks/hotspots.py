"""Where the CPU time of each stage goes, function by function.

The stages run under Python's profiler with all chunks one after another in one thread, on the CPU clock of that thread,
so other work on the machine and waiting do not count. Compiled kernels appear by their own names; the time of other
threads (zarr compresses chunks in its own) is one row.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask

import wsigraph
from tests.benchmarks.measure import clocked
from tests.benchmarks.table import Table
from wsigraph.config import Config

_SHOWN, _LEAST_FRACTION = 10, 0.01


def top(run: Callable[[], Any]) -> tuple[Any, float, list[tuple[str, float, int]]]:
    """Return the result of a call, its CPU seconds and its costliest functions: name, own CPU seconds, calls."""
    profile = cProfile.Profile(time.thread_time)
    with dask.config.set(scheduler="synchronous"):
        result, _, cpu = clocked(lambda: profile.runcall(run))
    rows = []
    for (file, _, name), (_, calls, own, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        rows.append((_place(file, name), own, calls))
    rows.append(("other threads", cpu - sum(own for _, own, _ in rows), 1))
    return result, cpu, sorted(rows, key=lambda row: -row[1])


def _place(file: str, name: str) -> str:
    """Return the dotted name of a function."""
    path = Path(file)
    if file in {"~", ""}:
        return name.strip("<>").replace("built-in method ", "").replace("method ", "")
    parts = path.with_suffix("").parts
    for package in ("wsigraph", "site-packages"):
        if package in parts:
            at = len(parts) - 1 - parts[::-1].index(package)
            return ".".join(parts[at + 1 :]) + f".{name}"
    return f"{path.stem}.{name}"


def benchmark(path: Path) -> list[Table]:
    """Return the costliest functions of each stage on one slide."""
    slide = wsigraph.read(path)
    config = Config()
    results: dict[str, Any] = {}
    stages: dict[str, Callable[[], Any]] = {
        "find_tissue": lambda: wsigraph.find_tissue(slide),
        "segment": lambda: wsigraph.segment(slide, config, tissue=results["find_tissue"]),
        "build_graph": lambda: wsigraph.build_graph(slide, results["segment"], config),
    }
    with slide:
        table = Table(
            f"Where the CPU time goes, {path.name}, one thread",
            ("function", "fraction of its stage", "CPU ms per tissue Mpx", "stage", "CPU s", "calls"),
        )
        for stage, run in stages.items():
            run_once = run()  # compiled and cached before the profile
            del run_once
            results[stage], cpu, rows = top(run)
            tissue = results["find_tissue"]
            area = float(tissue.tissue.sum()) * (tissue.mpp / config.superpixel.mpp) ** 2 / 1e6
            table.rows.append((f"**{stage}**", 1.0, 1000 * cpu / area, stage, cpu, None))
            for name, own, calls in rows[:_SHOWN]:
                if own >= _LEAST_FRACTION * cpu:
                    table.rows.append((f"`{name}`", own / cpu, 1000 * own / area, stage, own, calls))
    table.notes.append(f"tissue: {area:.1f} Mpx at {config.superpixel.mpp:g} um/px")
    return [table]
