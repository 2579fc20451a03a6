"""Choices that complete in a shell, as typer asks for them at a press of the tab key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "from wsigraph.cli.main import app; app(prog_name='wsigraph')"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["run", "--until", ""], {"graph", "coarsen", "predict", "report", "page"}),
        (["predict", "--stain", "p"], {"pas", "perls"}),
        (["study", "--date-order", ""], {"ymd", "dmy", "mdy", "excel"}),
        (["run", "--cluster", "s"], {"slurm"}),
        (["graph", "--nuclei", ""], {"rule", "network"}),
        (["export", "--to", "tri"], {"trident"}),
    ],
)
def test_choices_complete(words: list[str], offered: set[str]) -> None:
    asked = {"COMP_WORDS": " ".join(["wsigraph", *words]), "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **asked, "_WSIGRAPH_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert offered <= set(done.stdout.split()), done.stderr
