"""Startup cost of a command: imports, and compiled code, which is built once and then loaded.

Each figure is from a new process. The command runs with an empty folder for compiled code, then again with the folder
that the first run filled. The number of compiled functions is counted in the process by numba's own events, so a kernel
that is not cached, or whose cache is never used, shows as a number and not only as a slow start.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.table import Table

ROOT = Path(__file__).parents[2]
HELP_GOAL_S = 0.3
"""Goal for ``wsigraph --help``, seconds."""
MODULES = (
    "wsigraph",
    "wsigraph.slide.reader",
    "wsigraph.graph.tissue.mask",
    "wsigraph.graph.superpixel.segment",
    "wsigraph.graph.build",
    "wsigraph.graph.coarsening.coarsen",
    "wsigraph.model.predict",
    "wsigraph.run.steps",
)
"""Modules to import, each in a process of its own."""
_COMPILED = "functions compiled: "
_PROBE = "from tests.benchmarks import start; start.probe()"


def probe() -> None:
    """Run the command line with this process's arguments and print how many functions numba compiled."""
    from numba.core import event

    from wsigraph.cli.main import main

    with event.install_recorder("numba:compile") as recorder:
        try:
            main()
        except SystemExit as ended:
            if ended.code not in (0, None):
                raise
    compiled = sum(record.is_start for _, record in recorder.buffer)
    print(_COMPILED + json.dumps(compiled))


def run_interpreter(words: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[str, float, float]:
    """Return the output of a new interpreter, its wall seconds and its CPU seconds.

    Parameters
    ----------
    words : sequence of str
        Arguments of the interpreter.
    environment : mapping of str to str, optional
        Environment variables to set.

    Raises
    ------
    RuntimeError
        If it fails, with the last line it printed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words[:2])} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_command(slide: Path, out: Path, cache: Path | None = None) -> tuple[int, float, float]:
    """Return how many functions one ``wsigraph graph`` compiled, its wall seconds and its CPU seconds.

    Parameters
    ----------
    slide : Path
        Slide to process.
    out : Path
        Folder for the results; a new one for each run, because a run skips steps whose files exist.
    cache : Path, optional
        Folder for compiled code; numba's default beside the sources if omitted.
    """
    environment = {} if cache is None else {"NUMBA_CACHE_DIR": str(cache)}
    words = ["-c", _PROBE, "graph", str(slide.resolve()), "--out", str(out.resolve())]
    printed, wall, cpu = run_interpreter(words, environment)
    return int(printed.rsplit(_COMPILED, 1)[1]), wall, cpu


def import_table(repeats: int) -> Table:
    """Return the seconds of ``wsigraph --help`` and of importing each stage, in turns."""
    commands = {"a bare interpreter": ["-c", "pass"], "wsigraph --help": ["-m", "wsigraph", "--help"]}
    commands |= {f"import {module}": ["-c", f"import {module}"] for module in MODULES}
    times_by_command: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for round_ in range(-1, repeats):  # the first round compiles bytecode and fills the system's cache of files
        for name, words in commands.items():
            _, wall, cpu = run_interpreter(words)
            if round_ >= 0:
                times_by_command[name].append((wall, cpu))
    table = Table("Starting", ("start", "s over a bare interpreter", "wall s", "CPU s"))
    bare = statistics.median(wall for wall, _ in times_by_command["a bare interpreter"])
    for name, times in times_by_command.items():
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        table.rows.append((name, wall - bare, wall, cpu))
    table.notes.append(f"medians of {repeats} fresh processes; goal for `wsigraph --help`: {HELP_GOAL_S} s")
    return table


def command_table(slide: Path, repeats: int) -> Table:
    """Return the cost of the first run of ``wsigraph graph`` and of later ones."""
    table = Table(
        f"wsigraph graph {slide.name}, each in a fresh process",
        ("run", "wall over a later run", "functions compiled", "wall s", "CPU s"),
    )
    with tempfile.TemporaryDirectory(prefix="wsigraph-start-") as folder:
        cache = Path(folder) / "compiled"
        runs = [run_command(slide, Path(folder) / f"out-{number}", cache) for number in range(1 + repeats)]
    (n_first, wall_first, cpu_first), later = runs[0], runs[1:]
    n_later = max(n for n, _, _ in later)
    wall, cpu = (statistics.median(run[k] for run in later) for k in (1, 2))
    table.rows.append(("first, nothing compiled before", wall_first / wall, n_first, wall_first, cpu_first))
    table.rows.append(("later", 1.0, n_later, wall, cpu))
    table.notes.append(f"later: median of {repeats} runs, and the most functions that any of them compiled")
    return table


def benchmark(slide: Path, repeats: int) -> list[Table]:
    """Return the table of imports and the table of the first and later runs of a command."""
    return [import_table(repeats), command_table(slide, min(repeats, 3))]
