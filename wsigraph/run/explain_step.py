"""The steps that explain a prediction: the explanation, then its page, facts and outlines.

They follow the report and write files of their own, so a run without an explanation leaves the report unchanged.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsigraph.config import Config, section_hash
from wsigraph.explanation.explain import explain
from wsigraph.explanation.findings import gather_facts
from wsigraph.explanation.members import explained_members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.report_text import write_sentences
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.explanation.target import Target
from wsigraph.geometry import Box, px_to_mm2, um_to_px_exact
from wsigraph.graph.feature.interpret import interpret
from wsigraph.model.bundle import ModelBundle
from wsigraph.outline.label_grid import LabelGrid, sample_regions
from wsigraph.outline.outline import trace_outlines
from wsigraph.records import CoarseGraph, Explanation, Prediction, SuperpixelLabels, TissueGraph, TissueMap
from wsigraph.report.attribution import draw_attribution
from wsigraph.report.explanation_page import Layer, Page, Spot
from wsigraph.report.geojson import encode_geojson
from wsigraph.report.overlay import artefact_map, attribution_layer, crop, photograph, region_lines
from wsigraph.report.slide_summary import provenance
from wsigraph.report.view import View, cut_view
from wsigraph.slide.reader import Slide
from wsigraph.store import (
    Destination,
    SlideDirectory,
    canonical_json,
    load_explanation,
    read_document,
    save_document,
    save_explanation,
    write_file,
)

FACTS, POLYGONS, PICTURE, PAGE = "explanation.json", "explanation.geojson", "explanation.png", "report.html"
"""File names inside a slide's directory."""
_PICTURE_PX = 1100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExplanationTask:
    """A checked request, with the model that answers it.

    Attributes
    ----------
    request : ExplanationRequest
        What to explain.
    bundle : ModelBundle
        The model.
    reference : Reference or None
        Its training reference.
    settings : Config
        The sections ``explanation`` and ``report`` are used.
    """

    request: ExplanationRequest
    bundle: ModelBundle
    reference: Reference | None
    settings: Config


@dataclass(frozen=True, slots=True, eq=False)
class ExplanationInputs:
    """The records of a slide that an explanation needs.

    Attributes
    ----------
    slide, tissue, labels, graph, coarse, prediction
        Records of the earlier steps.
    summary : dict
        Content of report.json.
    """

    slide: Slide
    tissue: TissueMap
    labels: SuperpixelLabels
    graph: TissueGraph
    coarse: CoarseGraph
    prediction: Prediction
    summary: dict[str, Any]


def prepare_explanation(
    request: ExplanationRequest | None, directory: Path | str, bundle: ModelBundle, settings: Config
) -> ExplanationTask:
    """Check a request and return it with all that is needed to answer it.

    Parameters
    ----------
    request : ExplanationRequest or None
        What to explain; the risk if None.
    directory : Path or str
        Directory of the bundle.
    bundle : ModelBundle
        The model.
    settings : Config
        Settings.

    Returns
    -------
    Asked
        With the training reference of the model, if it has one.

    Raises
    ------
    ConfigError
        If the model has no such output.
    ModelError
        If the reference belongs to another model.
    StoreError
        If the reference is damaged.
    """
    request = request or ExplanationRequest()
    ends = [member.ends_days for member in explained_members(bundle)]
    Target.parse(request.target).check(ends, len(bundle.card.stage_names))
    return ExplanationTask(
        request=request, bundle=bundle, reference=load_reference(directory, bundle), settings=settings
    )


def carry_out(
    directory: SlideDirectory,
    records: ExplanationInputs,
    task: ExplanationTask,
    *,
    threads: int = 0,
    until: Literal["explain", "page"] | str = "page",
) -> Explanation:
    """Explain a prediction and write the page, unless that is done already.

    Parameters
    ----------
    directory : SlideDirectory
        The slide's directory, with its steps up to the report done.
    records : ExplanationInputs
        Records of those steps.
    task : ExplanationTask
        The request.
    threads : int
        Number of threads; 0 takes every allowed core. Results do not depend on it.
    until : str
        ``explain`` stops before the page.

    Returns
    -------
    Explanation
        As stored.

    Raises
    ------
    ConfigError
        If the model does not have the reference input.
    SlideError
        If pixels cannot be read.
    StoreError
        If a file cannot be written.
    """
    from dask.system import CPU_COUNT

    options, request = task.settings.explanation, task.request

    def explain_it(to: Destination) -> None:
        explanation = explain(
            records.coarse,
            records.graph,
            task.bundle,
            request.target,
            reference=task.reference,
            config=options,
            site=request.site,
            sha256=records.slide.info.sha256,
            thorough=request.thorough,
            threads=threads or CPU_COUNT,
        )
        save_explanation(explanation, to)

    inputs = directory.digest("graph") | directory.digest("coarsen") | {"model": task.bundle.model_id}
    if task.reference is not None:
        inputs["reference"] = task.reference.reference_id
    # other reference inputs do not depend on the site, so a change of site does not repeat the step for them
    site = request.site if request.thorough or options.reference == "site" else None
    key = canonical_json([request.target, request.thorough, site])
    config = {"explanation": section_hash(options), "question": hashlib.sha256(key.encode()).hexdigest()}
    explanation = directory.carry_out("explain", inputs, config, explain_it, load_explanation)
    if until == "explain":
        return explanation
    for stage in ("read", "tissue", "predict", "report", "explain"):
        inputs |= directory.digest(stage)

    def write_it(to: Destination) -> None:
        _write(directory.path, records, task, explanation, to)

    directory.carry_out(
        "page", inputs, config | {"report": section_hash(task.settings.report)}, write_it, read_document
    )
    return explanation


