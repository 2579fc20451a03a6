"""Writes report.json, report.geojson and report.png of one slide.

The label image is read once, in blocks, to a coarse label grid. Outlines, picture and polygons are made from that grid.
report.json is written last and has the header that marks the report as done, so an interrupted report is never taken
for a complete one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsigraph.config import ReportConfig, section_hash
from wsigraph.errors import ConfigError
from wsigraph.geometry import Box
from wsigraph.graph.feature.interpret import FEATURE_NAMES, FeatureTable, known_features
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import Outlines, trace_outlines
from wsigraph.records import CoarseGraph, Prediction, SuperpixelLabels
from wsigraph.report.figure import DETAIL_ASPECT, DETAIL_BELOW_FRACTION, DETAIL_REGIONS, draw_report
from wsigraph.report.geojson import encode_geojson, measurement_name
from wsigraph.report.slide_summary import provenance, summary
from wsigraph.report.view import RegionMap, cut_view, find_detail
from wsigraph.slide.bounds import offset_px
from wsigraph.slide.reader import Slide
from wsigraph.store import Destination, save_document, write_file

PICTURE, POLYGONS, FACTS = "report.png", "report.geojson", "report.json"
"""File names inside a slide's directory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """The written report of one slide.

    Attributes
    ----------
    directory : Path
        The slide's directory.
    files : tuple of str
        File names in it.
    facts : mapping of str to JSON value
        Content of report.json without its header.
    """

    directory: Path
    files: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write(
    directory: Path | str,
    *,
    slide: Slide,
    labels: SuperpixelLabels,
    coarse: CoarseGraph,
    prediction: Prediction,
    config: ReportConfig | None = None,
    inputs: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    is_synthetic: bool = False,
) -> Report:
    """Write the report of one slide.

    Parameters
    ----------
    directory : Path or str
        The slide's directory; created if missing.
    slide : Slide
        The slide.
    labels : SuperpixelLabels
        Its superpixels.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        The prediction.
    config : ReportConfig, optional
        Settings.
    inputs : mapping of str to str, optional
        Digests of the inputs, for the header of report.json.
    warnings : sequence of str, optional
        Further warnings.
    is_synthetic : bool, optional
        Whether the slide is synthetic; recorded in every file.

    Returns
    -------
    Report
        Directory, file names and facts.

    Raises
    ------
    ConfigError
        If the settings name a feature that does not exist.
    RecordError
        If labels and graph do not belong together.
    SlideError
        If the thumbnail cannot be read.
    StoreError
        If a file cannot be written.

    Notes
    -----
    Reads the labels once and the slide once at low power. Memory: the label grid (at most 144 MB with the
    defaults, and three times that while outlines are traced) and one block of labels.
    """
    options, directory = config or ReportConfig(), Path(directory)
    features = known_features(coarse.graph)
    _check_feature(features, options.map_feature)
    grid = sample_regions(labels, coarse, slide.info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px)
    # A grid that is coarser than requested, because the slide is large, is smoothed accordingly more.
    coarser = max(1.0, grid.mpp / max(options.outline_mpp, labels.mpp))
    outlines = trace_outlines(
        grid,
        coarse.graph,
        tolerance_um=options.outline_tolerance_um * coarser,
        max_area_error=options.outline_max_area_error,
    )
    origin = provenance(
        slide=slide.info, coarse=coarse, prediction=prediction, is_synthetic=is_synthetic, origin=options.origin
    )
    polygons, left_out = encode_geojson(
        outlines,
        coarse,
        features,
        slide_sha256=slide.info.sha256,
        measurements=options.measurements,
        provenance={**origin, "outline_mpp": grid.mpp, "level0_mpp": slide.info.mpp},
        max_bytes=round(options.geojson_max_mb * 1e6),
        offset_px=offset_px(slide.info, options.origin),
    )
    facts = summary(
        slide=slide.info,
        labels=labels,
        coarse=coarse,
        prediction=prediction,
        files=(PICTURE, POLYGONS, FACTS),
        warnings=[*warnings, *_warnings(outlines, left_out, len(polygons), options)],
        is_synthetic=is_synthetic,
    )
    written = {PICTURE: _draw(slide, grid, outlines, features, options, prediction, facts), POLYGONS: polygons}
    for name, data in written.items():
        write_file(directory / name, data)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    content = {**facts, "provenance": origin, "sha256": digests}
    destination = Destination(directory / FACTS, dict(inputs or {}), {"report": section_hash(options)})
    save_document(destination, "Report", content)
    return Report(directory=directory, files=(PICTURE, POLYGONS, FACTS), facts=content)


def _check_feature(features: FeatureTable, name: str | None) -> None:
    if name is not None and features.column(name) is None and name not in FEATURE_NAMES:
        raise ConfigError(f"report.map_feature is {name!r}, expected null or one of {', '.join(features.names)}")


def _draw(
    slide: Slide,
    grid: LabelGrid,
    outlines: Outlines,
    features: FeatureTable,
    options: ReportConfig,
    prediction: Prediction,
    facts: Mapping[str, Any],
) -> bytes:
    """Return report.png."""
    whole = cut_view(slide, grid, outlines, Box.whole(slide.info.levels[0].size), options.thumbnail_px)
    detail = None
    if whole.region_side_fraction() < DETAIL_BELOW_FRACTION:
        box = find_detail(whole, n_across=DETAIL_REGIONS, aspect=DETAIL_ASPECT)
        detail = cut_view(slide, grid, outlines, box, options.thumbnail_px)
    region_map = None
    # of another tool's tiles no feature of pixels is known
    column = None if options.map_feature is None else features.column(options.map_feature)
    if column is not None:
        name = measurement_name(features.names[column], features.units[column], features.groups[column])
        label = name.partition(": ")[2].replace("^2", "²")
        region_map = RegionMap.over(whole.regions, features.values[:, column], label)
    return draw_report(whole, detail, region_map, prediction, facts)


def _warnings(outlines: Outlines, left_out: Sequence[str], n_bytes: int, options: ReportConfig) -> list[str]:
    """Return warnings about the files."""
    warnings = []
    if len(outlines.boxed):
        warnings.append(
            f"{len(outlines.boxed)} regions are too small for the label grid and are shown as squares; "
            "lower report.outline_mpp"
        )
    if left_out:
        warnings.append(
            f"{POLYGONS} leaves out {len(left_out)} of {len(options.measurements)} measurements to stay near "
            f"{options.geojson_max_mb:g} MB; raise report.geojson_max_mb to have them"
        )
    if n_bytes > options.geojson_max_mb * 1e6:
        warnings.append(
            f"{POLYGONS} has {n_bytes / 1e6:.0f} MB for {outlines.n_regions:,} regions; raise "
            "coarsening.granularity or report.outline_tolerance_um for a smaller file"
        )
    return warnings
