"""Peak memory of the pipeline in a process of its own.

A new process takes one slide from file to graph. The kernel's high-water mark of its resident memory is read at the
end, and once before the slide is opened, to separate the memory of imports.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.table import Table
from wsigraph.run.batch.peak_memory import peak_bytes

ROOT = Path(__file__).parents[2]
GOALS_GB = {1_200_000_000: 1.5, 4_800_000_000: 2.0}
"""Goal for resident memory, GB, by the number of level-0 pixels of the slide."""


def probe(path: Path, threads: int) -> None:
    """Run the pipeline on a slide and print its cost as one JSON object; this is all that the new process does."""
    from tests.benchmarks import whole
    from wsigraph.config import Config

    imported = peak_bytes()
    run = whole.run_pipeline(path, Config(), threads)
    assert run.graph is not None
    report = {
        "imported": imported,
        "peak": peak_bytes(),
        "wall_s": run.wall,
        "n_nodes": run.graph.n_nodes,
        "graph": run.graph.moments.nbytes + run.graph.edge_index.nbytes + run.graph.boundary.nbytes,
    }
    print(json.dumps(report))


def measured(path: Path, threads: int = 2) -> dict[str, float]:
    """Return the cost of the pipeline on a slide, reported by a new process."""
    program = (
        "import sys; from pathlib import Path; from tests.benchmarks import memory; "
        "memory.probe(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path.resolve()), str(threads)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the pipeline failed on {path.name}: {done.stderr.strip().splitlines()[-1:]}")
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def benchmark(slides: list[Path], threads: int = 2) -> list[Table]:
    """Return the peak memory of each slide."""
    from wsigraph.slide.reader import read

    table = Table(
        f"Peak resident memory of a fresh process, read to graph, {threads} threads",
        ("slide", "fraction of its goal", "peak GB", "imports GB", "graph GB", "superpixels", "wall s"),
    )
    for path in slides:
        with read(path) as slide:
            size = slide.size()
        goal = min((abs(px - size.area), gb) for px, gb in GOALS_GB.items())[1]
        usage = measured(path, threads)
        table.rows.append(
            (
                f"{size.width} x {size.height}", usage["peak"] / 1e9 / goal, usage["peak"] / 1e9,
                usage["imported"] / 1e9, usage["graph"] / 1e9, int(usage["n_nodes"]), usage["wall_s"],
            )
        )  # fmt: skip
    table.notes.append("goals: 1.5 GB at 40,000 x 30,000 px, 2 GB at 80,000 x 60,000 px; smaller slides use the first")
    table.notes.append("wall time includes loading compiled code, as for the first slide of a command")
    return [table]
