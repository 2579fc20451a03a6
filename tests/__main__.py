"""``python -m tests``: everything that must hold before a change is accepted, and what each part cost.

Formatting, linting, types, layers, docstrings, documentation, notebooks, tests of numbers as other processors calculate
them, and all tests, in that order; all parts run even if one fails. Arguments are handed to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "wsigraph").rglob("*.py"))
NOTEBOOKS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "notebooks").glob("*.ipynb"))


def parts(pytest_arguments: list[str]) -> dict[str, list[str]]:
    python = sys.executable
    layers = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    found = {
        "format": [python, "-m", "ruff", "format", "--check", "--quiet", "."],
        "lint": [python, "-m", "ruff", "check", "--quiet", "."],
        "types": [python, "-m", "mypy"],
        "layers": [python, "-c", layers],
        "docstrings": [python, "-m", "numpydoc", "lint", *MODULES],
    }
    # without --quiet: it hides the warnings from what --strict counts
    found["documentation"] = [python, "-m", "mkdocs", "build", "--strict", "--site-dir", "build/site"]
    found["cohort"] = [python, "-m", "pipelines.make_notebook_cohort"]
    found["notebooks"] = [python, "-m", "pytest", "-q", "--nbmake", "--nbmake-timeout=600", *NOTEBOOKS]
    # what is slow runs by name; each such test has a short form that runs here
    quick = ["-n", "auto", "--dist", "loadscope", "-m", "not slow", "-q"]
    found["processors"] = [python, "-m", "tests.other_processors"]
    found["tests"] = [python, "-m", "pytest", *quick, *pytest_arguments]
    return found


def main() -> int:
    # one thread a process: the tests run in parallel themselves
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    costs: dict[str, tuple[int, float]] = {}
    summary = ""
    for name, command in parts(sys.argv[1:]).items():
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            summary = line.strip() or summary
        costs[name] = (process.wait(), time.perf_counter() - started)
    print("== cost")
    for name, (code, seconds) in costs.items():
        print(f"{name:<14}{seconds:7.1f} s  {'passed' if code == 0 else 'FAILED'}")
    print(summary)
    return int(any(code != 0 for code, _ in costs.values()))


if __name__ == "__main__":
    raise SystemExit(main())
