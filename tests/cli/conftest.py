"""The command as a user meets it: a process with arguments, two streams, an exit code and files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.cli.command import SLIDE, Finished, Run, command


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The user's environment, in which warnings stay warnings and lines are as wide as they come."""
    return {**os.environ, "COLUMNS": "500", "NO_COLOR": "1"}


@pytest.fixture(scope="session")
def run(environment: dict[str, str]) -> Run:
    def start(*arguments: object, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=timeout
        )

    return start


@pytest.fixture(scope="session")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    out = tmp_path_factory.mktemp("finished")
    return Finished(run("predict", SLIDE, "--out", out), out / SLIDE.stem)


@pytest.fixture(scope="session")
def tissue_pixels() -> np.ndarray:
    """A piece of the real slide, 900 x 1000 px at 0.499 um/px, with tissue."""
    return tifffile.imread(SLIDE, key=0)[900:1800, 600:1600]
