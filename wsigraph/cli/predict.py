"""``wsigraph predict``: slides in, one directory of records and a report each out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Encoder,
    Force,
    Mpp,
    Out,
    Overrides,
    Threads,
    forced,
    read_settings,
)
from wsigraph.cli.slide_arguments import FromManifest, NamedSlide, refuse_equal_names, select_slides, work_through

if TYPE_CHECKING:
    from wsigraph.run.steps import FlowResult

_Slides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SLIDE]", help="Slide files, folders of slides, or globs ('slides/*.svs').", show_default=False
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; else the demonstration model.")
]

_Explain = Annotated[
    str | None,
    typer.Option("--explain", metavar="TARGET", help="Explain stage, risk or survival@DAYS too, in report.html."),
]


@ends_plainly
def predict(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    mpp: Mpp = None,
    model: _Model = None,
    encoder: Encoder = None,
    explain: _Explain = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    force: Force = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read slides, build and coarsen their tissue graphs, predict stage and survival, and write a report of each.

    Writes DIR/<slide>/ with every record. A stage whose record is there and fits is not repeated. With several
    slides, or a manifest, one that fails does not stop the others.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.explanation.request import Question
    from wsigraph.run.steps import run_slide

    settings = read_settings(
        config, overrides, {"feature.encoder": encoder, "runtime.threads": threads, **forced(force)}
    )
    selection = select_slides(slides, manifest, mpp, settings)
    refuse_equal_names(selection.slides)

    def work(slide: NamedSlide) -> FlowResult:
        question = None if explain is None else Question(target=explain, site=slide.site)
        with progress_line(slide.label) as progress:
            return run_slide(
                slide.path,
                out,
                settings,
                mpp=slide.mpp,
                slide_id=slide.slide_id,
                model=model,
                progress=progress,
                explain=question,
            )

    work_through(selection, work, show=_print_table, plain=_plain, as_json=as_json, debug=debug)


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
    seconds = "  ".join(f"{stage} {value:.1f}" for stage, value in result.seconds.items())
    rows = [
        ("slide", result.slide_id),
        ("pixel size", f"{facts['mpp']:g} um/px ({facts['mpp_source']})"),
        ("tissue", f"{facts['tissue_mm2']:.3f} mm2"),
        ("superpixels", f"{facts['superpixels']:,}"),
        ("nodes", f"{facts['nodes']:,} coarse regions"),
        ("stage", "  ".join(f"{name} {share:.3f}" for name, share in facts["stage"].items())),
        ("seconds", seconds),
    ]
    if facts["risk"] is not None:
        last = facts["survival"]["time_days"][-1]
        rows[-1:-1] = [
            ("risk", f"{facts['risk']:.3f} (log cumulative hazard; higher is worse)"),
            ("median survival", f"not reached in {last:,.0f} days" if median is None else f"{median:,.0f} days"),
        ]
    if facts["stage_set"]:
        rows.insert(6, ("stage set", ", ".join(facts["stage_set"])))
    if facts["distance"] is not None:
        rows.insert(-1, ("distance", f"{facts['distance']:.2f} from the training slides (about 1 for one like them)"))
    if facts["patient"] != "external":
        rows.insert(-1, ("patient", f"known to the model: {facts['patient']}"))
    if result.resumed:
        rows.append(("found done", ", ".join(result.resumed)))
    rows += [("warning", text) for text in facts["warnings"]]
    rows.append(("notice", facts["notice"]))
    names = ", ".join(path.name for path in result.files)
    return [*rows, ("files", f"{result.directory}/: {names}")]
