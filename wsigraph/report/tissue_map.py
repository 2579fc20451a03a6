"""The map of tissue classes of one slide: a picture with a legend, QuPath annotations, a label image and the amounts.

Superpixels of one name are merged into compartments or structures (`wsigraph.graph.tissue_class.class_regions`), whose
outlines fit together without gaps. The GeoJSON has one annotation for each, with QuPath's class and colour. The label
image is on the outline grid, 0 outside the tissue, with the names in its attributes. tissue_classes.json is written
last.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from wsigraph.config import ReportConfig
from wsigraph.exchange.tissue_class_columns import NODES, save_tissue_classes
from wsigraph.geometry import Box, px_to_mm2
from wsigraph.graph.tissue_class.class_amounts import Composition, measure_composition
from wsigraph.graph.tissue_class.class_regions import cut_by_class
from wsigraph.graph.tissue_class.node_classifier import NodeClassifier, RegionClasses
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import Outlines, trace_outlines
from wsigraph.records import CoarseGraph, SuperpixelLabels, TissueGraph
from wsigraph.report.font import FONT, drawable
from wsigraph.report.geojson import polygon_geometry, region_ids
from wsigraph.report.panel import INK, WARNING_COLOUR
from wsigraph.report.view import cut_view
from wsigraph.slide.bounds import describe_origin, offset_px
from wsigraph.slide.reader import Slide
from wsigraph.store import Destination, canonical_document, canonical_json, write_file
from wsigraph.store.grids import ROOT, save_grids
from wsigraph.store.payload import Payload

PICTURE, POLYGONS, LABELS, FACTS = (f"tissue_classes.{suffix}" for suffix in ("png", "geojson", "zarr", "json"))
"""File names inside a slide's directory."""
NOTICE = "research use only; the classes of a new laboratory's slides are not guaranteed"
_OPACITY = 0.45
_PANEL, _DPI = 7.0, 130


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueClassMap:
    """The written map of one slide.

    Attributes
    ----------
    files : tuple of str
        File names in the slide's directory.
    composition : Composition
        Areas and shares.
    facts : dict
        Content of tissue_classes.json.
    """

    files: tuple[str, ...]
    composition: Composition
    facts: dict[str, Any]


def write_tissue_map(
    directory: Path | str,
    *,
    slide: Slide,
    labels: SuperpixelLabels,
    graph: TissueGraph,
    model: NodeClassifier,
    model_digest: str,
    level: Literal["structure", "compartment"],
    config: ReportConfig | None = None,
) -> TissueClassMap:
    """Classify the superpixels of a slide and write the map.

    Parameters
    ----------
    directory : Path or str
        The slide's directory.
    slide : Slide
        The slide.
    labels : SuperpixelLabels
        Its superpixels.
    graph : TissueGraph
        Their graph.
    model : NodeClassifier
        The classifier.
    model_digest : str
        Digest of its file.
    level : {"structure", "compartment"}
        Size of the regions that are drawn.
    config : ReportConfig, optional
        Settings of outlines, picture and origin.

    Returns
    -------
    TissueClassMap
        Files and amounts.

    Raises
    ------
    ModelError
        If model and graph do not fit.
    RecordError
        If labels and graph do not belong together.
    SlideError
        If the slide cannot be read.
    StoreError
        If a file cannot be written.
    """
    options, directory = config or ReportConfig(), Path(directory)
    classes = model.classify(graph)
    composition = measure_composition(graph, classes)
    names, label = classes.labels()
    colours = classes.label_colours()
    regions, region_label = cut_by_class(graph, label, level=level, apart=len(names) - 1)
    grid = sample_regions(labels, regions, slide.info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px)
    tolerance = options.outline_tolerance_um * max(1.0, grid.mpp / max(options.outline_mpp, labels.mpp))
    outlines = trace_outlines(
        grid, regions.graph, tolerance_um=tolerance, max_area_error=options.outline_max_area_error
    )
    provenance = {
        **({"mark": graph.mark} if graph.mark else {}),
        "slide_id": slide.info.slide_id,
        "slide_sha256": slide.info.sha256,
        "tissue_model": model_digest,
        "classes": list(classes.names),
        "nuclei": graph.nuclei,
        "origin": describe_origin(slide.info, options.origin),
        "note": NOTICE,
    }
    offset = np.asarray(offset_px(slide.info, options.origin))
    content = _collection(regions, region_label, outlines, classes, names, colours, slide.info.sha256, offset)
    write_file(directory / POLYGONS, (canonical_json({**content, "wsigraph": provenance}) + "\n").encode())
    _write_labels(directory / LABELS, labels, graph, label, names, slide, options)
    picture = _draw(slide, grid, outlines, region_label, names, colours, composition, options, graph.mark)
    write_file(directory / PICTURE, picture)
    facts = {**provenance, "composition": composition.document(), "sentence": composition.sentence()}
    save_tissue_classes(directory, classes, mark=graph.mark)
    write_file(directory / FACTS, canonical_document(facts))
    return TissueClassMap(files=(PICTURE, POLYGONS, LABELS, NODES, FACTS), composition=composition, facts=facts)


