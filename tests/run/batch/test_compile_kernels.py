"""Kernels are compiled once after an installation: jobs in a sandbox can keep no compiled code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

_COMPILE = ("-m", "wsigraph.run.batch.compile_kernels")


def run(arguments: tuple[str, ...], cache: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True, timeout=900)


@pytest.mark.slow
def test_a_job_compiles_nothing_afterwards(tmp_path: Path, small_slide: Path) -> None:
    cache = tmp_path / "cache"
    run(_COMPILE, cache)
    kept = set(cache.rglob("*.nbc"))
    assert len(kept) > 50
    started = time.monotonic()
    run(_COMPILE, cache)
    assert time.monotonic() - started < 30
    # a job outside a sandbox would keep what it has to compile
    run(("-m", "wsigraph", "predict", str(small_slide), "--out", str(tmp_path / "out")), cache)
    assert set(cache.rglob("*.nbc")) == kept
