"""``wsigraph export``: convert a stored graph to the format of another tool."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsigraph.cli.failure import Debug, ends_plainly, say
from wsigraph.cli.options import AsJson, Coordinates, Mpp

if TYPE_CHECKING:
    from wsigraph.exchange.tables import Placement
    from wsigraph.records import CoarseGraph, SlideInfo, TissueGraph

_GRAPH, _COARSE, _SLIDE = "graph.safetensors", "coarse.safetensors", "slide.json"


class Format(StrEnum):
    """Formats that a graph can be written in."""

    ANNDATA = "anndata"
    GEOJSON = "geojson"
    PARQUET = "parquet"
    NETWORKX = "networkx"
    TIATOOLBOX = "tiatoolbox"
    TRIDENT = "trident"


_Source = Annotated[
    str,
    typer.Argument(
        metavar="GRAPH", help="A slide's directory, or its graph.safetensors or coarse.safetensors.", show_default=False
    ),
]
_To = Annotated[Format, typer.Option("--to", help="Format to write.", show_default=False)]
_Out = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="PATH",
        help="File to write (.h5ad, .geojson, .graphml, .json, .db, .h5); for parquet, a directory.",
        show_default=False,
    ),
]
_Coarse = Annotated[
    bool, typer.Option("--coarse", help="Export the coarse regions of a directory instead of the superpixels.")
]
_Points = Annotated[bool, typer.Option("--points", help="Write centroids instead of outlines.")]


@ends_plainly
def export(
    source: _Source,
    to: _To,
    out: _Out,
    coarse: _Coarse = False,
    points: _Points = False,
    mpp: Mpp = None,
    origin: Coordinates = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a graph for other tools: AnnData, GeoJSON, parquet, networkx, a tiatoolbox store or TRIDENT features.

    networkx writes GraphML or node-link JSON, depending on the suffix of PATH. GeoJSON and tiatoolbox get outlines if
    GRAPH is a slide's directory, otherwise centroids, in level-0 pixels. All coordinates count from the corner of the
    scanned area, as QuPath shows it, or with --origin plane from that of the file's whole plane, as ImageScope, ASAP
    and tiatoolbox show it; each file states which. AnnData, parquet and networkx need
    pip install 'wsigraph[exchange]'; tiatoolbox needs the extra 'tiatoolbox'.
    """
    graph = _load(Path(source), coarse)
    placement = _placement(Path(source), origin)
    files = _write(graph, Path(source), to, Path(out), placement, points=points, mpp=mpp)
    from wsigraph.exchange.tables import tissue_graph

    tissue = tissue_graph(graph)
    if tissue.mark:
        say(f"{tissue.slide_id}: {tissue.mark}")
    if as_json:
        shown: dict[str, Any] = {"format": to.value, "files": [str(file) for file in files], "nodes": tissue.n_nodes}
        shown |= {"edges": tissue.n_edges, "slide_id": tissue.slide_id, "origin": placement.statement()}
        shown |= {"mark": tissue.mark} if tissue.mark else {}
        print(json.dumps(shown))
    else:
        print("\n".join(str(file) for file in files))


def _load(source: Path, coarse: bool) -> TissueGraph | CoarseGraph:
    """Return the graph of a slide's directory or of a file."""
    from wsigraph.store import load_coarse_graph, load_graph
    from wsigraph.store.tensors import read_tensors

    if source.is_dir():
        from wsigraph.exchange.tissue_class_columns import add_tissue_classes

        stored = load_coarse_graph(source / _COARSE) if coarse else load_graph(source / _GRAPH)
        return add_tissue_classes(stored, source)
    record = read_tensors(source)[0]["record"]
    return load_coarse_graph(source) if record == "CoarseGraph" else load_graph(source)


