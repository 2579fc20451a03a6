"""report.html: one file that a pathologist reads, prints and passes on.

Everything is inside it: no script, no address but ``data:`` and places on the page itself, and a policy that lets the
browser fetch nothing. Layers over the slide are switched by form controls and style alone, so that they work from the
keyboard and without scripts. What the page says comes from the facts of the explanation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps
from wsigraph.explanation.report_text import Sentence, write_sentences
from wsigraph.model.bundle import Card
from wsigraph.records import Explanation, Prediction
from wsigraph.report.charts import bars, curve_legend, curves, survival
from wsigraph.report.overlay import Picture
from wsigraph.report.panel import duration

MAX_BYTES = 5_000_000
"""Largest page."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_WAYS = {"replace": "Replaced by training regions of their broad kind and size", "drop": "Left out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Something laid over the slide.

    Attributes
    ----------
    name : str
        Key, letters alone.
    title : str
        What the switch says.
    description : str
        What the layer shows.
    picture : Picture
        As large as the slide's.
    """

    name: str
    title: str
    description: str
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A region with its crop and its place on the slide's picture.

    Attributes
    ----------
    number : int
        As marked on the slide.
    facts : mapping of str to JSON value
        The region's facts.
    is_against : bool
        Whether it speaks against the prediction.
    crop : Picture
        At high power.
    x, y : float
        Place of its centre, shares of the picture.
    """

    number: int
    facts: Mapping[str, Any]
    is_against: bool
    crop: Picture
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that a page is made of.

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
        Curves.
    cohort : SurvivalSteps or None
        Kaplan-Meier of the training cohort.
    card : Card
        The model.
    slide : Picture
        The slide at low power.
    layers : sequence of Layer
        What is laid over it, the first one shown.
    spots : sequence of Spot
        Regions.
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

    def html(self) -> bytes:
        """Return the page as UTF-8; equal parts give equal bytes."""
        title = escape(str(self.summary["slide_id"]))
        style = files("wsigraph.report").joinpath("page.css").read_text(encoding="utf-8")
        body = [
            _header(self),
            "<main>",
            _reading(self),
            _why(self),
            _regions(self),
            _features(self),
            _tests(self),
            _model(self),
            "</main>",
            f"<footer><p>{escape(self.facts['research'])} {escape(self.facts['association'])}</p></footer>",
        ]
        head = (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{title}: stage, survival and why</title>"
            f"<style>{style}{_switching(self.layers)}</style></head><body>"
        )
        return (head + "\n".join(body) + "</body></html>\n").encode()


def _header(page: Page) -> str:
    warnings = "".join(f"<li>{escape(text)}</li>" for text in page.facts["warnings"])
    listed = f'<h2 id="warnings">Warnings</h2><ul class="warnings">{warnings}</ul>' if warnings else ""
    origin = "Synthetic tissue. " if page.summary["is_synthetic"] else ""
    notice = page.prediction.notice
    return (
        f"<header><h1>{escape(str(page.summary['slide_id']))}</h1>"
        f'<p class="notice">{origin}{escape(page.facts["research"])} {escape(notice[:1].upper() + notice[1:])}.</p>'
        f"{listed}</header>"
    )


def _reading(page: Page) -> str:
    prediction, summary = page.prediction, page.summary
    median = summary["median_survival_days"]
    figures = [
        ("Tissue", f"{summary['tissue_mm2']:.3g} mm²"),
        ("Regions", f"{summary['nodes']:,}"),
        ("Pixel size", f"{summary['mpp']:.4g} µm"),
    ]
    if prediction.risk is not None:
        figures.append(("Risk (log cumulative hazard)", f"{prediction.risk:+.2f}"))
        figures.append(("Median survival", "beyond the curve" if median is None else duration(median)))
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    charts = []
    if len(prediction.stage_names):
        rows = [
            (f"stage {name}", float(share), f"{100 * share:.0f} %")
            for name, share in zip(prediction.stage_names, prediction.stage_probability, strict=True)
        ]
        stage_set = page.facts["prediction"]["stage_set"]
        told = f"Conformal set: {', '.join(stage_set)}." if stage_set else "The model states no conformal set."
        charts.append(f"<figure><figcaption>Stage. {escape(told)}</figcaption>{bars(rows, 'Stage')}</figure>")
    if len(prediction.time_days):
        cohort = page.cohort
        against = (
            "The model brings no survival of its training cohort."
            if cohort is None
            else f"Dashed: Kaplan-Meier of {cohort.n_patients} training patients ({cohort.n_events} events), 95 % band."
        )
        charts.append(
            f"<figure><figcaption>Predicted survival. {against}</figcaption>{survival(prediction, cohort)}</figure>"
        )
    return (
        f'<h2 id="reading">What the model reads</h2><dl class="figures">{listed}</dl>'
        f'<div class="two">{"".join(charts)}</div>'
    )


