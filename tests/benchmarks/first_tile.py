"""How long a reader waits for the first tile after opening the page, with one slide in the folder or with 300.

The service runs as users run it, and headless Chromium opens the page on the same cores. Each round starts a new
service and a new browser profile. In the first round of a folder nothing is known of its slides; the later rounds find
the lowest tiles and thumbnails on disk. The time ends when the browser has received the first tile.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.service import compile_kernels, serving
from tests.benchmarks.table import Table

GOAL_S = 1.5
"""Goal for the first tile, s."""
COUNTS = (1, 300)
_CHROMIUM = "/usr/bin/chromium"
_FIRST_TILE = (
    "() => performance.getEntriesByType('resource')"
    ".some(({ name, responseEnd }) => name.includes('dzi_files') && responseEnd > 0)"
)
_THUMBNAIL = "() => document.querySelector('#slides img')?.naturalWidth > 0"


def folder_of(slide: Path, folder: Path, count: int) -> Path:
    """Return a folder of `count` slides, all the same one under different names."""
    data = folder / f"{count}-slides"
    data.mkdir(parents=True)
    for number in range(count):
        target = data / f"slide-{number:03}{slide.suffix}"
        try:
            os.link(slide, target)
        except OSError:
            # the slide is on another file system
            shutil.copy(slide, target)
    return data


def page_seconds(browser: object, port: int) -> tuple[float, float]:
    """Return the seconds from opening the page to its first tile, and to its first thumbnail."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})  # type: ignore[attr-defined]
    page = context.new_page()
    began = time.perf_counter()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.wait_for_function(_FIRST_TILE, timeout=120_000, polling=20)
    first_tile = time.perf_counter() - began
    page.wait_for_function(_THUMBNAIL, timeout=120_000, polling=20)
    first_thumbnail = time.perf_counter() - began
    context.close()
    return first_tile, first_thumbnail


def benchmark(slide: Path, rounds: int = 3) -> list[Table]:
    """Return the times to the first tile and the first thumbnail."""
    from playwright.sync_api import sync_playwright

    compile_kernels()
    table = Table(
        f"From opening the page to the first tile of {slide.name}",
        ("slides", "over the goal", "first tile s", "first thumbnail s", "rounds"),
    )
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        for count in COUNTS:
            data = folder_of(slide, Path(work), count)
            taken = []
            for _ in range(1 + rounds):
                with serving(data) as (port, _process):
                    taken.append(page_seconds(browser, port))
            for title, part in ((f"{count}, new", taken[:1]), (f"{count}, seen before", taken[1:])):
                tile, thumbnail = np.median(part, axis=0)
                table.rows.append((title, tile / GOAL_S, tile, thumbnail, len(part)))
        browser.close()
    table.notes.append(f"goal: first tile within {GOAL_S:g} s; medians; the browser runs on the same cores")
    return [table]
