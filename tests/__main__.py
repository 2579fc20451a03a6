"""``python -m tests``: everything that must hold before a change is accepted, and what each part cost.

Formatting, linting, spelling, lengths of sentences, types, layers, docstrings, notebooks, documentation, tests of
numbers as other processors calculate them, and all tests, in that order; all parts run even if one fails. Arguments
are handed to pytest. ``python -m tests --fast`` is for the loop at the desk: what is checked without running the
package, and the tests of the parts that changed since the last commit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "wsigraph").rglob("*.py"))
WRITTEN = ("wsigraph", "docs", "pipelines", "configs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md",
           "ARCHITECTURE.md", "data_manifest.md")  # fmt: skip
"""What is spelt."""
FAST = ("format", "lint", "spelling", "prose", "layers")
QUICK_TESTS = ("tests/test_prose.py", "tests/test_config.py", "tests/test_registry.py",
               "tests/test_records.py", "tests/test_release.py", "tests/test_geometry.py")  # fmt: skip
"""Tests of the fast lane that run whatever changed."""


def parts(pytest_arguments: list[str]) -> dict[str, list[str]]:
    python = sys.executable
    layers = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    found = {
        "format": [python, "-m", "ruff", "format", "--check", "--quiet", "."],
        "lint": [python, "-m", "ruff", "check", "--quiet", "."],
        "spelling": [str(Path(sys.executable).with_name("typos")), *WRITTEN],
        "prose": [python, "-m", "docs.prose"],
        "types": [python, "-m", "mypy"],
        "layers": [python, "-c", layers],
        "docstrings": [python, "-m", "numpydoc", "lint", *MODULES],
    }
    found["cohort"] = [python, "-m", "pipelines.make_notebook_cohort"]
    # run once; the documentation shows their outputs
    found["notebooks"] = [python, "-m", "docs.notebook_pages"]
    # without --quiet: it hides the warnings from what --strict counts
    found["documentation"] = [python, "-m", "mkdocs", "build", "--strict", "--site-dir", "build/site"]
    # what is slow runs by name; each such test has a short form that runs here
    quick = ["-n", "auto", "--dist", "loadscope", "-m", "not slow", "-q"]
    found["processors"] = [python, "-m", "tests.other_processors"]
    found["tests"] = [python, "-m", "pytest", *quick, *pytest_arguments]
    return found


def fast_parts(pytest_arguments: list[str]) -> dict[str, list[str]]:
    """Return the parts that answer within four minutes: no notebooks, no documentation, no whole suite."""
    found = {name: command for name, command in parts([]).items() if name in FAST}
    tests = sorted({*QUICK_TESTS, *tests_of(changed_files())})
    found["tests"] = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *tests, *pytest_arguments]
    return found


def changed_files() -> list[str]:
    """Return what differs from the last commit, new files included."""
    listed = ["git", "ls-files", "--modified", "--others", "--exclude-standard"]
    staged = ["git", "diff", "--name-only", "--cached"]
    return [
        line
        for command in (listed, staged)
        for line in subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    ]


def tests_of(files: list[str]) -> list[str]:
    """Return changed test files, and for modules of the package the test file of the same name where there is one."""
    found = []
    for name in files:
        path = Path(name)
        if path.parts[0] == "tests" and path.name.startswith("test_"):
            found.append(name)
        elif path.parts[0] == "wsigraph":
            twin = Path("tests", *path.parts[1:-1], f"test_{path.name}")
            found.append(twin.as_posix())
    return [name for name in found if (ROOT / name).is_file()]


def main() -> int:
    # one thread a process: the tests run in parallel themselves
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    costs: dict[str, tuple[int, float]] = {}
    summary = ""
    is_fast = "--fast" in sys.argv
    rest = [word for word in sys.argv[1:] if word != "--fast"]
    for name, command in (fast_parts if is_fast else parts)(rest).items():
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