def _why(page: Page) -> str:
    switches, layers, told = [], [], []
    options = [("none", "Slide alone"), *((layer.name, layer.title) for layer in page.layers)]
    first = page.layers[0].name if page.layers else "none"
    for name, title in options:
        checked = " checked" if name == first else ""
        switches.append(
            f'<span><input type="radio" name="layer" id="show-{name}"{checked}>'
            f'<label for="show-{name}">{escape(title)}</label></span>'
        )
    for layer in page.layers:
        layers.append(
            f'<img class="layer {layer.name}" src="{layer.picture.address}" alt="{escape(layer.description)}">'
        )
        told.append(f"<li><b>{escape(layer.title)}</b>: {escape(layer.description)}</li>")
    marks = [
        f'<a class="mark{" against" if spot.is_against else ""}" href="#region-{spot.facts["node"]}" '
        f'style="left:{100 * spot.x:.2f}%;top:{100 * spot.y:.2f}%" '
        f'aria-label="Region {spot.facts["node"]}, number {spot.number}">{spot.number}</a>'
        for spot in page.spots
    ]
    text = "".join(f"<p>{_linked(sentence)}</p>" for sentence in write_sentences(page.facts))
    return (
        f'<h2 id="why">Why: {escape(page.facts["target"])}</h2><div class="two"><div class="layers">'
        f'<div class="switches" role="radiogroup" aria-label="Layer over the slide">{"".join(switches)}</div>'
        f'<figure><div class="stack"><img src="{page.slide.address}" width="{page.slide.width}" '
        f'height="{page.slide.height}" alt="The slide at low power">{"".join(layers)}{"".join(marks)}</div>'
        f"<figcaption>Numbers lead to the regions below; squares speak against the prediction. "
        f'<span class="scale" role="img" aria-label="Colours from blue, which lowers, over none to vermilion, which '
        f'raises"></span> lowers to raises.<ul>{"".join(told)}</ul></figcaption></figure></div>'
        f"<div>{text}</div></div>"
    )


def _linked(sentence: Sentence) -> str:
    """Return a sentence in which every fact says what it tells of and leads to its region."""
    parts, last = [], 0
    for mention in sentence.mentions:
        parts.append(escape(sentence.text[last : mention.start]))
        data = f'data-fact="{escape(mention.path)}"'
        data += "" if mention.node is None else f' data-node="{mention.node}"'
        data += "" if mention.feature is None else f' data-feature="{escape(mention.feature)}"'
        text = escape(mention.text)
        is_link = mention.path.endswith(".node")
        parts.append(
            f'<a href="#region-{mention.node}" {data}>{text}</a>' if is_link else f"<span {data}>{text}</span>"
        )
        last = mention.start + len(mention.text)
    return "".join([*parts, escape(sentence.text[last:])])


def _regions(page: Page) -> str:
    shown = []
    for spot in page.spots:
        facts = spot.facts
        rows = "".join(
            f"<tr><td>{escape(each['name'])}</td><td class=number>{each['value']:.3g}"
            f"{' ' * bool(each['unit'])}{escape(each['unit'])}</td>"
            f"<td class=number>{'' if each['percentile'] is None else format(each['percentile'], '.0f')}</td>"
            f"<td class=number>{each['attribution']:+.2g}</td></tr>"
            for each in facts["features"]
        )
        cut = "" if facts["cut_change"] is None else f" Cut off from its neighbours: {facts['cut_change']:+.2g}."
        side = "against the prediction" if spot.is_against else "for the prediction"
        shown.append(
            f'<figure id="region-{facts["node"]}"><h3>{spot.number}. Region {facts["node"]} '
            f'<span class="tag">{side}</span></h3>'
            f'<img src="{spot.crop.address}" width="{spot.crop.width}" height="{spot.crop.height}" '
            f'alt="Region {facts["node"]} at high power: {escape(facts["cluster"])}">'
            f"<figcaption>{escape(facts['cluster'])}; {facts['area_mm2']:.3f} mm² at "
            f"{facts['x_mm']:.2f}, {facts['y_mm']:.2f} mm; {facts['fraction']:+.1%} of all attribution.{cut}</figcaption>"
            f"<table><thead><tr><th>feature</th><th class=number>value</th><th class=number>pct.</th>"
            f"<th class=number>attr.</th></tr></thead><tbody>{rows}</tbody></table></figure>"
        )
    return (
        '<h2 id="regions">Regions that matter</h2><p class="muted">'
        "pct.: percentile among the training regions; attr.: attribution of the feature in the explained unit.</p>"
        f'<div class="regions">{"".join(shown)}</div>'
    )


