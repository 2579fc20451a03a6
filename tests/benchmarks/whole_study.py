"""From a folder of slides and a clinical table to the page of a study, as a user types it: one command, timed.

The slides are parts of the repository's own slide, each from another place, or made slides of a given size; every one
has a patient with a stage and follow-up that are drawn at random, so that the scores mean nothing. What is measured is
the time until the page is there, by step, and what the second, finished run of the same command costs::

    python -m tests.benchmarks study --slides 24
    python -m tests.benchmarks study --slides 24 --size 8000x6000
"""

from __future__ import annotations

import csv
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile

from tests.benchmarks.slide_maker import SOURCE, make_slide
from tests.benchmarks.table import Table
from wsigraph.cli.watch import duration

SIDE_PX, STEP_PX = 1200, 150
N_TRAINED = 24
"""Fewest slides with which a model is trained: 20 events are needed."""
_STEP = re.compile(r"step \d+ of \d+: (\w+)")


def benchmark(folder: Path, n_slides: int, size: tuple[int, int] | None = None) -> list[Table]:
    """Return the table of one study.

    Parameters
    ----------
    folder : Path
        Where slides and study are written.
    n_slides : int
        Number of slides; with fewer than `N_TRAINED` the study ends after the graphs.
    size : tuple of (int, int), optional
        Width and height in pixels; by default parts of 1,200 x 1,200 px of the repository's slide.
    """
    slides = folder / ("slides" if size is None else "slides_{}x{}".format(*size))
    slides.mkdir(parents=True, exist_ok=True)
    for number in range(n_slides):
        _write_slide(slides / f"P{number:02d}_HE.{'tiff' if size is None else 'svs'}", number, size)
    clinical = folder / "clinical.csv"
    _write_table(clinical, n_slides)
    out = folder / f"study_{slides.name}_{n_slides}"
    command = [sys.executable, "-m", "wsigraph", "study", str(slides), "--clinical", str(clinical), "--out", str(out)]
    is_whole = n_slides >= N_TRAINED
    command += ["--yes", *([] if is_whole else ["--until", "graphs"])]
    first, steps = _timed(command)
    again, _ = _timed(command)
    if is_whole and not all((out / name).is_file() for name in ("study.html", "model/card.json")):
        raise RuntimeError(f"{out} has no page or no model; its left_out.csv says why")
    pixels = "{:,} x {:,} px".format(*(size or (SIDE_PX, SIDE_PX)))
    table = Table(
        f"`wsigraph study`: {n_slides} slides of {pixels}, from the folder to the {'page' if is_whole else 'graphs'}",
        ("", "wall time"),
        [*((name, duration(seconds)) for name, seconds in steps), ("whole", duration(first)),
         ("the same command again", duration(again))],
    )  # fmt: skip
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    table.notes.append(f"CPU time of both {used.ru_utime + used.ru_stime:.0f} s; largest process {_gb(used.ru_maxrss)}")
    return [table]


def _gb(kilobytes: int) -> str:
    return f"{kilobytes / 1e6:.2f} GB"


def _write_slide(path: Path, number: int, size: tuple[int, int] | None) -> None:
    if path.is_file():
        return
    if size is not None:
        # other bytes for every slide, or they are copies of one another
        make_slide(path, *size, quality=60 + number % 30)
        return
    with tifffile.TiffFile(SOURCE) as file:
        pixels = file.pages[0].asarray()
    rows, columns = ((extent - SIDE_PX) // STEP_PX + 1 for extent in pixels.shape[:2])
    y, x = (STEP_PX * place for place in divmod(number * 5 % (rows * columns), columns))
    tifffile.imwrite(
        path,
        np.ascontiguousarray(pixels[y : y + SIDE_PX, x : x + SIDE_PX]),
        tile=(256, 256),
        photometric="rgb",
        resolution=(1e4 / 0.499, 1e4 / 0.499),
        resolutionunit="CENTIMETER",
    )


def _write_table(path: Path, n_patients: int) -> None:
    """Write stages in turns, follow-up in months, and 11 of 12 patients with an event."""
    rng = np.random.default_rng(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["case", "T-stage", "OS.months", "vital_status", "hospital"])
        for number in range(n_patients):
            months = f"{rng.uniform(2, 60):.1f}".replace(".", ",")
            dead = "dead" if number % 12 else "alive"
            writer.writerow([f"P{number:02d}", f"pT{number % 4 + 1}", months, dead, ("Nord", "Sued")[number % 2]])


def _timed(command: list[str]) -> tuple[float, list[tuple[str, float]]]:
    """Run a command; return its seconds, and those of every step that it names."""
    started = time.monotonic()
    began: list[tuple[str, float]] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if match := _STEP.search(line):
            began.append((match[1], time.monotonic()))
    if process.wait() != 0:
        raise RuntimeError("".join(lines[-20:]))
    ended = time.monotonic()
    ends = [*(moment for _, moment in began[1:]), ended]
    return ended - started, [(name, end - moment) for (name, moment), end in zip(began, ends, strict=True)]