def _collection(
    regions: CoarseGraph,
    region_label: NDArray[np.int64],
    outlines: Outlines,
    classes: RegionClasses,
    names: tuple[str, ...],
    colours: list[tuple[int, int, int]],
    sha256: str,
    offset: NDArray[np.int64],
) -> dict[str, Any]:
    """Return the compartments as QuPath annotations."""
    n = regions.graph.n_nodes
    pixels = np.bincount(regions.assignment, minlength=n).astype(np.float64)
    mean = [np.bincount(regions.assignment, column, minlength=n) / pixels for column in classes.probability.T]
    area = regions.graph.moment("n") * px_to_mm2(1.0, regions.graph.mpp)
    features = []
    for node, identifier in enumerate(region_ids(regions, sha256)):
        name = names[region_label[node]]
        measurements = {"Area mm^2": round(float(area[node]), 6), "Number of superpixels": int(pixels[node])}
        if region_label[node] != len(names) - 1:
            measurements |= {
                f"Probability: {title}": round(float(column[node]), 4)
                for title, column in zip(classes.names, mean, strict=True)
            }
        features.append(
            {
                "type": "Feature",
                "id": identifier,
                "geometry": polygon_geometry(outlines, node, offset),
                "properties": {
                    "objectType": "annotation",
                    "name": f"{name} {node}",
                    "classification": {"name": name, "color": list(colours[region_label[node]])},
                    "isLocked": True,
                    "measurements": measurements,
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _write_labels(
    path: Path,
    labels: SuperpixelLabels,
    graph: TissueGraph,
    label: NDArray[np.int64],
    names: tuple[str, ...],
    slide: Slide,
    options: ReportConfig,
) -> None:
    """Write the name of every superpixel on the outline grid, 1 + its number."""
    itself = CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")
    grid = sample_regions(labels, itself, slide.info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px)
    image = np.concatenate([[0], label + 1]).astype(np.uint8)[grid.cells]
    fields = {"mpp": grid.mpp, "names": ["outside", *names], **({"mark": graph.mark} if graph.mark else {})}
    save_grids(Destination(path, {"slide": slide.info.sha256}), "TissueClassMap", Payload(fields, {ROOT: image}))


def _draw(
    slide: Slide,
    grid: LabelGrid,
    outlines: Outlines,
    region_label: NDArray[np.int64],
    names: tuple[str, ...],
    colours: list[tuple[int, int, int]],
    composition: Composition,
    options: ReportConfig,
    mark: str,
) -> bytes:
    """Return the picture: the slide, and the slide with its classes in colours, over a legend."""
    view = cut_view(slide, grid, outlines, Box.whole(slide.info.levels[0].size), options.thumbnail_px)
    index = np.concatenate([[0], region_label + 1])[view.regions]
    table = np.array([(255, 255, 255), *colours], np.float64)
    blended = np.where(
        (index > 0)[..., None], (1 - _OPACITY) * view.pixels + _OPACITY * table[index], view.pixels
    ).astype(np.uint8)
    width = _PANEL * min(max(view.aspect, 0.4), 2.4)
    present = sorted(set(region_label.tolist()))
    lines = 1 + len(present)
    legend = 0.25 * lines + 0.3
    figure = Figure(figsize=(2 * width + 0.9, _PANEL + legend + 0.7), dpi=_DPI, facecolor="white")
    total_width, total_height = figure.get_size_inches()
    for number, pixels in enumerate((view.pixels, blended)):
        place = ((0.3 + number * (width + 0.3)) / total_width, legend / total_height)
        axes = figure.add_axes((*place, width / total_width, _PANEL / total_height))
        axes.imshow(pixels, interpolation="antialiased")
        axes.set_axis_off()
    patches = [Patch(color=tuple(c / 255 for c in colours[k]), label=_entry(names[k], composition)) for k in present]
    texts = [text for patch in patches for text in drawable(str(patch.get_label()))[1]]
    figure.legend(
        handles=patches,
        loc="lower left",
        bbox_to_anchor=(0.3 / total_width, 0.0),
        frameon=False,
        fontsize=10,
        prop={"family": sorted({FONT, *texts})},
    )
    title, families = drawable(f"{slide.info.slide_id}: tissue classes, {NOTICE}")
    style: dict[str, Any] = {"fontfamily": families, "color": INK, "parse_math": False, "va": "top"}
    figure.text(0.3 / total_width, 1 - 0.15 / total_height, title, fontsize=11, **style)
    if mark:
        figure.text(
            0.3 / total_width,
            1 - 0.4 / total_height,
            drawable(mark)[0],
            fontsize=9,
            **{**style, "color": WARNING_COLOUR},
        )
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    stream = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(stream, "PNG", dpi=(_DPI, _DPI))
    return stream.getvalue()


def _entry(name: str, composition: Composition) -> str:
    """Return a line of the legend."""
    if name not in composition.share:
        return drawable(name)[0]
    share, area = composition.share[name], composition.area_mm2[name]
    text = (
        f"{name}: {area.value:.2f} mm2, {100 * share.value:.0f} % ({100 * share.low:.0f} to {100 * share.high:.0f} %)"
    )
    return drawable(text)[0]
