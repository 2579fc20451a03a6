"""The step ``page``: the explanation for people, as an HTML page, facts in JSON, outlines for QuPath and a picture.

It is a step of its own after ``explain``, so that a changed page does not repeat the explanation, and a run without an
explanation leaves the files of the report as they are.
"""

from __future__ import annotations

import hashlib
from typing import Any

from wsigraph.explanation.findings import gather_facts
from wsigraph.explanation.report_text import write_sentences
from wsigraph.explanation.structures import SCALE_PERCENTILE, find_structures, tissue_mm2
from wsigraph.explanation.target import Target
from wsigraph.geometry import Box, um_to_px_exact
from wsigraph.graph.feature.interpret import known_features
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import trace_outlines
from wsigraph.records import CoarseGraph, Explanation, Prediction, SuperpixelLabels
from wsigraph.report.attribution import draw_attribution
from wsigraph.report.explanation_page import Layer, Mark, Page, Spot
from wsigraph.report.geojson import encode_geojson
from wsigraph.report.overlay import artefact_map, attribution_layer, crop, photograph, region_lines, structure_lines
from wsigraph.report.slide_summary import provenance
from wsigraph.report.view import View, cut_view
from wsigraph.run.slide_run import SlideRun
from wsigraph.slide.bounds import offset_px
from wsigraph.store import Destination, save_document, write_file

FACTS, POLYGONS, PICTURE, PAGE = "explanation.json", "explanation.geojson", "explanation.png", "report.html"
"""File names inside a slide's directory."""
_PICTURE_PX = 1100


def write_page(run: SlideRun, to: Destination) -> None:
    """Write outlines, picture and page, and last the facts, whose header names the digests of the others.

    Parameters
    ----------
    run : SlideRun
        The slide, with the records of all earlier steps.
    to : Destination
        Where the facts go; the other files are written beside them.

    Raises
    ------
    SlideError
        If pixels cannot be read.
    StoreError
        If a file cannot be written.
    """
    options = run.settings.report
    info = run.slide.info
    labels: SuperpixelLabels = run.records["segment"]
    coarse: CoarseGraph = run.records["coarsen"]
    prediction: Prediction = run.records["predict"]
    explanation: Explanation = run.records["explain"]
    grid = sample_regions(labels, coarse, info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px)
    coarser = max(1.0, grid.mpp / max(options.outline_mpp, labels.mpp))
    outlines = trace_outlines(
        grid,
        coarse.graph,
        tolerance_um=options.outline_tolerance_um * coarser,
        max_area_error=options.outline_max_area_error,
    )
    facts = gather_facts(explanation, coarse, prediction, run.reference, top=run.settings.explanation.top_regions)
    is_synthetic = run.records["report"]["is_synthetic"]
    origin = provenance(
        slide=info, coarse=coarse, prediction=prediction, is_synthetic=is_synthetic, origin=options.origin
    )
    origin |= {"explanation_reference": explanation.reference_input_id, "target": explanation.target}
    polygons, _ = encode_geojson(
        outlines,
        coarse,
        known_features(coarse.graph),
        slide_sha256=info.sha256,
        measurements=options.measurements,
        provenance=origin,
        max_bytes=round(options.geojson_max_mb * 1e6),
        attributions={explanation.target: explanation.node, **explanation.other_targets},
        offset_px=offset_px(info, options.origin),
    )
    view = cut_view(run.slide, grid, outlines, Box.whole(info.levels[0].size), _PICTURE_PX)
    page = _page(run, facts, origin, view, grid).html()
    picture = draw_attribution(view, attribution_layer(view, explanation.node, tissue_mm2(coarse)), facts)
    digests = {}
    for name, content in ((POLYGONS, polygons), (PICTURE, picture), (PAGE, page)):
        write_file(run.directory.path / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    text = [sentence.text for sentence in write_sentences(facts)]
    save_document(to, "ExplanationFacts", {"facts": facts, "text": text, "sha256": digests})


def _page(run: SlideRun, facts: dict[str, Any], origin: dict[str, Any], view: View, grid: LabelGrid) -> Page:
    explanation: Explanation = run.records["explain"]
    card = run.model.card
    return Page(
        facts=facts,
        summary=run.records["report"],
        provenance={**origin, "model_weights": card.weights_sha256},
        prediction=run.records["predict"],
        explanation=explanation,
        cohort=None if run.reference is None else run.reference.survival,
        card=card,
        slide=photograph(view.pixels),
        layers=_layers(run, view),
        spots=_spots(run, facts, view, grid),
        **_structures(run, facts, view),
    )


def _structures(run: SlideRun, facts: dict[str, Any], view: View) -> dict[str, Any]:
    """Return outlines and numbers of the structures in the text; nothing where none is named."""
    if not (facts["structures"] and facts["localisation"]["is_localised"]):
        return {}
    coarse: CoarseGraph = run.records["coarsen"]
    node = run.records["explain"].node
    structure = find_structures(node, tissue_mm2(coarse), coarse.graph.edge_index)
    marks = []
    for row in facts["structures"]:
        x, y = (um_to_px_exact(float(value), run.slide.info.mpp) for value in coarse.graph.centroid_um[row["node"]])
        marks.append(
            Mark(
                number=row["number"],
                is_against=(row["attribution"] > 0) != (facts["difference"] >= 0),
                x=float((x - view.box.x0) / view.box.width),
                y=float((y - view.box.y0) / view.box.height),
            )
        )
    structure[structure >= len(marks)] = -1
    return {"structures": structure_lines(view, structure, node), "marks": marks}


def _spots(run: SlideRun, facts: dict[str, Any], view: View, grid: LabelGrid) -> list[Spot]:
    """Return the regions to show: those that raise the prediction first, then those that lower it."""
    regions = [*((region, False) for region in facts["regions"]), *((region, True) for region in facts["against"])]
    spots = []
    for number, (region, is_against) in enumerate(regions, 1):
        picture, bar = crop(run.slide, grid, view.outlines, region["node"])
        spots.append(Spot(number=number, facts=region, is_against=is_against, crop=picture, bar=bar))
    return spots


def _layers(run: SlideRun, view: View) -> list[Layer]:
    """Return what can be laid over the slide: attributions by target, borders of the regions, artefacts."""
    coarse: CoarseGraph = run.records["coarsen"]
    explanation: Explanation = run.records["explain"]
    layers: list[Layer] = []
    for target, attributions in {explanation.target: explanation.node, **explanation.other_targets}.items():
        layer = attribution_layer(view, attributions, tissue_mm2(coarse))
        unit = Target.parse(target).unit
        name = target.partition("@")[0]
        layers.append(
            Layer(
                name=f"{name}other" if any(name == earlier.name for earlier in layers) else name,
                title=f"{target.capitalize()} attribution",
                description=(
                    f"colour shows attribution to the {unit} by area: full from {_two_digits(layer.most)} per mm² on, "
                    f"as in {100 - SCALE_PERCENTILE:.0f} % of the tissue; white regions have none"
                ),
                picture=layer.picture(),
                is_heat=True,
            )
        )
    lines = f"borders of the {coarse.graph.n_nodes:,} regions"
    layers.append(Layer(name="regions", title="Regions", description=lines, picture=region_lines(view)))
    artefacts = artefact_map(view, run.records["tissue"], run.slide.info.mpp)
    if artefacts is not None:
        legend = "pen, folds, blur and other artefacts, excluded from the graph or marked in it"
        layers.append(Layer(name="artefacts", title="Artefacts", description=legend, picture=artefacts))
    return layers


def _two_digits(value: float) -> str:
    """Return a number with two significant digits, without an exponent if it is large."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
