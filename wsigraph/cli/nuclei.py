"""``wsigraph nuclei``: every nucleus of a slide, as outlines for QuPath and tables, with counts and densities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly
from wsigraph.cli.options import (
    AsJson,
    ConfigFiles,
    Device,
    Force,
    Mpp,
    Nuclei,
    NucleiWeights,
    Out,
    Overrides,
    Roi,
    Stain,
    Threads,
    forced,
    read_settings,
)
from wsigraph.cli.slide_arguments import FromManifest, NamedSlide, select_slides
from wsigraph.cli.slide_results import SlideResults

if TYPE_CHECKING:
    from wsigraph.config import Config
    from wsigraph.geometry import Box


class NucleusFormat(StrEnum):
    """Formats that nuclei can be written in."""

    GEOJSON = "geojson"
    PARQUET = "parquet"
    ANNDATA = "anndata"
    OME_ZARR = "ome-zarr"


_Slides = Annotated[
    list[str] | None, typer.Argument(metavar="SLIDE...", help="Slide files, folders or globs.", show_default=False)
]
_To = Annotated[
    list[NucleusFormat] | None,
    typer.Option("--to", help="Format to write; repeatable. GeoJSON and parquet if left out.", show_default=False),
]
_Points = Annotated[bool, typer.Option("--points", help="Write centroids in GeoJSON instead of outlines.")]
_Box = Annotated[
    str | None,
    typer.Option("--box", metavar="X,Y,W,H", help="Only nuclei in this rectangle of level-0 pixels."),
]


@ends_plainly
def nuclei(
    slides: _Slides = None,
    manifest: FromManifest = None,
    out: Out = "wsigraph-out",
    mpp: Mpp = None,
    nuclei: Nuclei = None,
    nuclei_weights: NucleiWeights = None,
    to: _To = None,
    points: _Points = False,
    box: _Box = None,
    roi: Roi = None,
    threads: Threads = None,
    device: Device = None,
    stain: Stain = None,
    force: Force = False,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find the nuclei in the tissue of a slide, by the package's network unless --nuclei names another detector.

    Writes DIR/<slide>/nuclei_001.geojson and so on, 50,000 detections a file, which QuPath imports one after another;
    nuclei.parquet, one row a nucleus; and nuclei.json with counts, and counts a mm2 of tissue, by type, section and
    class of region.
    """
    spelled = {
        "feature.nuclei": nuclei,
        "feature.nuclei_weights": nuclei_weights,
        "runtime.threads": threads,
        "runtime.device": device,
        "slide.stain": stain,
        **forced(force),
    }
    settings = read_settings(config, overrides, spelled)
    selection = select_slides(slides, manifest, mpp, settings, roi=roi)
    part = None if box is None else _read_box(box)
    formats = to or [NucleusFormat.GEOJSON, NucleusFormat.PARQUET]
    results = SlideResults(selection, as_json=as_json, debug=debug)
    for named in selection.slides:
        with results.catch(named):
            facts = _find(named, out, settings, formats, part, points=points)
            if as_json:
                results.add(facts)
            else:
                results.print_text(_table(facts))
    results.finish()


