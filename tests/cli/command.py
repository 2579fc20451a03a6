"""What the tests of the command share: how it is started, and what they look at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).parents[2]
SLIDE = ROOT / "tests" / "data" / "CMU-1-Small-Region.svs"
RECORDS = [
    "coarse.safetensors",
    "graph.safetensors",
    "prediction.json",
    "report.geojson",
    "report.json",
    "report.png",
    "run.json",
    "slide.json",
    "superpixels.zarr",
    "tissue.zarr",
]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "wsigraph", *map(str, arguments)]


@dataclass(frozen=True)
class Finished:
    """A prediction of the real slide that ran to its end."""

    process: subprocess.CompletedProcess[str]
    directory: Path


def content(directory: Path) -> dict[str, bytes]:
    """Return every file below a slide's directory but the timings."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def write_tiff(path: Path, pixels: np.ndarray, mpp: float | None) -> Path:
    """Write a tiled TIFF with or without a pixel size."""
    resolution = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", compression="jpeg", **resolution)
    return path
