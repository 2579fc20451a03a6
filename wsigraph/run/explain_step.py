"""What a slide's directory holds once its prediction is explained.

Two stages after the report: the explanation itself, and the page, its facts and the outlines with attributions. They
are apart from report.json and its pictures, so that a run that explains nothing leaves them as they are.
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
from wsigraph.explanation.members import members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.report_text import tell
from wsigraph.explanation.request import Question
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
class Asked:
    """A question that a model can answer.

    Attributes
    ----------
    question : Question
        What is asked.
    bundle : ModelBundle
        The model.
    reference : Reference or None
        Its training cohort.
    settings : Config
        Sections ``explanation`` and ``report`` count.
    """

    question: Question
    bundle: ModelBundle
    reference: Reference | None
    settings: Config


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What is known of a slide before it is explained.

    Attributes
    ----------
    slide, tissue, labels, graph, coarse, prediction
        Records of the earlier stages.
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


def ask(question: Question | None, directory: Path | str, bundle: ModelBundle, settings: Config) -> Asked:
    """Return a question with all that is needed to answer it, and meet what is wrong with it before the work.

    Parameters
    ----------
    question : Question or None
        What is asked; risk where None.
    directory : Path or str
        Directory of the bundle.
    bundle : ModelBundle
        The model.
    settings : Config
        Settings.

    Returns
    -------
    Asked
        With the reference beside the model, where there is one.

    Raises
    ------
    ConfigError
        If the model has no such output.
    ModelError
        If the reference belongs to another model.
    StoreError
        If the reference is damaged.
    """
    question = question or Question()
    ends = [member.ends_days for member in members(bundle)]
    Target.parse(question.target).check(ends, len(bundle.card.stage_names))
    return Asked(question=question, bundle=bundle, reference=load_reference(directory, bundle), settings=settings)


def carry_out(
    directory: SlideDirectory,
    found: Found,
    asked: Asked,
    *,
    threads: int = 0,
    until: Literal["explain", "page"] | str = "page",
) -> Explanation:
    """Explain a prediction and write the page, where that is not done already.

    Parameters
    ----------
    directory : SlideDirectory
        The slide's directory, its stages up to the report done.
    found : Found
        Their records.
    asked : Asked
        The question.
    threads : int
        Work done at once; 0 takes every core allowed. Results do not depend on it.
    until : str
        ``explain`` stops before the page.

    Returns
    -------
    Explanation
        As stored.

    Raises
    ------
    ConfigError
        If the baseline is not to be had.
    SlideError
        If pixels cannot be read.
    StoreError
        If a file cannot be written.
    """
    from dask.system import CPU_COUNT

    options, question = asked.settings.explanation, asked.question

    def explain_it(to: Destination) -> None:
        explanation = explain(
            found.coarse,
            found.graph,
            asked.bundle,
            question.target,
            reference=asked.reference,
            config=options,
            site=question.site,
            sha256=found.slide.info.sha256,
            thorough=question.thorough,
            threads=threads or CPU_COUNT,
        )
        save_explanation(explanation, to)

    inputs = directory.digest("graph") | directory.digest("coarsen") | {"model": asked.bundle.model_id}
    if asked.reference is not None:
        inputs["reference"] = asked.reference.reference_id
    # the site says nothing to other baselines, and a slide that is explained need not be explained again for it
    site = question.site if question.thorough or options.baseline == "site" else None
    asking = canonical_json([question.target, question.thorough, site])
    config = {"explanation": section_hash(options), "question": hashlib.sha256(asking.encode()).hexdigest()}
    explanation = directory.carry_out("explain", inputs, config, explain_it, load_explanation)
    if until == "explain":
        return explanation
    for stage in ("read", "tissue", "predict", "report", "explain"):
        inputs |= directory.digest(stage)

    def write_it(to: Destination) -> None:
        _write(directory.path, found, asked, explanation, to)

    directory.carry_out(
        "page", inputs, config | {"report": section_hash(asked.settings.report)}, write_it, read_document
    )
    return explanation


def _write(directory: Path, found: Found, asked: Asked, explanation: Explanation, to: Destination) -> None:
    """Write outlines, page and facts, the one with the header last."""
    options, coarse = asked.settings.report, found.coarse
    lattice = sample_regions(
        found.labels, coarse, found.slide.info, outline_mpp=options.outline_mpp, max_px=options.outline_max_px
    )
    coarser = max(1.0, lattice.mpp / max(options.outline_mpp, found.labels.mpp))
    outlines = trace_outlines(lattice, coarse.graph, tolerance_um=options.outline_tolerance_um * coarser)
    facts = gather_facts(
        explanation, coarse, found.prediction, asked.reference, top=asked.settings.explanation.top_regions
    )
    origin = provenance(
        slide=found.slide.info, coarse=coarse, prediction=found.prediction, is_synthetic=found.summary["is_synthetic"]
    )
    origin |= {"explanation_baseline": explanation.baseline_id, "target": explanation.target}
    polygons, _ = encode_geojson(
        outlines,
        coarse,
        interpret(coarse.graph),
        slide_sha256=found.slide.info.sha256,
        measurements=options.measurements,
        provenance=origin,
        max_bytes=round(options.geojson_max_mb * 1e6),
        attributions={explanation.target: explanation.node, **explanation.other_targets},
    )
    whole = Box.whole(found.slide.info.levels[0].size)
    view = cut_view(found.slide, lattice, outlines, whole, _PICTURE_PX)
    page = _page(found, asked, explanation, facts, origin, view, lattice).html()
    area_mm2 = px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)
    picture = draw_attribution(view, attribution_layer(view, explanation.node, area_mm2), facts)
    digests = {}
    for name, content in ((POLYGONS, polygons), (PICTURE, picture), (PAGE, page)):
        write_file(directory / name, content)
        digests[name] = hashlib.sha256(content).hexdigest()
    text = [sentence.text for sentence in tell(facts)]
    save_document(to, "ExplanationFacts", {"facts": facts, "text": text, "sha256": digests})


def _page(
    found: Found,
    asked: Asked,
    explanation: Explanation,
    facts: dict[str, Any],
    origin: dict[str, Any],
    view: View,
    lattice: LabelGrid,
) -> Page:
    slide, coarse = found.slide, found.coarse
    spots = []
    for number, (region, is_against) in enumerate(
        [*((each, False) for each in facts["regions"]), *((each, True) for each in facts["against"])], 1
    ):
        x, y = (um_to_px_exact(float(each), slide.info.mpp) for each in coarse.graph.centroid_um[region["node"]])
        spots.append(
            Spot(
                number=number,
                facts=region,
                is_against=is_against,
                crop=crop(slide, lattice, view.outlines, region["node"]),
                x=float((x - view.box.x0) / view.box.width),
                y=float((y - view.box.y0) / view.box.height),
            )
        )
    return Page(
        facts=facts,
        summary=found.summary,
        provenance={**origin, "model_weights": asked.bundle.card.weights_sha256},
        prediction=found.prediction,
        explanation=explanation,
        cohort=None if asked.reference is None else asked.reference.survival,
        card=asked.bundle.card,
        slide=photograph(view.pixels),
        layers=_layers(view, found, explanation),
        spots=spots,
    )


def _layers(view: View, found: Found, explanation: Explanation) -> list[Layer]:
    graph = found.coarse.graph
    area_mm2 = px_to_mm2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)
    layers: list[Layer] = []
    for target, node in {explanation.target: explanation.node, **explanation.other_targets}.items():
        layer = attribution_layer(view, node, area_mm2)
        unit = Target.parse(target).unit
        name = target.partition("@")[0]
        layers.append(
            Layer(
                name=name if all(name != each.name for each in layers) else f"{name}other",
                title=f"{target.capitalize()} attribution",
                told=f"attribution to the {unit}, full colour from {_plainly(layer.most)} per mm² of tissue",
                picture=layer.picture(),
            )
        )
    lines = f"borders of the {graph.n_nodes:,} regions"
    layers.append(Layer(name="regions", title="Regions", told=lines, picture=region_lines(view)))
    artefacts = artefact_map(view, found.tissue, found.slide.info.mpp)
    if artefacts is not None:
        told = "what is no tissue or not in focus, left out of the graph or noted"
        layers.append(Layer(name="artefacts", title="Artefacts", told=told, picture=artefacts))
    return layers


def _plainly(value: float) -> str:
    """Return a number of two digits, without a power of ten where it is large."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
