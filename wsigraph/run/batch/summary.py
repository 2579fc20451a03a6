"""The files that a run leaves: ``failures.parquet``, ``summary.json`` and ``summary.md``."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from wsigraph.run.batch.tally import Failure
from wsigraph.store import canonical_document, write_file

FAILURES, SUMMARY, PAGE = "failures.parquet", "summary.json", "summary.md"
"""File names in the directory of a run."""


def write_failures(failures: Sequence[Failure], out: Path) -> None:
    """Write one row per failed slide, in the order of the manifest; no rows if none failed.

    Parameters
    ----------
    failures : sequence of Failure
        The failed slides. The columns have the names of the fields.
    out : Path
        Directory of the run.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    numbers = ("line", "attempts")
    schema = pyarrow.schema(
        [(column.name, pyarrow.int64() if column.name in numbers else pyarrow.string()) for column in fields(Failure)]
    )
    rows = [asdict(failure) for failure in sorted(failures, key=lambda failure: failure.line)]
    buffer = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), buffer)
    write_file(out / FAILURES, buffer.getvalue())


def write_summary(snapshot: Mapping[str, Any], circumstances: Mapping[str, Any], out: Path) -> None:
    """Write ``summary.json`` and ``summary.md``.

    Parameters
    ----------
    snapshot : mapping of str to JSON value
        From `wsigraph.run.batch.tally.Tally.snapshot`.
    circumstances : mapping of str to JSON value
        Manifest, cluster, last step, version and status.
    out : Path
        Directory of the run.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    write_file(out / SUMMARY, canonical_document({**circumstances, **snapshot}))
    write_file(out / PAGE, render(snapshot, circumstances).encode())


def render(snapshot: Mapping[str, Any], circumstances: Mapping[str, Any]) -> str:
    """Return ``summary.md``.

    Parameters
    ----------
    snapshot, circumstances : mapping of str to JSON value
        As in `write_summary`.

    Returns
    -------
    str
        Markdown.
    """
    seconds = snapshot["seconds"]
    head = [
        f"# Run of {circumstances['manifest']}",
        "",
        f"{circumstances['status'].capitalize()}. Up to the step {circumstances['until']}, on "
        f"{circumstances['cluster']}, wsigraph {circumstances['wsigraph']}.",
        "",
    ]
    totals = [
        ("slides", snapshot["slides"]),
        ("done", snapshot["done"]),
        ("already done", snapshot["skipped"]),
        ("failed", snapshot["failed"]),
        ("prediction withheld", len(snapshot["withheld"])),
        ("no file in the manifest", snapshot["without_file"]),
        ("attempts repeated", snapshot["attempts_repeated"]),
        ("wall time", f"{seconds:.1f} s"),
        ("pixels", f"{snapshot['mpx']:,.0f} Mpx of level 0, {snapshot['mpx_per_s']:.1f} Mpx/s"),
    ]
    parts = [*head, *_table(("", ""), totals)]
    steps = [
        (
            name,
            one["slides"],
            f"{one['total_s']:.1f}",
            f"{one['total_s'] / one['slides']:.2f}",
            f"{one['longest_s']:.2f}",
        )
        for name, one in snapshot["steps"].items()
    ]
    parts += _section("Steps", ("step", "slides", "seconds", "per slide", "longest"), steps)
    workers = [
        (name, one["slides"], f"{100 * one['busy_s'] / seconds:.0f} %" if seconds else "-", f"{one['peak_gb']:.2f}")
        for name, one in snapshot["workers"].items()
    ]
    parts += _section("Workers", ("worker", "slides", "busy (100 % is one thread)", "peak memory, GB"), workers)
    slowest = [
        (
            one["slide_id"],
            f"{one['seconds']:.1f}",
            ", ".join(f"{name} {took:.1f}" for name, took in one["steps"].items()),
        )
        for one in snapshot["slowest"]
    ]
    parts += _section("Slowest slides", ("slide", "seconds", "by step"), slowest)
    marked = [(one["slide_id"], one["mark"]) for one in snapshot["marked"]]
    parts += _section("No H&E sections, forced", ("slide", "mark"), marked)
    withheld = [(one["slide_id"], one["reason"]) for one in snapshot["withheld"]]
    parts += _section("Predictions withheld", ("slide", "reason"), withheld)
    names = ("slide_id", "step", "error", "message", "attempts")
    failures = [tuple(one[name] for name in names) for one in snapshot["failures"]]
    parts += _section("Failures", ("slide", "step", "error", "message", "attempts"), failures)
    if snapshot["failed"] > len(failures):
        parts += ["", f"The last {len(failures)} of {snapshot['failed']}; all are in `{FAILURES}`."]
    return "\n".join(parts) + "\n"


def _section(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return ["", f"## {title}", "", *_table(columns, rows)] if rows else []


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return [_line(columns), _line(["---"] * len(columns)), *(_line(row) for row in rows)]


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
