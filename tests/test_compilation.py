"""While kernels are compiled, the console says so: with progress on a terminal, in one line otherwise."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from wsigraph.compilation import MESSAGE

ROOT = Path(__file__).parents[1]
KERNELS = """
import numpy as np
from wsigraph.kernels import njit

@njit(cache=True)
def double(x):
    return 2 * x

@njit(cache=True)
def add(x, y):
    return double(x) + y
"""
COMMAND = """
from kernels import add
from wsigraph.cli.progress import progress_line

with progress_line("slide.svs") as progress:
    print(add(1, 2), add(1.0, 2.0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kernels.py").write_text(KERNELS)
    return tmp_path


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "NUMBA_CACHE_DIR": str(folder / "cache"), "TERM": "xterm"}


def test_one_line_without_a_terminal_and_none_when_it_is_compiled(folder: Path) -> None:
    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND], env=_environment(folder), capture_output=True, text=True, check=True
        )
        assert done.stdout == "4 4.0\n"
        return done.stderr

    assert run() == f"wsigraph: {MESSAGE}\n"
    assert run() == ""


def test_progress_on_a_terminal(folder: Path) -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env=_environment(folder) | {"COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=child,
    ) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(parent)
    # outer and inner functions, for integers and for real numbers
    assert f"{MESSAGE}: 1 functions".encode() in shown