def _find(
    named: NamedSlide, out: str, settings: Config, formats: list[NucleusFormat], part: Box | None, *, points: bool
) -> dict[str, Any]:
    """Find the nuclei of a slide, write them, and return counts and files."""
    import time

    from wsigraph.cli.progress import progress_line
    from wsigraph.exchange.nucleus_labels import write_nucleus_labels
    from wsigraph.graph.feature.detect import detector_identity, load_detector
    from wsigraph.graph.feature.nucleus_table import check_resolution, densities_by_class, find_nuclei
    from wsigraph.graph.tissue.mask import find_tissue
    from wsigraph.graph.tissue.suitability import mark_slide
    from wsigraph.slide.map_boxes import with_threads
    from wsigraph.slide.open_slide import open_slide
    from wsigraph.slide.roi import as_roi
    from wsigraph.store import canonical_document, write_file

    started = time.perf_counter()
    # the rule counts dark spots for the graph and outlines none, so that the network is meant
    name = "network" if settings.feature.nuclei == "rule" else settings.feature.nuclei
    with (
        open_slide(named.pixels, settings.slide, mpp=named.mpp, slide_id=named.slide_id) as slide,
        progress_line(named.label) as progress,
        with_threads(settings.runtime.threads),
    ):
        check_resolution(slide)
        detector = load_detector(name, settings.feature.nuclei_weights, settings.runtime.device)
        if detector is None:
            raise typer.BadParameter("feature.nuclei is none, expected network or a plugin; give it with --nuclei")
        regions = None if named.roi is None else as_roi(named.roi, slide, origin=settings.report.origin)
        tissue = find_tissue(
            slide,
            settings.tissue,
            roi=regions,
            suitability=settings.slide,
            working_mpp=settings.superpixel.mpp,
            progress=progress,
        )
        forced_mark = mark_slide(slide, tissue, settings.slide)
        least_type = float(getattr(detector, "least_type", 0.5))
        table = find_nuclei(slide, tissue, detector, box=part, least_type=least_type, progress=progress)
        info, size = slide.info, slide.size(detector.mpp)
    facts = {"slide_id": info.slide_id, "detector": detector_identity(detector), **table.densities()}
    if regions is not None:
        facts["classes"] = densities_by_class(table, tissue, regions)
    directory = Path(out) / info.slide_id
    if forced_mark:
        facts = {"mark": forced_mark, **facts}
    provenance = {**facts, "slide_sha256": info.sha256, "mpp": info.mpp, "note": "research use only"}
    files = _write(table, directory, info.mpp, provenance, formats, points=points)
    if NucleusFormat.OME_ZARR in formats:
        files.append(write_nucleus_labels(table, directory / "nuclei.ome.zarr", size, provenance))
    write_file(directory / "nuclei.json", canonical_document(provenance))
    return {
        **facts,
        "warnings": list(info.warnings),
        "directory": str(directory),
        "files": [*(file.name for file in files), "nuclei.json"],
        "seconds": round(time.perf_counter() - started, 3),
    }


def _write(
    table: Any, directory: Path, mpp: float, provenance: dict[str, Any], formats: list[NucleusFormat], *, points: bool
) -> list[Path]:
    """Write the table in every format and return the files."""
    from wsigraph.exchange.nucleus_files import write_geojson_batches, write_nucleus_anndata, write_nucleus_parquet

    files: list[Path] = []
    if NucleusFormat.GEOJSON in formats:
        files += write_geojson_batches(table, directory, mpp, provenance, points=points)
    if NucleusFormat.PARQUET in formats:
        files.append(write_nucleus_parquet(table, directory / "nuclei.parquet", provenance))
    if NucleusFormat.ANNDATA in formats:
        files.append(write_nucleus_anndata(table, directory / "nuclei.h5ad", provenance))
    return files


def _read_box(text: str) -> Box:
    """Return the rectangle that ``--box`` names."""
    from wsigraph.geometry import Box

    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--box {text}: expected four whole numbers X,Y,W,H in level-0 pixels") from None
    if width <= 0 or height <= 0:
        raise typer.BadParameter(f"--box {text}: expected a width and height above 0")
    return Box(y0=y, x0=x, y1=y + height, x1=x + width)


def _table(facts: dict[str, Any]) -> str:
    rows = [
        ("slide", facts["slide_id"]),
        ("detector", facts["detector"]),
        ("tissue", f"{facts['tissue_mm2']:.3f} mm2"),
        ("nuclei", f"{facts['nuclei']:,} ({facts['per_mm2']:,.0f} a mm2)"),
        *((name, f"{kind['nuclei']:,} ({kind['per_mm2']:,.0f} a mm2)") for name, kind in facts["types"].items()),
        *(
            (f"in {name}", f"{part['nuclei']:,} ({part['per_mm2']:,.0f} a mm2)")
            for name, part in facts.get("classes", {}).items()
        ),
        ("seconds", f"{facts['seconds']:.1f}"),
        *(("warning", text) for text in facts["warnings"]),
        ("files", f"{facts['directory']}/: {', '.join(facts['files'])}"),
    ]
    return "\n".join(f"{name:<16} {value}" for name, value in rows)
