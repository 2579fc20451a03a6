"""Compiles the kernels of all steps once, ``python -m wsigraph.run.batch.compile_kernels [NICENESS]``.

A job in a sandbox can read compiled code that is kept on disk, but keep none, so after an installation every job would
compile its kernels again. All steps are therefore run on a small image, outside a sandbox, by whoever comes first: the
service when it starts, or a worker before its first job. Others wait for it and find the code that it has kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

import wsigraph
from wsigraph.config import load
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.graph.tissue.straight import straight_segments
from wsigraph.kernels import cache_place
from wsigraph.run.sandbox.sandbox import end_with_parent
from wsigraph.run.steps import run_slide
from wsigraph.slide.resample import shrink

_SIDE_PX, _TILE_PX, _MPP = 1024, 256, 0.5
_LOCK = "compiling.lock"
_FOLDER = "compiling"
_DECORATOR = b"njit("
_GLASS, _STROMA, _EPITHELIUM, _NUCLEUS = (242, 242, 242), (224, 160, 196), (205, 140, 185), (96, 60, 140)
_NOISE, _SPACING_PX, _RADIUS_PX = 6.0, 30, 5


def is_compiled() -> bool:
    """Return whether the kernels of this version are compiled, or compiled code can be kept nowhere."""
    note = _note()
    return note is None or note.exists()


def compile_kernels() -> None:
    """Run all steps on a small image, unless the compiled code is kept already or can be kept nowhere."""
    note = _note()
    if note is None or note.exists():
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    with note.with_name(_LOCK).open("a") as lock:
        # the system releases the lock of a process that is killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            _run_all_steps(note.with_name(_FOLDER))
            note.touch()


def _run_all_steps(folder: Path) -> None:
    # a folder of one name: the next process removes what one that was killed has left
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        slide = folder / "slide.tif"
        tifffile.imwrite(slide, _picture(), photometric="rgb", tile=(_TILE_PX, _TILE_PX), compression="jpeg")
        run_slide(slide, folder / "out", load(), mpp=_MPP, until="page", explain=ExplanationRequest())
        _run_what_the_image_leaves_out()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_what_the_image_leaves_out() -> None:
    """Run the kernels that only slides with several levels, or with lines on the glass, need."""
    pixels = np.zeros((8, 12, 3), np.uint8)
    # numba compiles a whole array and one cut out of a wider one apart
    for part in (pixels, pixels[:, 2:10]):
        shrink(part, 2)
    mask = np.zeros((64, 64), np.bool_)
    mask[32] = True
    straight_segments(mask, 32.0)


@cache
def _note() -> Path | None:
    """Return the file that says that the kernels of this version are compiled; None if they can be kept nowhere."""
    place = cache_place()
    if place is None:
        return None
    # numba compiles a kernel again when the file that holds it has changed
    package = Path(wsigraph.__file__).parent
    newest = max(path.stat().st_mtime_ns for path in package.rglob("*.py") if _DECORATOR in path.read_bytes())
    identity = f"{wsigraph.__version__} {version('numba')} {sys.version} {package} {newest}"
    return place / f"compiled-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def _picture() -> NDArray[np.uint8]:
    """Return a disk of two tissues with nuclei on glass."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:_SIDE_PX, :_SIDE_PX]
    centre = _SIDE_PX / 2
    is_tissue = (y - centre) ** 2 + (x - centre) ** 2 < (0.42 * _SIDE_PX) ** 2
    is_nucleus = np.zeros_like(is_tissue)
    for y0, x0 in random.integers(_RADIUS_PX, _SIDE_PX - _RADIUS_PX, ((_SIDE_PX // _SPACING_PX) ** 2, 2)):
        part = (slice(y0 - _RADIUS_PX, y0 + _RADIUS_PX), slice(x0 - _RADIUS_PX, x0 + _RADIUS_PX))
        is_nucleus[part] |= (y[part] - y0) ** 2 + (x[part] - x0) ** 2 < _RADIUS_PX**2
    pixels = np.full((_SIDE_PX, _SIDE_PX, 3), _GLASS, np.float64)
    pixels[is_tissue] = _STROMA
    pixels[is_tissue & (x < centre)] = _EPITHELIUM
    pixels[is_tissue & is_nucleus] = _NUCLEUS
    return (pixels + random.normal(0.0, _NOISE, pixels.shape)).clip(0, 255).astype(np.uint8)


if __name__ == "__main__":
    end_with_parent()
    os.nice(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    compile_kernels()
