"""Peak memory of the whole way in a process of its own.

A fresh process walks one slide; the kernel's own high-water mark of its resident memory is read at the end, and once
before the slide is opened, so that what imports cost can be told apart.
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
"""Most resident memory wanted, GB, by the slide's level-0 pixels."""


def probe(path: Path, threads: int) -> None:
    """Walk a slide and print what it took as one JSON object; the whole work of the fresh process."""
    from tests.benchmarks import whole
    from wsigraph.config import Config

    imported = peak_bytes()
    found = whole.walk(path, Config(), threads)
    assert found.graph is not None
    report = {
        "imported": imported,
        "peak": peak_bytes(),
        "wall_s": found.wall,
        "n_nodes": found.graph.n_nodes,
        "graph": found.graph.moments.nbytes + found.graph.edge_index.nbytes + found.graph.boundary.nbytes,
    }
    print(json.dumps(report))


def measured(path: Path, threads: int = 2) -> dict[str, float]:
    """Return what a fresh process reports of walking a slide."""
    program = (
        "import sys; from pathlib import Path; from tests.benchmarks import memory; "
        "memory.probe(Path(sys.argv[1]), int(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path.resolve()), str(threads)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"walking {path.name} failed: {done.stderr.strip().splitlines()[-1:]}")
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def benchmark(slides: list[Path], threads: int = 2) -> list[Table]:
    """Return the peak memory of each slide."""
    from wsigraph.slide.reader import read

    table = Table(
        f"Peak resident memory of a fresh process, read to graph, {threads} threads",
        ("slide", "share of its goal", "peak GB", "of it imports GB", "the graph itself GB", "superpixels", "wall s"),
    )
    for path in slides:
        with read(path) as slide:
            size = slide.size()
        goal = min((abs(px - size.area), gb) for px, gb in GOALS_GB.items())[1]
        found = measured(path, threads)
        table.rows.append(
            (
                f"{size.width} x {size.height}", found["peak"] / 1e9 / goal, found["peak"] / 1e9,
                found["imported"] / 1e9, found["graph"] / 1e9, int(found["n_nodes"]), found["wall_s"],
            )
        )  # fmt: skip
    table.notes.append("goals: 1.5 GB at 40,000 x 30,000 px, 2 GB at 80,000 x 60,000 px; smaller slides use the first")
    table.notes.append("wall time here includes compiled code being loaded, as in the first slide of a command")
    return [table]
