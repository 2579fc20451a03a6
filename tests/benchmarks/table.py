"""Tables of measurements as Markdown, and the page that holds them.

A page keeps each benchmark's tables between two comments that name it, so that a new run replaces the figures and
leaves the prose around them alone.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "numpy", "numba", "dask", "zarr", "simplejpeg", "imagecodecs", "tifffile", "openslide-python", "openslide-bin",
    "tiatoolbox", "scikit-image", "opencv-contrib-python-headless", "networkx", "scipy", "torch",
)  # fmt: skip
"""Packages whose version can change a figure."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table, ratios first.

    Attributes
    ----------
    title : str
        Title of the table.
    columns : sequence of str
        Headings.
    rows : list of sequence
        Cells; floats are shown with three significant digits, None as a dash.
    notes : list of str
        Notes below the table.
    failed : list of str
        What must not be, and was found; the command then fails after it has shown its tables.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Return the table with its title and notes."""
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] * len(self.columns))]
        lines += [_line([shown(cell) for cell in row]) for row in self.rows]
        lines += ["", *(f"- {note}" for note in (*self.notes, *(f"**FAILED**: {fault}" for fault in self.failed)))]
        return "\n".join(lines).rstrip() + "\n"

    def column(self, name: str) -> dict[str, object]:
        """Return one column by the first cell of each row."""
        at = list(self.columns).index(name)
        return {str(row[0]): row[at] for row in self.rows}


def shown(cell: object) -> str:
    """Return a cell as text."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:#.3g}".rstrip(".")
    return str(cell)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def processor() -> str:
    """Return the processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    match = re.search(r"model name\s*:\s*(.+)", text)
    return match.group(1) if match else platform.machine()


def load_average() -> str:
    """Return the load average of 1, 5 and 15 minutes, or a dash if the system has none."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "-"


def circumstances(command: str, load_before: str) -> str:
    """Return lines with the command, machine, load and versions of a measurement."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return "\n".join(
        [
            f"- command: `{command}`",
            f"- machine: {processor()}, {os.cpu_count()} cores, {platform.system()}",
            f"- load average (1, 5, 15 min) before: {load_before}; after: {load_average()}",
            f"- versions: Python {platform.python_version()}, {', '.join(versions)}",
        ]
    )


def place(page: str, name: str, text: str) -> str:
    """Return a page with the part called `name` replaced by `text`, or added at the end if it is missing."""
    start, end = f"<!-- {name}: measured -->", f"<!-- {name}: end -->"
    part = f"{start}\n{text.rstrip()}\n{end}"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(page):
        return pattern.sub(lambda _: part, page, count=1)
    return (page.rstrip() + "\n\n" if page.strip() else "") + part + "\n"
