"""``wsigraph graph``: build the superpixel graphs of slides, with a picture of each."""

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
    Force,
    Mpp,
    Nuclei,
    NucleiWeights,
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
from wsigraph.cli.slide_arguments import FromManifest, NamedSlide, select_slides
from wsigraph.cli.slide_results import SlideResults

if TYPE_CHECKING:
    from wsigraph.config import Config
    from wsigraph.records import TissueGraph

_Slide = Annotated[
    str | None, typer.Argument(metavar="SLIDE", help="Slide file; optional with --features.", show_default=False)
]
_Coarsen = Annotated[
    bool, typer.Option("--coarsen", help="Also merge similar neighbours and write coarse.safetensors.")
]
_Chunk = Annotated[
    int | None, typer.Option("--chunk-px", metavar="N", help="Chunk size in pixels at the working pixel size.")
]
_Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="Limit the memory of the steps that read pixels, e.g. 1GB."),
]


@ends_plainly
def graph(
    slide: _Slide = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    mpp: Mpp = None,
    features: Features = None,
    tile_px: TilePx = None,
    encoder: Encoder = None,
    nuclei: Nuclei = None,
    nuclei_weights: NucleiWeights = None,
    coarsen: _Coarsen = False,
    chunk_px: _Chunk = None,
    threads: Threads = None,
    device: Device = None,
    memory: _Memory = None,
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
    """Build the superpixel graph of a slide, or a graph of tiles from another tool's features.

    Writes DIR/<slide>/graph.safetensors, the records of the steps before it, and graph.png. Chunk size, threads and
    memory change the speed, never the result. With --features, an encoder's features are averaged over the superpixels
    of the slide; without a slide, the tiles of the file are the nodes.
    """
    spelled = {
        "feature.encoder": encoder,
        "feature.nuclei": nuclei,
        "feature.nuclei_weights": nuclei_weights,
        "runtime.chunk_px": chunk_px,
        "runtime.threads": threads,
        "runtime.device": device,
        "runtime.memory_gb": None if memory is None else _gigabytes(memory),
        "report.origin": origin,
        "slide.z": z,
        "slide.stain": stain,
        **forced(force),
    }
    settings = read_settings(config, overrides, spelled)
    if slide is None and (roi is not None or tissue_mask is not None):
        raise typer.BadParameter(
            "--roi and --tissue-mask are of one slide; name it, or use the column roi of a manifest"
        )
    selection = select_slides(
        *(None if slide is None else [slide], manifest, mpp, settings),
        roi=roi,
        tissue_mask=tissue_mask,
        features=features,
    )

    results = SlideResults(selection, as_json=as_json, debug=debug)
    for named in selection.slides:
        with results.catch(named):
            facts = _from_slide(named, out, settings, tile_px, coarsen=coarsen)
            if as_json:
                results.add(facts)
            else:
                results.print_text(_table(facts))
    results.finish()


def _from_slide(slide: NamedSlide, out: str, settings: Config, tile_px: int | None, *, coarsen: bool) -> dict[str, Any]:
    """Build the graph of superpixels and its picture and return its facts."""
    from wsigraph import store
    from wsigraph.cli.progress import progress_line
    from wsigraph.run.open_inputs import open_inputs
    from wsigraph.run.steps import run_slide

    until = "coarsen" if coarsen else "graph"
    with progress_line(slide.label) as progress:
        result = run_slide(
            slide.path,
            out,
            settings,
            features=slide.features,
            tile_px=tile_px,
            mpp=slide.mpp,
            slide_id=slide.slide_id,
            progress=progress,
            until=until,
            roi=slide.roi,
            tissue_mask=slide.tissue_mask,
        )
        labels = store.load_labels(result.directory / "superpixels.zarr")
        built = store.load_graph(result.directory / "graph.safetensors")
        from wsigraph.report.graph_picture import write_graph_picture

        tiles = None if slide.path else slide.features
        opening = open_inputs(
            *(slide.path, settings), features=tiles, tile_px=tile_px, mpp=slide.mpp, slide_id=slide.slide_id
        )
        with opening as (opened, _):
            write_graph_picture(
                result.directory / "graph.png", slide=opened, labels=labels, graph=built, config=settings.report
            )
        n_regions = store.load_coarse_graph(result.directory / "coarse.safetensors").graph.n_nodes if coarsen else None
    return {
        **_facts(built, n_regions),
        "has_slide": slide.path is not None,
        "mpp": result.info.mpp,
        "mpp_source": result.info.mpp_source,
        "warnings": list(result.info.warnings),
        "directory": str(result.directory),
        "files": [*(path.name for path in result.files), "graph.png"],
        "seconds": {step: round(value, 3) for step, value in result.seconds.items()},
        "resumed": list(result.resumed),
    }


def _facts(built: TissueGraph, n_regions: int | None) -> dict[str, Any]:
    return {
        "slide_id": built.slide_id,
        "nodes": built.n_nodes,
        "edges": built.n_edges,
        "regions": n_regions,
        "tissue_mm2": built.tissue_mm2,
        "encoder": built.encoder,
    }


def _gigabytes(text: str) -> float:
    """Return a size such as 1GB, 1.5GiB or 800MB in gigabytes."""
    from dask.utils import parse_bytes

    from wsigraph.errors import ConfigError

    try:
        return float(parse_bytes(text)) / 1e9
    except ValueError:
        raise ConfigError(f"--memory {text}: expected a size such as 1GB or 800MB") from None


def _table(facts: dict[str, Any]) -> str:
    seconds = "  ".join(f"{step} {value:.1f}" for step, value in facts["seconds"].items())
    rows = [
        ("slide", facts["slide_id"]),
        ("pixel size", f"{facts['mpp']:g} um/px ({facts['mpp_source']})"),
        ("tissue" if facts["has_slide"] else "area of tiles", f"{facts['tissue_mm2']:.3f} mm2"),
        ("nodes", f"{facts['nodes']:,}"),
        ("boundaries", f"{facts['edges']:,}"),
        *([] if facts["regions"] is None else [("coarse regions", f"{facts['regions']:,}")]),
        ("seconds", seconds),
        *(("warning", text) for text in facts["warnings"]),
        ("files", f"{facts['directory']}/: {', '.join(facts['files'])}"),
    ]
    if facts["resumed"]:
        rows.insert(-1, ("already done", ", ".join(facts["resumed"])))
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
