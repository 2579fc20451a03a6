"""How each step makes and loads its record: thin functions between `wsigraph.run.steps` and the library.

Every ``make_*`` takes the state of the slide and the destination of the record, calls one public function of the
library, and writes what that returns. Imports are inside the functions, so that a run that stops early does not pay
for later steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsigraph.records import (
        CoarseGraph,
        Explanation,
        Prediction,
        SlideInfo,
        SuperpixelLabels,
        TissueGraph,
        TissueMap,
    )
    from wsigraph.run.slide_run import SlideRun
    from wsigraph.store import Destination

SLIDE_FILE = "slide.json"
BAD_TILES = "bad_tiles.json"
"""Tiles that did not decode and were read as white; only written for slides that have some."""


def make_slide_info(run: SlideRun, to: Destination) -> None:
    """Write what is known of the slide: name, digest, pixel size, levels."""
    from wsigraph import store

    store.save_slide_info(run.slide.info, to)


def refresh_slide_info(run: SlideRun) -> None:
    """Write ``slide.json`` again, because the source of the pixel size or a warning may have changed."""
    from wsigraph import store

    make_slide_info(run, store.Destination(run.directory.path / SLIDE_FILE, run.input_digest("slide")))


def make_tissue(run: SlideRun, to: Destination) -> None:
    """Find the tissue of the slide on a low-power grid."""
    from wsigraph import store
    from wsigraph.graph.tissue.mask import find_tissue
    from wsigraph.graph.tissue.suitability import mark_slide

    settings = run.settings
    if run.tiles is not None:
        refresh_slide_info(run)
        store.save_tissue_map(run.tiles.tissue(settings), to)
        return
    tissue = find_tissue(
        run.slide,
        settings.tissue,
        suitability=settings.slide,
        working_mpp=settings.superpixel.mpp,
        roi=run.roi,
        tissue_mask=run.tissue_mask,
        progress=run.progress,
    )
    mark_slide(run.slide, tissue, settings.slide)
    # not before the tissue is found: a slide without tissue leaves no directory behind
    refresh_slide_info(run)
    store.save_tissue_map(tissue, to)


def mark_tissue(run: SlideRun) -> None:
    """Mark a slide that is no H&E section, and write ``slide.json`` again, because its warnings may have changed."""
    from wsigraph.graph.tissue.suitability import mark_slide

    if run.tiles is None:
        run.mark = mark_slide(run.slide, run.records["tissue"], run.settings.slide)
    refresh_slide_info(run)


def make_superpixels(run: SlideRun, to: Destination) -> None:
    """Segment the tissue into superpixels; labels are written to disk as they are computed."""
    from wsigraph import store
    from wsigraph.graph.superpixel.segment import segment

    if run.tiles is not None:
        store.save_labels(run.tiles.superpixels(run.records["tissue"]), to)
        return
    segment(run.slide, run.settings, tissue=run.records["tissue"], path=to, progress=run.progress)


def make_graph(run: SlideRun, to: Destination) -> None:
    """Build the graph of adjacent superpixels and their features."""
    from wsigraph import store
    from wsigraph.graph.build import build_graph
    from wsigraph.graph.feature.stored_table import stored_features

    if run.tiles is not None:
        graph = run.tiles.graph(run.slide.info.slide_id, run.settings.slide.stain)
        store.save_graph(graph, to, stored_features(graph))
        return
    labels = run.records["segment"]
    graph = build_graph(run.slide, labels, run.settings, roi=run.roi, progress=run.progress)
    if run.features is not None:
        from wsigraph.exchange.superpixel_features import sum_over_superpixels

        sums = sum_over_superpixels(run.features, labels, graph, progress=run.progress)
        graph = dataclasses.replace(graph, encoding_sum=sums, encoder=run.features.encoder)
    store.save_graph(graph, to, stored_features(graph))


def note_bad_tiles(run: SlideRun) -> None:
    """Collect the tiles that were read as white, and store them for a later run that reads no pixels."""
    from wsigraph.slide.scan import load_bad_tiles, save_bad_tiles

    path = run.directory.path / BAD_TILES
    known = load_bad_tiles(path) if {"tissue", "segment", "graph"} & set(run.directory.resumed) else ()
    run.bad_tiles = tuple(sorted({*known, *run.slide.bad_tiles}))
    save_bad_tiles(path, run.bad_tiles)


def make_coarse_graph(run: SlideRun, to: Destination) -> None:
    """Coarsen the graph into regions."""
    from wsigraph import store
    from wsigraph.graph.coarsening.coarsen import coarsen
    from wsigraph.graph.feature.stored_table import stored_features

    options, embedding = run.coarsening
    coarse = coarsen(run.records["graph"], options, embedding=embedding)
    store.save_coarse_graph(coarse, to, stored_features(coarse))


def make_prediction(run: SlideRun, to: Destination) -> None:
    """Predict stage and survival with the model."""
    from wsigraph import store
    from wsigraph.graph.tissue.suitability import mark_prediction
    from wsigraph.model.predict import predict

    options = run.settings.prediction
    prediction = predict(
        run.records["coarsen"],
        run.model,
        sha256=run.slide.info.sha256,
        config=options,
        device=run.settings.runtime.device,
    )
    store.save_prediction(mark_prediction(prediction, run.mark), to)


def make_report(run: SlideRun, to: Destination) -> None:
    """Write the report: facts, outlines of the regions and a picture."""
    from wsigraph.report.write_report import write
    from wsigraph.slide.mpp import describe_enlargement
    from wsigraph.slide.scan import describe_bad_tiles

    enlarged = describe_enlargement(run.slide.info.mpp, run.settings.superpixel.mpp)
    write(
        run.directory.path,
        slide=run.slide,
        labels=run.records["segment"],
        coarse=run.records["coarsen"],
        prediction=run.records["predict"],
        config=run.settings.report,
        inputs=to.inputs,
        warnings=(*_describe_regions(run), *describe_bad_tiles(run.bad_tiles), *enlarged),
    )


def _describe_regions(run: SlideRun) -> tuple[str, ...]:
    """Return what a reader must know of the user's regions."""
    texts = []
    if run.tissue_mask is not None:
        texts.append(f"the tissue is that of the mask {run.tissue_mask.name}, no tissue was searched for")
    if run.roi is not None:
        texts.append(f"only tissue inside the regions of {run.roi.name} was used")
    return tuple(texts)


