"""``wsigraph tissue``: a map of tissue classes with certainty, and how much of each there is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Coordinates,
    Device,
    Encoder,
    FocalPlane,
    Force,
    Mpp,
    Nuclei,
    NucleiWeights,
    Out,
    Overrides,
    Roi,
    Stain,
    Threads,
    TissueMask,
    forced,
    read_settings,
)
from wsigraph.cli.slide_arguments import FromManifest, NamedSlide, refuse_equal_names, select_slides
from wsigraph.cli.slide_results import SlideResults

if TYPE_CHECKING:
    from wsigraph.config import Config


class Level(StrEnum):
    """Sizes of the regions of a map."""

    STRUCTURE = "structure"
    COMPARTMENT = "compartment"


_Slides = Annotated[
    list[str] | None, typer.Argument(metavar="SLIDE...", help="Slide files, folders or globs.", show_default=False)
]
_Model = Annotated[
    str | None,
    typer.Option("--tissue-model", metavar="DIR", help="Model of wsigraph train-tissue; by default the package's own."),
]
_Level = Annotated[
    Level,
    typer.Option(
        "--level", help="Regions of the map: compartments of 0.1 mm2 and more, or structures of 0.01 to 0.1 mm2."
    ),
]


@ends_plainly
def tissue(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    mpp: Mpp = None,
    tissue_model: _Model = None,
    level: _Level = Level.COMPARTMENT,
    encoder: Encoder = None,
    nuclei: Nuclei = None,
    nuclei_weights: NucleiWeights = None,
    threads: Threads = None,
    device: Device = None,
    origin: Coordinates = None,
    z: FocalPlane = None,
    roi: Roi = None,
    tissue_mask: TissueMask = None,
    stain: Stain = None,
    force: Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Name the tissue of a slide: a class where the model is certain, "A or B" for two, else "unnamed".

    Writes DIR/<slide>/tissue_classes.png (the map with its legend), .geojson (QuPath annotations), .zarr (a label
    image) and .json: area and share of every class with intervals, the ratio and the common boundary of epithelium and
    stroma, and nuclei per mm2 of stroma. Records of the steps before it are reused if they were made with the same
    settings; with others they are made again, and a prediction in the same directory is removed.
    """
    spelled = {
        "feature.encoder": encoder,
        "feature.nuclei": nuclei,
        "feature.nuclei_weights": nuclei_weights,
        "runtime.threads": threads,
        "runtime.device": device,
        "report.origin": origin,
        "slide.z": z,
        "slide.stain": stain,
        **forced(force),
    }
    settings = read_settings(config, overrides, spelled)
    selection = select_slides(slides, manifest, mpp, settings, roi=roi, tissue_mask=tissue_mask)
    refuse_equal_names(selection.slides)
    from wsigraph.graph.tissue_class.node_classifier import load_node_classifier

    load_node_classifier(tissue_model)  # a wrong model ends the command before any pixel is read
    results = SlideResults(selection, as_json=as_json, debug=debug)
    for named in selection.slides:
        with results.catch(named):
            facts = _name(named, out, settings, tissue_model, level)
            if as_json:
                results.add(facts)
            else:
                results.print_text(_table(facts))
    results.finish()


def _name(named: NamedSlide, out: str, settings: Config, tissue_model: str | None, level: Level) -> dict[str, Any]:
    """Classify one slide, write its map, and return amounts and files."""
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.tissue_classes import name_tissue

    with progress_line(named.label) as progress:
        result = name_tissue(
            named.pixels,
            out,
            settings,
            tissue_model=tissue_model,
            level=level.value,
            mpp=named.mpp,
            slide_id=named.slide_id,
            roi=named.roi,
            tissue_mask=named.tissue_mask,
            progress=progress,
        )
    return {
        **result.map.facts,
        "warnings": list(result.warnings),
        "directory": str(result.directory),
        "files": list(result.map.files),
        "seconds": {name: round(value, 3) for name, value in result.seconds.items()},
    }


def _table(facts: dict[str, Any]) -> str:
    amounts = facts["composition"]
    rows = [("slide", facts["slide_id"]), ("tissue", f"{amounts['tissue_mm2']:.3f} mm2 without glass")]
    for name, area in amounts["area_mm2"].items():
        share = amounts["share"][name]
        ends = f"{100 * share['low']:.0f} to {100 * share['high']:.0f} %"
        rows.append((name, f"{area['value']:.3f} mm2, {100 * share['value']:.1f} % ({ends})"))
    rows.append(("unnamed", f"{amounts['unnamed_mm2']:.3f} mm2, {100 * amounts['unnamed_share']:.1f} %"))
    for title, key, unit in (
        ("tumour : stroma", "tumour_stroma_ratio", ""),
        ("nuclei in stroma", "stroma_nuclei_per_mm2", " a mm2"),
    ):
        value = amounts[key]
        if value is not None:
            ends = f"{value['low']:,.3g} to {value['high']:,.3g}"
            rows.append((title, f"{value['value']:,.3g}{unit} ({ends})"))
    if amounts["front_mm"] is not None:
        rows.append(("front", f"{amounts['front_mm']:.2f} mm"))
    rows += [
        ("seconds", "  ".join(f"{step} {value:.1f}" for step, value in facts["seconds"].items())),
        *(("warning", text) for text in facts["warnings"]),
        ("files", f"{facts['directory']}/: {', '.join(facts['files'])}"),
    ]
    return "\n".join(f"{name:<18} {value}" for name, value in rows)