def _features(page: Page) -> str:
    rows = [(each["name"], float(each["attribution"]), f"{each['attribution']:+.2g}") for each in page.facts["groups"]]
    patches = "".join(
        f"<tr><td>{escape(each['cluster'])}</td><td class=number>{each['n_regions']}</td>"
        f"<td class=number>{each['area_fraction']:.1%}</td><td class=number>{each['fraction']:+.1%}</td></tr>"
        for each in page.facts["neighbourhoods"]
    )
    return (
        '<h2 id="features">Features and neighbourhoods</h2><div class="two">'
        f"<figure><figcaption>Attribution by feature group, {escape(page.facts['unit'])}.</figcaption>"
        f'{bars(rows, "Attribution by feature group", is_signed=True)}</figure><div class="scroll"><table>'
        "<caption>Patches of one kind of tissue</caption><thead><tr><th>kind</th><th class=number>regions</th>"
        f"<th class=number>area</th><th class=number>share</th></tr></thead><tbody>{patches}</tbody></table>"
        "</div></div>"
    )


def _tests(page: Page) -> str:
    shown = [
        f"<figure><figcaption>{_WAYS[name]}: {escape(page.facts['unit'])}, which shall move towards "
        f"{curve.towards:.3g}. Shaded: 90 % of "
        f"{curve.n_random} random orders.</figcaption>{curves(curve, _WAYS[name], page.facts['unit'])}"
        f"{curve_legend(curve.gain)}</figure>"
        for name, curve in page.explanation.curves.items()
    ]
    return (
        '<h2 id="tests">Does the explanation hold?</h2><p>Regions are taken away in the order of the explanation and '
        "in others; if it names what the model rests on, the output moves towards the baseline soonest. The baseline "
        "of what is left out is that of the map; of what is replaced, the mean of each region's broad kind of tissue. "
        "Numbers are mean movements in standard deviations of the training outputs.</p>"
        f'<div class="two">{"".join(shown)}</div>'
    )


def _model(page: Page) -> str:
    card = page.card
    training = card.training
    scores = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td class=number>{score.value:.3f} ({score.low:.3f} to "
        f"{score.high:.3f})</td></tr>"
        for name, score in card.metrics.items()
    )
    limits = "".join(f"<li>{escape(text)}</li>" for text in card.limits)
    made = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td><code>{escape(value)}</code></td></tr>"
        for name, value in _flat(page)
    )
    return (
        f'<h2 id="model">The model and this result</h2><p><b>{escape(card.name)}</b> ({escape(card.licence)}): '
        f"{escape(card.description)}</p><p>Trained on {training.n_slides} slides of {training.n_patients} patients, "
        f"{training.n_events} events: {escape(training.data)}.</p><h3>Limits</h3><ul>{limits}</ul>"
        f"<details open><summary>Scores</summary><p>{escape(card.evaluation)}</p>"
        f'<div class="scroll"><table class="scores"><tbody>{scores}</tbody></table></div></details>'
        f'<details open><summary>Versions and digests</summary><div class="scroll"><table><tbody>{made}</tbody></table>'
        "</div></details>"
    )


def _flat(page: Page) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in page.provenance.items():
        if isinstance(value, Mapping):
            rows += [(f"{name} {key}", str(each)) for key, each in value.items()]
        elif name != "notice":
            rows.append((name, str(value)))
    return rows


def _switching(layers: Sequence[Layer]) -> str:
    return "".join(f".layers:has(#show-{layer.name}:checked) .layer.{layer.name}{{display:block}}" for layer in layers)
