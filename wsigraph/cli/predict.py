"""``wsigraph predict``: slides in, one directory of records and a report each out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import EXIT_SOME_FAILED, Debug, describe, ends_plainly, say
from wsigraph.cli.options import AsJson, ConfigFiles, Encoder, Mpp, Out, Overrides, Threads, read_settings

if TYPE_CHECKING:
    from wsigraph.flow import FlowResult

_Slides = Annotated[list[str], typer.Argument(metavar="SLIDE", help="Slide files.", show_default=False)]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; else the demonstration model.")
]


@ends_plainly
def predict(
    slides: _Slides,
    out: Out = "wsigraph-out",
    mpp: Mpp = None,
    model: _Model = None,
    encoder: Encoder = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read slides, build and coarsen their tissue graphs, predict stage and survival, and write a report of each.

    Writes DIR/<slide>/ with every record. A stage whose record is there and fits is not repeated. With several
    slides, one that fails does not stop the others.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.flow import run_slide

    settings = read_settings(config, overrides, {"feature.encoder": encoder, "runtime.threads": threads})
    _refuse_equal_names(slides)
    results: list[FlowResult] = []
    failed: list[dict[str, str]] = []
    for slide in slides:
        try:
            with progress_line(slide) as progress:
                result = run_slide(slide, out, settings, mpp=mpp, model=model, progress=progress)
        except Exception as error:
            if len(slides) == 1:
                raise
            if debug:
                import traceback

                traceback.print_exception(error)
            failed.append({"slide": slide, "error": type(error).__name__, "message": describe(error)})
            say(f"{slide}: {describe(error)}")
            continue
        results.append(result)
        if not as_json:
            _print_table(result)
    if as_json:
        shown = [_plain(result) for result in results]
        print(json.dumps(shown[0] if len(slides) == 1 else {"slides": shown, "failed": failed}, allow_nan=False))
    if failed:
        names = ", ".join(row["slide"] for row in failed)
        say(f"{len(failed)} of {len(slides)} slides failed: {names}")
        raise typer.Exit(EXIT_SOME_FAILED)


def _refuse_equal_names(slides: list[str]) -> None:
    """Refuse two files that would write into the same directory."""
    from wsigraph.errors import StoreError
    from wsigraph.slide.reader import default_slide_id

    seen: dict[str, str] = {}
    for slide in slides:
        name = default_slide_id(Path(slide))
        if name in seen:
            raise StoreError(
                f"{seen[name]} and {slide} would both write to {name}/, expected files with different names; "
                "run them apart with different --out"
            )
        seen[name] = slide


def _plain(result: FlowResult) -> dict[str, Any]:
    """Return what --json prints of one slide."""
    return {
        **(result.facts or {}),
        "directory": str(result.directory),
        "files": [path.name for path in result.files],
        "seconds": {stage: round(value, 3) for stage, value in result.seconds.items()},
        "resumed": list(result.resumed),
    }


def _print_table(result: FlowResult) -> None:
    """Print one slide's facts: folded to the width of a terminal, one line each elsewhere."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        print("\n".join(f"{name:<16} {value}" for name, value in _rows(result)), end="\n\n", flush=True)
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(result):
        table.add_row(Text(name, style="bold"), Text(value))
    console.print(table)
    console.print()


def _rows(result: FlowResult) -> list[tuple[str, str]]:
    facts = result.facts or {}
    median = facts["median_survival_days"]
    days = facts["survival"]["time_days"][-1]
    seconds = "  ".join(f"{stage} {value:.1f}" for stage, value in result.seconds.items())
    rows = [
        ("slide", result.slide_id),
        ("pixel size", f"{facts['mpp']:g} um/px ({facts['mpp_source']})"),
        ("tissue", f"{facts['tissue_mm2']:.3f} mm2"),
        ("superpixels", f"{facts['superpixels']:,}"),
        ("nodes", f"{facts['nodes']:,} coarse regions"),
        ("stage", "  ".join(f"{name} {share:.3f}" for name, share in facts["stage"].items())),
        ("risk", f"{facts['risk']:.3f} (log cumulative hazard; higher is worse)"),
        ("median survival", f"not reached in {days:,.0f} days" if median is None else f"{median:,.0f} days"),
        ("seconds", seconds),
    ]
    if result.resumed:
        rows.append(("found done", ", ".join(result.resumed)))
    rows += [("warning", text) for text in facts["warnings"]]
    rows.append(("notice", facts["notice"]))
    names = ", ".join(path.name for path in result.files)
    return [*rows, ("files", f"{result.directory}/: {names}")]
