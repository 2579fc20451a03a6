"""``wsigraph predict``: predict stage and survival of slides; each gets a directory of records and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Coordinates,
    Device,
    Encoder,
    Features,
    FocalPlane,
    Mpp,
    Organ,
    Out,
    Overrides,
    Roi,
    Stain,
    Threads,
    TilePx,
    TissueMask,
    forced,
    read_settings,
)
from wsigraph.cli.slide_arguments import FromManifest, refuse_equal_names, select_slides
from wsigraph.cli.slide_results import SlideResults

if TYPE_CHECKING:
    from wsigraph.run.steps import SlideResult

_Slides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SLIDE]", help="Slide files, folders of slides, or globs ('slides/*.svs').", show_default=False
    ),
]
_Model = Annotated[
    str | None, typer.Option("--model", metavar="DIR", help="Model bundle; by default the demonstration model.")
]

_Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Do every step again, and continue with a slide that is not an H&E section or that the model was not made "
        "for; its outputs are marked.",
    ),
]
_Explain = Annotated[
    str | None,
    typer.Option("--explain", metavar="TARGET", help="Also explain stage, risk or survival@DAYS, in report.html."),
]


@ends_plainly
def predict(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    features: Features = None,
    tile_px: TilePx = None,
    mpp: Mpp = None,
    model: _Model = None,
    encoder: Encoder = None,
    explain: _Explain = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    threads: Threads = None,
    device: Device = None,
    origin: Coordinates = None,
    z: FocalPlane = None,
    roi: Roi = None,
    tissue_mask: TissueMask = None,
    stain: Stain = None,
    organ: Organ = None,
    force: _Force = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Read slides, build and coarsen their tissue graphs, predict stage and survival, and write a report of each.

    Writes DIR/<slide>/ with every record. A step whose record is already there is not repeated, unless with --force.
    With several slides, or a manifest, a slide that fails does not stop the others.
    """
    from wsigraph.cli.progress import progress_line
    from wsigraph.explanation.request import ExplanationRequest
    from wsigraph.run.steps import run_slide

    settings = read_settings(
        config,
        overrides,
        {
            "feature.encoder": encoder,
            "runtime.threads": threads,
            "runtime.device": device,
            "report.origin": origin,
            "slide.z": z,
            "slide.stain": stain,
            "prediction.organ": organ,
            **forced(force),
        },
    )
    selection = select_slides(slides, manifest, mpp, settings, roi=roi, tissue_mask=tissue_mask, features=features)
    refuse_equal_names(selection.slides)

    results = SlideResults(selection, as_json=as_json, debug=debug)
    for slide in selection.slides:
        request = None if explain is None else ExplanationRequest(target=explain, site=slide.site)
        with results.catch(slide):
            with progress_line(slide.label) as progress:
                result = run_slide(
                    slide.path,
                    out,
                    settings.with_organ(slide.organ),
                    features=slide.features,
                    tile_px=tile_px,
                    mpp=slide.mpp,
                    slide_id=slide.slide_id,
                    model=model,
                    progress=progress,
                    explain=request,
                    roi=slide.roi,
                    tissue_mask=slide.tissue_mask,
                    redo=force,
                )
            if as_json:
                results.add(_to_json(result))
            else:
                _print_table(result)
    results.finish()


def _to_json(result: SlideResult) -> dict[str, Any]:
    """Return what --json prints of one slide."""
    return {
        **(result.facts or {}),
        "directory": str(result.directory),
        "files": [path.name for path in result.files],
        "seconds": {step: round(value, 3) for step, value in result.seconds.items()},
        "resumed": list(result.resumed),
    }


def _print_table(result: SlideResult) -> None:
    """Print the facts of a slide: folded to the width of a terminal, or one line each."""
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


def _rows(result: SlideResult) -> list[tuple[str, str]]:
    from wsigraph.report.slide_summary import tissue_rows

    facts = result.facts or {}
    median = facts["median_survival_days"]
    seconds = "  ".join(f"{step} {value:.1f}" for step, value in result.seconds.items())
    rows = [
        ("slide", result.slide_id),
        ("pixel size", f"{facts['mpp']:g} um/px ({facts['mpp_source']})"),
        *tissue_rows(facts),
        ("superpixels", f"{facts['superpixels']:,}"),
        ("nodes", f"{facts['nodes']:,} coarse regions"),
    ]
    # what the model says comes after what is true of the slide, and begins with what the model is
    rows += [("model", facts["model"]), ("notice", facts["notice"]), ("assumption", facts["assumes"])]
    if facts["is_demonstration"]:
        rows.append(("demonstration", "the numbers of the model that follow say nothing about this slide"))
    if facts["withheld"]:
        rows.append(("prediction", f"none: {facts['withheld']}; --force goes on, marked"))
    if facts["stage"]:
        rows.append(("stage", "  ".join(f"{name} {probability:.3f}" for name, probability in facts["stage"].items())))
    if facts["stage_set"]:
        rows.append(("stage set", ", ".join(facts["stage_set"])))
    if facts["risk"] is not None:
        last = facts["survival"]["time_days"][-1]
        rows += [
            ("risk", f"{facts['risk']:.3f} (log cumulative hazard; higher is worse)"),
            ("median survival", f"not reached in {last:,.0f} days" if median is None else f"{median:,.0f} days"),
        ]
    rows += _part_rows(facts["risk_parts"] or {})
    if facts["distance"] is not None:
        rows.append(("distance", _distance(facts)))
    if facts["patient"] != "external":
        rows.append(("patient", f"known to the model: {facts['patient']}"))
    rows.append(("seconds", seconds))
    if result.resumed:
        rows.append(("already done", ", ".join(result.resumed)))
    rows += [("warning", text) for text in facts["warnings"]]
    names = ", ".join(path.name for path in result.files)
    return [*rows, ("files", f"{result.directory}/: {names}")]


def _distance(facts: dict[str, Any]) -> str:
    """Return how far the slide is from the training slides, and how many held-out ones are nearer."""
    text = f"{facts['distance']:.2f} from the training slides (about 1 for one like them)"
    percentile = facts["percentile"]
    return text if percentile is None else f"{text}; {percentile:.0f} % of the held-out training slides are nearer"


def _part_rows(parts: dict[str, float]) -> list[tuple[str, str]]:
    """Return how much of the risk comes from composition and from arrangement, and what the correction earned."""
    rows = []
    if "composition_risk" in parts:
        text = f"log hazard ratio {parts['composition_risk']:+.3f} from composition, "
        rows.append(("risk parts", f"{text}{parts['arrangement_risk']:+.3f} from arrangement"))
    earned = {"survival": parts.get("survival_fraction"), "stage": parts.get("stage_fraction")}
    texts = [f"{name} {fraction:.0%}" for name, fraction in earned.items() if fraction is not None]
    return [*rows, ("earned", f"{', '.join(texts)} of the graph networks' correction")] if texts else rows
