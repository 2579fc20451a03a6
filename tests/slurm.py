"""A SLURM of this machine: sbatch runs the script, scancel ends it."""

from __future__ import annotations

import os
from pathlib import Path

_SBATCH = """#!/bin/sh
echo "$@" >> "$FAKE_SLURM/submitted"
for script; do :; done
cp "$script" "$FAKE_SLURM/script"
setsid sh "$FAKE_SLURM/script" > "$FAKE_SLURM/log" 2>&1 &
echo $! > "$FAKE_SLURM/job"
echo "Submitted batch job 4711"
"""
_SCANCEL = """#!/bin/sh
echo "$@" >> "$FAKE_SLURM/cancelled"
kill -- -$(cat "$FAKE_SLURM/job")
"""


def fake_slurm(folder: Path) -> dict[str, str]:
    """Put the two commands into a folder and return the variables under which they are found.

    The folder then tells what was submitted and cancelled; ``log`` is what the last job wrote.
    """
    folder.mkdir()
    for name, text in (("sbatch", _SBATCH), ("scancel", _SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"FAKE_SLURM": str(folder), "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
