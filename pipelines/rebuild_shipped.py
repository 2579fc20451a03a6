"""Make anew what the package ships and the figures that depend on it: ``python -m pipelines.rebuild_shipped``.

In this order: the coarsening embedding, the demonstration model with its reference, the scores of the simulated
scenarios, the card, the pictures. Every step is a command of its own and is printed. A step is left out where a record
says that it ran with the same command on files of the same content, and what it wrote is still as it was: a broken run
goes on where it stopped, and a second run does nothing. ``--dry-run`` prints what would run. ``--quick --out FOLDER``
runs every step at a small size and writes to that folder; it shows that the steps work, and its figures mean nothing.

Scores on GlaS and TCGA-KIRC need their data: run their recipes before, and the card takes what is in ``docs/results``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
SLIDE = "tests/data/CMU-1-Small-Region.svs"
EMBEDDING = "wsigraph/graph/coarsening/shipped/embedding.safetensors"
MODEL = "wsigraph/model/shipped"
NUCLEI = "wsigraph/graph/feature/shipped/nuclei.safetensors"
CODE = ("wsigraph/graph", "wsigraph/synthesis/simulation", "wsigraph/training", "wsigraph/model")
"""Whatever changes here may change every figure."""
RECORD = "rebuilt.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command, what it reads and what it writes.

    Attributes
    ----------
    name : str
        Name in the record.
    command : tuple of str
        Module and arguments, run as ``python -m``; ``{out}`` stands for the folder of all that is written.
    quick : tuple of str
        Arguments that make it small; they come last and so win.
    reads : tuple of str
        Files and folders.
    writes : tuple of str
        Files; the step is done again if one is changed.
    printed : str or None
        File that takes what the command prints.
    """

    name: str
    command: tuple[str, ...]
    quick: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...]
    printed: str | None = None


def _score(name: str, command: str, quick: str) -> Step:
    """Return a step whose printed scores are a file of ``docs/results``."""
    file = f"{{out}}/docs/results/{name}.json"
    return Step(
        name=name,
        command=tuple(shlex.split(command)),
        quick=tuple(shlex.split(quick)),
        reads=(*CODE, EMBEDDING),
        writes=(file,),
        printed=file,
    )


_ALONE = "--set model.design=network"
_LARGE = f"{_ALONE} --set model.layers=2 --set model.epochs=40 --set model.patience=10"
_TINY = "--set model.epochs=1 --set model.layers=1 --set model.heads=1 --set model.channels=4"
_SIMULATED = f"--train 40 --fresh 40 {_TINY}"
STEPS = (
    Step(
        name="embedding",
        command=("pipelines.train_shipped_embedding", "--out", f"{{out}}/{EMBEDDING}"),
        reads=("wsigraph/graph", SLIDE),
        writes=(f"{{out}}/{EMBEDDING}",),
    ),
    Step(
        name="model",
        command=("pipelines.train_shipped_model", "--out", f"{{out}}/{MODEL}"),
        quick=("--patients", "40", "--fresh", "40"),
        reads=(*CODE, EMBEDDING, "pipelines/train_shipped_model.py", "pipelines/shipped_training.py"),
        writes=(f"{{out}}/{MODEL}/model.safetensors", f"{{out}}/{MODEL}/reference.safetensors"),
    ),
    _score("spatial", f"pipelines.score_simulated --scenario spatial --nodes regions {_LARGE}", _SIMULATED),
    _score("interface", f"pipelines.score_simulated --scenario interface --nodes regions {_LARGE}", _SIMULATED),
    _score(
        "composition",
        f"pipelines.score_simulated --scenario composition {_ALONE} --set model.layers=1 --set model.epochs=20 "
        "--set model.patience=6 --baseline pooled_ridge",
        _SIMULATED,
    ),
    _score(
        "site",
        f"pipelines.score_site --patients 400 --fresh 3000 {_ALONE} --set model.layers=1 --set model.heads=2 "
        "--set model.channels=8 --set model.epochs=8 --set model.patience=3",
        f"--patients 300 --fresh 60 {_TINY}",
    ),
    _score(
        "null",
        f"pipelines.score_null {_ALONE} --set model.layers=1 --set model.heads=2 --set model.channels=8 "
        "--set model.epochs=12 --set model.patience=4",
        f"--cohorts 1 --patients 60 {_TINY}",
    ),
    _score(
        "conformal",
        f"pipelines.score_conformal {_ALONE} --set model.layers=1 --set model.channels=8 --set model.epochs=20 "
        "--set model.patience=5",
        f"--patients 300 --calibration 80 --fresh 80 {_TINY}",
    ),
    Step(
        name="card",
        command=("pipelines.goal_figures", "--model", f"{{out}}/{MODEL}"),
        reads=("docs/results", "pipelines/goal_figures.py", f"{{out}}/{MODEL}/model.safetensors"),
        writes=(f"{{out}}/{MODEL}/card.json",),
    ),
    Step(
        name="nuclei",
        command=(
            "pipelines.draw_nuclei",
            SLIDE,
            "--box",
            "700,1000,400,300",
            "--out",
            "{out}/docs/pictures/nuclei.jpg",
        ),
        reads=("wsigraph/graph/feature", NUCLEI, SLIDE),
        writes=("{out}/docs/pictures/nuclei.jpg",),
    ),
    Step(
        name="pictures",
        command=("pipelines.draw_readme", "--out", "{out}/docs/pictures"),
        quick=("--readme", "{out}/README.md"),
        reads=(EMBEDDING, f"{MODEL}/model.safetensors", f"{MODEL}/card.json", SLIDE),
        writes=("{out}/docs/pictures/way.jpg",),
    ),
)
"""All of it, in the order of what depends on what."""


