"""``python -m tests.other_processors``: tests of numbers, as a processor of another kind would calculate them.

Libraries choose their code by the processor: wider registers, fused products and other block sizes change the order of
sums and with it the last digits. Here they are told to take the code for the oldest processors instead, so that a
tolerance that holds on one machine alone shows. Arguments are handed to pytest; without any, a choice of tests that
takes a minute. Painting in half precision is left out: where it is emulated it takes minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
CHOSEN = (
    "explanation/test_gradients.py",
    "graph/feature/test_efficientnet.py",
    "graph/superpixel/test_lab.py",
    "graph/tissue/test_stain.py",
    "model/nn/test_fused_gatv2.py",
    "model/nn/test_network.py",
    "synthesis/diffusion/test_network.py",
    "training/test_linear_offset.py",
)


def environment() -> dict[str, str]:
    """Return variables under which numpy, torch, oneDNN, MKL, OpenBLAS and numba take the code for old processors."""
    # numpy warns of names that it does not know; it lists those that it uses here, and leaves out what is off already
    off = os.environ.get("NPY_DISABLE_CPU_FEATURES", "").split()
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": " ".join([*off, *found]),
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CPU_NAME": "generic",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Prescott",
    }


def main() -> int:
    quick = ["-n", "auto", "--dist", "loadscope", "-m", "not slow", "-q"]
    asked = sys.argv[1:] or [*quick, *(f"tests/{name}" for name in CHOSEN)]
    command = [sys.executable, "-m", "pytest", *asked]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment()}, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