def make_explanation(run: SlideRun, to: Destination) -> None:
    """Explain the prediction that was requested: attributions of regions and features."""
    from dask.system import CPU_COUNT

    from wsigraph import store
    from wsigraph.explanation.explain import explain
    from wsigraph.explanation.request import ExplanationRequest

    request = run.request or ExplanationRequest()
    explanation = explain(
        run.records["coarsen"],
        run.records["graph"],
        run.model,
        request.target,
        reference=run.reference,
        config=run.settings.explanation,
        site=request.site,
        sha256=run.slide.info.sha256,
        thorough=request.thorough,
        threads=run.settings.runtime.threads or CPU_COUNT,
        device=run.settings.runtime.device,
    )
    store.save_explanation(explanation, to)


def make_page(run: SlideRun, to: Destination) -> None:
    """Write the page of the explanation, with its facts, outlines and picture."""
    from wsigraph.run.page_step import write_page

    write_page(run, to)


def load_slide_info(path: Path) -> SlideInfo:
    """Return the stored facts of a slide."""
    from wsigraph import store

    return store.load_slide_info(path)


def load_tissue(path: Path) -> TissueMap:
    """Return the stored tissue map."""
    from wsigraph import store

    return store.load_tissue_map(path)


def load_superpixels(path: Path, tissue: TissueMap) -> SuperpixelLabels:
    """Return the stored superpixel labels; the labels themselves stay on disk."""
    from wsigraph import store

    return store.load_labels(path, tissue)


def load_graph(path: Path) -> TissueGraph:
    """Return the stored graph of superpixels."""
    from wsigraph import store

    return store.load_graph(path)


def load_coarse_graph(path: Path) -> CoarseGraph:
    """Return the stored graph of regions."""
    from wsigraph import store

    return store.load_coarse_graph(path)


def load_prediction(path: Path) -> Prediction:
    """Return the stored prediction."""
    from wsigraph import store

    return store.load_prediction(path)


def load_report(path: Path) -> dict[str, Any]:
    """Return the content of ``report.json``."""
    from wsigraph import store

    return store.read_document(path, "Report")[1]


def load_explanation(path: Path) -> Explanation:
    """Return the stored explanation."""
    from wsigraph import store

    return store.load_explanation(path)


def load_page(path: Path) -> dict[str, Any]:
    """Return the content of ``explanation.json``."""
    from wsigraph import store

    return store.read_document(path)[1]