def main(arguments: list[str] | None = None) -> int:
    """Run what is not done yet; 1 where a step fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone")
    parser.add_argument("--out", type=Path, help="folder of all that is written; the working copy if left out")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that the steps work; needs --out")
    parser.add_argument("--dry-run", action="store_true", help="print what would run")
    options = parser.parse_args(arguments)
    if options.quick and options.out is None:
        parser.error("--quick would replace shipped files by meaningless ones; give --out FOLDER")
    steps = [step for step in STEPS if options.only is None or step.name in options.only]
    return run_steps(steps, options.out or ROOT, quick=options.quick, dry_run=options.dry_run)


def run_steps(steps: Sequence[Step], out: Path, *, quick: bool = False, dry_run: bool = False) -> int:
    """Run the steps that are not done.

    Parameters
    ----------
    steps : sequence of Step
        In the order in which they run.
    out : Path
        What ``{out}`` stands for. The record lies there too.
    quick : bool
        Run each at its small size.
    dry_run : bool
        Print the commands without running them.

    Returns
    -------
    int
        0, or 1 after the first step that failed; what was done before is recorded.
    """
    record = out / ("build" if out == ROOT else "") / RECORD
    done: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    started = False
    for step in steps:
        command = [part.format(out=out) for part in (*step.command, *(step.quick if quick else ()))]
        shown = "python -m " + shlex.join(command) + (f" > {step.printed.format(out=out)}" if step.printed else "")
        # a step that comes after one that would run may read what that one writes
        if done.get(step.name) == _state(step, command, out) and not (dry_run and started):
            print(f"{step.name}: done")
            continue
        print(f"{step.name}: {shown}", flush=True)
        started = True
        if dry_run:
            continue
        seconds = _run(step, command, out)
        if seconds is None:
            return 1
        print(f"{step.name}: {seconds:.0f} s")
        done[step.name] = _state(step, command, out)
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def _run(step: Step, command: list[str], out: Path) -> float | None:
    """Run a command, and return its seconds, or None where it failed or left a file out."""
    files = [Path(file.format(out=out)) for file in step.writes]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    taken = subprocess.PIPE if step.printed else None
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, stdout=taken, check=False)  # noqa: S603 - ours
    if result.returncode:
        print(f"{step.name}: ended with {result.returncode}; run again to go on from here", file=sys.stderr)
        return None
    if step.printed:
        target = Path(step.printed.format(out=out))
        part = target.with_suffix(".part")
        part.write_bytes(result.stdout)
        part.replace(target)
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        print(f"{step.name}: did not write {', '.join(missing)}", file=sys.stderr)
        return None
    return time.monotonic() - start


def _state(step: Step, command: list[str], out: Path) -> str:
    """Return a digest of a command and of the content of all that it reads and writes."""
    total = hashlib.sha256("\0".join(command).encode())
    for name in (*step.reads, *step.writes):
        path = ROOT / name.format(out=out)
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            # what a folder of code ships is named where it is read
            if file.is_dir() or {"__pycache__", *(("shipped",) if path.is_dir() else ())} & set(file.parts):
                continue
            total.update(f"{file}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest() if file.is_file() else b"none")
    return total.hexdigest()[:16]


if __name__ == "__main__":
    raise SystemExit(main())