def _write(
    directory: Path, records: ExplanationInputs, task: ExplanationTask, explanation: Explanation, to: Destination
) -> None:
    """Write outlines, page and facts; the facts, which carry the header, last."""
    options, coarse = task.settings.report, records.coarse
    grid = sample_regions(
        records.labels, coarse, records.slide.info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px
    )
    coarser = max(1.0, grid.mpp / max(options.outline_mpp, records.labels.mpp))
    outlines = trace_outlines(grid, coarse.graph, tolerance_um=options.outline_tolerance_um * coarser)
    facts = gather_facts(
        explanation, coarse, records.prediction, task.reference, top=task.settings.explanation.top_regions
    )
    origin = provenance(
        slide=records.slide.info,
        coarse=coarse,
        prediction=records.prediction,
        is_synthetic=records.summary["is_synthetic"],
    )
    origin |= {"explanation_reference": explanation.reference_input_id, "target": explanation.target}
    polygons, _ = encode_geojson(
        outlines,
        coarse,
        interpret(coarse.graph),
        slide_sha256=records.slide.info.sha256,
        measurements=options.measurements,
        provenance=origin,
        max_bytes=round(options.geojson_max_mb * 1e6),
        attributions={explanation.target: explanation.node, **explanation.other_targets},
    )
    whole = Box.whole(records.slide.info.levels[0].size)
    view = cut_view(records.slide, grid, outlines, whole, _PICTURE_PX)
    page = _page(records, task, explanation, facts, origin, view, grid).html()
    area_mm2 = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
    picture = draw_attribution(view, attribution_layer(view, explanation.node, area_mm2), facts)
    digests = {}
    for name, content in ((POLYGONS, polygons), (PICTURE, picture), (PAGE, page)):
        write_file(directory / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    text = [sentence.text for sentence in write_sentences(facts)]
    save_document(to, "ExplanationFacts", {"facts": facts, "text": text, "sha256": digests})


def _page(
    records: ExplanationInputs,
    task: ExplanationTask,
    explanation: Explanation,
    facts: dict[str, Any],
    origin: dict[str, Any],
    view: View,
    grid: LabelGrid,
) -> Page:
    slide, coarse = records.slide, records.coarse
    spots = []
    for number, (region, is_against) in enumerate(
        [*((region, False) for region in facts["regions"]), *((region, True) for region in facts["against"])], 1
    ):
        x, y = (um_to_px_exact(float(um), slide.info.mpp) for um in coarse.graph.centroid_um[region["node"]])
        spots.append(
            Spot(
                number=number,
                facts=region,
                is_against=is_against,
                crop=crop(slide, grid, view.outlines, region["node"]),
                x=float((x - view.box.x0) / view.box.width),
                y=float((y - view.box.y0) / view.box.height),
            )
        )
    return Page(
        facts=facts,
        summary=records.summary,
        provenance={**origin, "model_weights": task.bundle.card.weights_sha256},
        prediction=records.prediction,
        explanation=explanation,
        cohort=None if task.reference is None else task.reference.survival,
        card=task.bundle.card,
        slide=photograph(view.pixels),
        layers=_layers(view, records, explanation),
        spots=spots,
    )


def _layers(view: View, records: ExplanationInputs, explanation: Explanation) -> list[Layer]:
    graph = records.coarse.graph
    area_mm2 = px_to_mm2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)
    layers: list[Layer] = []
    for target, node in {explanation.target: explanation.node, **explanation.other_targets}.items():
        layer = attribution_layer(view, node, area_mm2)
        unit = Target.parse(target).unit
        name = target.partition("@")[0]
        layers.append(
            Layer(
                name=name if all(name != other.name for other in layers) else f"{name}other",
                title=f"{target.capitalize()} attribution",
                description=f"attribution to the {unit}; full colour from {_two_digits(layer.most)} per mm² of tissue",
                picture=layer.picture(),
            )
        )
    lines = f"borders of the {graph.n_nodes:,} regions"
    layers.append(Layer(name="regions", title="Regions", description=lines, picture=region_lines(view)))
    artefacts = artefact_map(view, records.tissue, records.slide.info.mpp)
    if artefacts is not None:
        text = "pen, folds, blur and other artefacts, excluded from the graph or marked in it"
        layers.append(Layer(name="artefacts", title="Artefacts", description=text, picture=artefacts))
    return layers


def _two_digits(value: float) -> str:
    """Return a number with two significant digits, without an exponent if it is large."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
