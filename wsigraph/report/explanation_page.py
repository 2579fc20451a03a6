"""report.html: the explanation of one slide in one file that a pathologist reads, prints and passes on.

Everything is inside the file. It has no script and no address except ``data:`` and places on the page itself, and its
content security policy lets the browser fetch nothing. Layers over the slide are switched by form controls and CSS, so
they work from the keyboard. All text comes from the facts of the explanation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps
from wsigraph.explanation.report_text import Mention, Sentence, write_text
from wsigraph.figures.page.charts import bar_chart, faithfulness_chart, faithfulness_legend
from wsigraph.figures.page.survival_chart import predicted_survival_chart
from wsigraph.figures.page.templates import render_page
from wsigraph.model.bundle import Card
from wsigraph.model.predict import median_band_days
from wsigraph.records import Explanation, Prediction
from wsigraph.report.overlay import Picture
from wsigraph.report.panel import median_text
from wsigraph.report.slide_summary import area_label, tissue_rows

MAX_BYTES = 5_000_000
"""Largest page, bytes."""
_OPACITIES = (0, 25, 50, 75, 100)
_ABLATIONS = {"replace": "Replaced by training regions of the same broad cluster and size", "drop": "Removed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A picture over the slide.

    Attributes
    ----------
    name : str
        Key, only letters.
    title : str
        Label of the switch.
    description : str
        What the layer shows.
    picture : Picture
        As large as that of the slide.
    is_heat : bool
        Whether it is a map of attributions, whose opacity can be chosen.
    """

    name: str
    title: str
    description: str
    picture: Picture
    is_heat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A region with its crop.

    Attributes
    ----------
    number : int
        Number in the list.
    facts : mapping of str to JSON value
        The region's facts.
    is_against : bool
        Whether it is against the prediction.
    crop : Picture
        The region at high power.
    bar : str
        Length of the scale bar in the crop.
    """

    number: int
    facts: Mapping[str, Any]
    is_against: bool
    crop: Picture
    bar: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The number of a structure on the slide's picture.

    Attributes
    ----------
    number : int
        Number in the text.
    is_against : bool
        Whether the structure is against the prediction.
    x, y : float
        Position, fractions of the picture.
    """

    number: int
    is_against: bool
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of a page.

    Attributes
    ----------
    facts : mapping of str to JSON value
        `wsigraph.explanation.findings.gather_facts`.
    summary : mapping of str to JSON value
        `wsigraph.report.slide_summary.summary`.
    provenance : mapping of str to JSON value
        `wsigraph.report.slide_summary.provenance`, and digests of the files.
    prediction : Prediction
        Stage and survival.
    explanation : Explanation
        Faithfulness curves.
    cohort : SurvivalSteps or None
        Kaplan-Meier estimate of the training cohort.
    card : Card
        The model.
    slide : Picture
        The slide at low power.
    layers : sequence of Layer
        Layers over the slide; the first one is shown.
    spots : sequence of Spot
        Regions with crops.
    structures : Picture or None
        Outlines of the structures in the text.
    marks : sequence of Mark
        Their numbers.
    """

    facts: Mapping[str, Any]
    summary: Mapping[str, Any]
    provenance: Mapping[str, Any]
    prediction: Prediction
    explanation: Explanation
    cohort: SurvivalSteps | None
    card: Card
    slide: Picture
    layers: Sequence[Layer]
    spots: Sequence[Spot]
    structures: Picture | None = None
    marks: Sequence[Mark] = ()

    def html(self) -> bytes:
        """Return the page as UTF-8; equal content gives equal bytes."""
        prediction, facts = self.prediction, self.facts
        groups = [(row["name"], float(row["attribution"]), f"{row['attribution']:+.2g}") for row in facts["groups"]]
        return render_page(
            "explanation.html",
            summary=self.summary,
            facts=facts,
            prediction=prediction,
            cohort=self.cohort,
            card=self.card,
            tissue=tissue_rows(self.summary),
            figures=_figures(prediction, self.summary),
            stage_chart=_stage_chart(prediction),
            survival_chart=predicted_survival_chart(prediction, self.cohort) if len(prediction.time_days) else None,
            slide=self.slide,
            layers=self.layers,
            spots=self.spots,
            switches=[("none", "Slide alone"), *((layer.name, layer.title) for layer in self.layers)],
            shown=self.layers[0].name if self.layers else "none",
            text=write_text(facts),
            split=_split_mentions,
            structures=self.structures,
            marks=self.marks,
            opacities=_OPACITIES,
            group_chart=bar_chart(groups, "Attribution by feature group", is_signed=True),
            curves=_curves(self.explanation, facts["unit"]),
            provenance=_flatten(self.provenance),
        ).encode()


def _figures(prediction: Prediction, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of the figures at the top of the page."""
    figures = [
        (area_label(summary).capitalize(), f"{summary['tissue_mm2']:.3g} mm²"),
        ("Regions", f"{summary['nodes']:,}"),
        ("Pixel size", f"{summary['mpp']:.4g} µm"),
    ]
    if prediction.risk is not None:
        figures.append(("Risk (log cumulative hazard)", f"{prediction.risk:+.2g}"))
        figures.append(("Median survival", median_text(summary["median_survival_days"], median_band_days(prediction))))
    parts = prediction.risk_parts() or {}
    if "composition_risk" in parts:
        text = f"{parts['composition_risk']:+.2g} / {parts.get('arrangement_risk', 0.0):+.2g}"
        figures.append(("Log hazard ratio: composition / arrangement", text))
    return figures


def _stage_chart(prediction: Prediction) -> str | None:
    if not len(prediction.stage_names):
        return None
    rows = [
        (f"stage {name}", float(probability), f"{100 * probability:.0f} %")
        for name, probability in zip(prediction.stage_names, prediction.stage_probability, strict=True)
    ]
    return bar_chart(rows, "Stage")


def _curves(explanation: Explanation, unit: str) -> list[dict[str, Any]]:
    """Return the faithfulness curves with their charts."""
    return [
        {
            "title": _ABLATIONS[name],
            "towards": curve.towards,
            "n_random": curve.n_random,
            "chart": faithfulness_chart(curve, _ABLATIONS[name], unit),
            "legend": faithfulness_legend(curve.gain),
        }
        for name, curve in explanation.curves.items()
    ]


def _split_mentions(sentence: Sentence) -> list[tuple[str, Mention | None]]:
    """Return a sentence as pieces of text, each with the fact that it mentions, or None."""
    parts: list[tuple[str, Mention | None]] = []
    last = 0
    for mention in sentence.mentions:
        parts += [(sentence.text[last : mention.start], None), (mention.text, mention)]
        last = mention.start + len(mention.text)
    return [*parts, (sentence.text[last:], None)]


def _flatten(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and values of the provenance, with nested names joined."""
    rows: list[tuple[str, str]] = []
    for name, value in provenance.items():
        if isinstance(value, Mapping):
            rows += [(f"{name} {key}", str(inner)) for key, inner in value.items()]
        elif name != "notice":
            rows.append((name, str(value)))
    return rows