def _write(
    graph: TissueGraph | CoarseGraph,
    source: Path,
    to: Format,
    out: Path,
    placement: Placement,
    *,
    points: bool,
    mpp: float | None,
) -> list[Path]:
    """Write the graph and return the files."""
    if to is Format.ANNDATA:
        from wsigraph.exchange.anndata import write_anndata

        return [write_anndata(graph, out, placement=placement)]
    if to is Format.PARQUET:
        from wsigraph.exchange.parquet import write_parquet

        return list(write_parquet(graph, out, placement=placement))
    if to is Format.NETWORKX:
        from wsigraph.exchange.networkx import write_networkx

        return [write_networkx(graph, out, placement=placement)]
    if to is Format.TRIDENT:
        from wsigraph.exchange.trident_file import write_trident

        info = _slide_info(source)
        size = None if info is None else info.levels[0].size
        return [write_trident(graph, out, level0_mpp=_level0_mpp(source, mpp), level0=size)]
    content = _geojson(graph, source, placement, points, mpp)
    if to is Format.TIATOOLBOX:
        from wsigraph.exchange.annotation_store import write_annotation_store

        return [write_annotation_store(content, out)]
    from wsigraph.store import write_file

    write_file(out, content)
    return [out]


def _geojson(
    graph: TissueGraph | CoarseGraph, source: Path, placement: Placement, points: bool, mpp: float | None
) -> bytes:
    """Return outlines of a directory's graph, else centroids."""
    info = _slide_info(source)
    if info is not None and source.is_dir() and not points:
        return _outlines(graph, source, info, placement)
    from wsigraph.exchange.geojson_points import encode_points

    return encode_points(graph, _level0_mpp(source, mpp), placement=placement)


def _level0_mpp(source: Path, given: float | None) -> float:
    """Return the pixel size of level 0: as given, else of the slide's record."""
    from wsigraph.errors import MissingMpp

    info = _slide_info(source)
    mpp = given if given is not None or info is None else info.mpp
    if mpp is None:
        raise MissingMpp(f"{source} has no pixel size of level 0 of the slide; give it with --mpp UM")
    return mpp


def _placement(source: Path, origin: str | None) -> Placement:
    """Return what the coordinates of the export count from."""
    from wsigraph.config import load
    from wsigraph.exchange.tables import Placement

    info = _slide_info(source)
    coordinates = load([], [] if origin is None else [f"report.origin={json.dumps(origin)}"]).report.origin
    if info is None:
        return Placement(coordinates=coordinates)
    return Placement(coordinates=coordinates, bounds_on_plane_px=info.origin, level0_mpp=info.mpp)


def _slide_info(source: Path) -> SlideInfo | None:
    """Return the slide's record in or beside `source`; None if there is none."""
    from wsigraph.store import load_slide_info

    path = (source if source.is_dir() else source.parent) / _SLIDE
    return load_slide_info(path) if path.is_file() else None


def _outlines(graph: TissueGraph | CoarseGraph, directory: Path, info: SlideInfo, placement: Placement) -> bytes:
    """Return outlines as in the report, of regions or superpixels."""
    import numpy as np

    from wsigraph import store
    from wsigraph.config import ReportConfig
    from wsigraph.exchange.tables import provenance
    from wsigraph.graph.feature.interpret import known_features
    from wsigraph.outline.label_grid import sample_regions
    from wsigraph.outline.outline import trace_outlines
    from wsigraph.records import CoarseGraph
    from wsigraph.report.geojson import encode_geojson
    from wsigraph.slide.bounds import offset_px

    options = ReportConfig()
    regions = graph
    if not isinstance(regions, CoarseGraph):
        regions = CoarseGraph(graph=regions, assignment=np.arange(regions.n_nodes), embedding_id="none")
    labels = store.load_labels(directory / "superpixels.zarr", store.load_tissue_map(directory / "tissue.zarr"))
    grid = sample_regions(labels, regions, info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px)
    coarser = max(1.0, grid.mpp / max(options.outline_mpp, labels.mpp))
    content, _ = encode_geojson(
        trace_outlines(
            grid,
            regions.graph,
            tolerance_um=options.outline_tolerance_um * coarser,
            max_area_error=options.outline_max_area_error,
        ),
        regions,
        known_features(regions.graph),
        slide_sha256=info.sha256,
        measurements=options.measurements,
        provenance={**provenance(graph, placement), "outline_mpp": grid.mpp, "level0_mpp": info.mpp},
        max_bytes=round(options.geojson_max_mb * 1e6),
        offset_px=offset_px(info, placement.coordinates),
    )
    return content
