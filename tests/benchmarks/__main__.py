"""``python -m tests.benchmarks [NAME ...] [--slide PATH] [--repeats 5] [--large] [--outlines DIR] [--out PAGE.md]``.

Prints each benchmark's tables as Markdown. ``--out`` also writes them into a page, each between its own two comments,
so that the prose of the page stays: ``python -m tests.benchmarks all --large --out docs/benchmarks.md`` updates the
project's page.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import (
    batch,
    coarsening,
    explanations,
    first_tile,
    hotspots,
    memory,
    network_nuclei,
    nuclei,
    reading,
    scaling,
    service,
    slide_maker,
    soak,
    start,
    superpixels,
    tissue_quality,
    whole,
    whole_study,
)
from tests.benchmarks.table import Table, circumstances, load_average, place
from wsigraph.graph.feature.detect import load_detector

OWN_PAGE = ("coarsening", "service", "first_tile", "soak", "study")
"""Benchmarks with pages of their own; not part of `all`."""
NAMES = (
    "reading",
    "superpixels",
    "whole",
    "hotspots",
    "scaling",
    "memory",
    "start",
    "artefacts",
    "nuclei",
    "batch",
    "explanations",
    "coarsening",
    "service",
    "first_tile",
    "soak",
    "study",
)


def arguments(words: list[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="Measure the product.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, "all"], default=["all"], metavar="|".join((*NAMES, "all")))
    parser.add_argument("--slide", type=Path, help="a slide to measure in place of the made one")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; medians are shown")
    parser.add_argument("--threads", type=int, default=2, help="threads of whatever takes a number of them")
    parser.add_argument("--large", action="store_true", help="sizes up to 80,000 x 60,000 px")
    parser.add_argument("--folder", type=Path, help="where made slides are kept; a temporary folder where left out")
    parser.add_argument(
        "--outlines", type=Path, help="folder of tiles with outlined nuclei, as MoNuSeg's, for `nuclei`"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="how long `soak` lasts")
    parser.add_argument("--slides", type=int, default=24, help="number of slides of `study`")
    parser.add_argument("--size", type=_size, metavar="WxH", help="pixels of its slides; small parts by default")
    parser.add_argument("--nuclei", help="detector to score in place of the network, for `nuclei`")
    parser.add_argument("--nuclei-weights", help="its file of weights")
    parser.add_argument("--out", type=Path, help="page to put the tables into")
    return parser.parse_args(words)


def _size(text: str) -> tuple[int, int]:
    """Return width and height of WxH."""
    width, _, height = text.partition("x")
    return int(width), int(height)


def benchmarks(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], list[Table]]]:
    """Return the function that runs each benchmark."""

    def big() -> Path:
        return options.slide or slide_maker.made(folder, 40_000, 30_000)

    def for_memory() -> list[Path]:
        if options.slide:
            return [options.slide]
        return [big(), *([slide_maker.made(folder, 80_000, 60_000)] if options.large else [])]

    return {
        "reading": lambda: reading.benchmark([slide_maker.SOURCE, big()], options.repeats, options.threads),
        "superpixels": lambda: superpixels.benchmark(options.repeats),
        "whole": lambda: whole.benchmark(big(), options.repeats, options.threads),
        "hotspots": lambda: hotspots.benchmark(big()),
        "scaling": lambda: scaling.benchmark(folder, options.repeats, options.threads, large=options.large),
        "memory": lambda: memory.benchmark(for_memory(), options.threads),
        "start": lambda: start.benchmark(slide_maker.SOURCE, options.repeats),
        "artefacts": tissue_quality.benchmark,
        "nuclei": lambda: score_nuclei(options.outlines, options.nuclei, options.nuclei_weights),
        "explanations": lambda: explanations.benchmark(options.threads, large=options.large),
        "batch": lambda: batch.benchmark(folder, options.repeats),
        "coarsening": lambda: coarsening.benchmark(),
        "service": lambda: service.benchmark(
            options.slide or slide_maker.made(folder, 8_000, 6_000),
            folder=folder,
            soak_s=service.SOAK_S if options.large else 0.0,
        ),
        "first_tile": lambda: first_tile.benchmark(options.slide or slide_maker.SOURCE, options.repeats),
        "soak": lambda: soak.benchmark(folder, options.minutes),
        "study": lambda: whole_study.benchmark(folder, options.slides, options.size),
    }


def score_nuclei(outlines: Path | None, name: str | None = None, weights: str | None = None) -> list[Table]:
    """Return the tables of the rule and of the network, or that of one detector by name."""
    folder = [outlines] if outlines else []
    if name is not None:
        return network_nuclei.benchmark(*folder, detector=load_detector(name, weights))
    return [*nuclei.benchmark(*folder), *network_nuclei.benchmark(*folder)]


def command(name: str, options: argparse.Namespace) -> str:
    """Return the command that repeats one benchmark, without paths of this machine."""
    words = ["python -m tests.benchmarks", name, f"--repeats {options.repeats}"]
    words += [f"--threads {options.threads}"] if options.threads != 2 else []
    words += ["--large"] if options.large else []
    words += [f"--minutes {options.minutes:g}"] if name == "soak" else []
    words += [f"--slides {options.slides}"] if name == "study" else []
    words += ["--size {}x{}".format(*options.size)] if name == "study" and options.size else []
    words += [f"--slide {options.slide.name}"] if options.slide else []
    words += [f"--outlines {options.outlines.name}"] if options.outlines and name == "nuclei" else []
    words += [f"--nuclei {options.nuclei}"] if options.nuclei and name == "nuclei" else []
    return " ".join(words)


def run(options: argparse.Namespace, folder: Path) -> int:
    """Run the chosen benchmarks; print and place each table as soon as it is measured. Return the number of faults."""
    n_failed = 0
    chosen = [name for name in NAMES if name not in OWN_PAGE] if "all" in options.names else options.names
    for name in chosen:
        before = load_average()
        tables = benchmarks(options, folder)[name]()
        text = "\n".join([*(table.markdown() for table in tables), circumstances(command(name, options), before)])
        print(f"## {name}\n\n{text}\n", flush=True)
        if options.out:
            page = options.out.read_text(encoding="utf-8") if options.out.is_file() else ""
            options.out.write_text(place(page, name, text), encoding="utf-8")
        n_failed += sum(len(table.failed) for table in tables)
    return n_failed


def main(words: list[str] | None = None) -> int:
    """Run the benchmarks named on the command line."""
    options = arguments(words)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        return min(1, run(options, options.folder))
    with tempfile.TemporaryDirectory(prefix="wsigraph-benchmarks-") as folder:
        return min(1, run(options, Path(folder)))


if __name__ == "__main__":
    raise SystemExit(main())
