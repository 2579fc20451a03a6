"""The text of an explanation, from templates that are filled with facts.

A template names facts by their path, e.g. ``{regions.0.fraction:.0%}``. Each inserted fact is recorded as a mention,
with its path and with the node and feature that it describes, so that a page can link it and a test can check it.
Templates contain no digits, so every number in the text is a fact. No language model is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PLACEHOLDER = re.compile(r"\{([\w.]+)(?::([^}]*))?\}")
_REFERENCE_PHRASES = {
    "cluster": "average training tissue of each cluster",
    "site": "average training tissue of the same site",
    "draws": "random training regions",
    "mean": "the mean of the model's scaler",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A fact inside a sentence.

    Attributes
    ----------
    text : str
        The formatted fact.
    start : int
        Its offset in the sentence, characters.
    path : str
        Path of the fact, e.g. ``regions.0.fraction``.
    spec : str
        Format specification.
    node : int or None
        Region that it describes.
    feature : str or None
        Feature that it describes.
    """

    text: str
    start: int
    path: str
    spec: str
    node: int | None
    feature: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence and the facts in it.

    Attributes
    ----------
    text : str
        One or two sentences.
    mentions : tuple of Mention
        Facts in the text, in their order.
    """

    text: str
    mentions: tuple[Mention, ...]


def fact(facts: Mapping[str, Any], path: str) -> Any:
    """Return the fact at a path such as ``regions.0.fraction``.

    Raises
    ------
    LookupError
        If there is none.
    """
    value: Any = facts
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def fill(facts: Mapping[str, Any], template: str) -> Sentence:
    """Return a template filled with facts.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.
    template : str
        Text with ``{path:format}`` placeholders.

    Returns
    -------
    Sentence
        The text, and a mention of every inserted fact.

    Raises
    ------
    LookupError
        If a fact is missing.
    """
    text, mentions, last = "", [], 0
    for place in _PLACEHOLDER.finditer(template):
        text += template[last : place.start()]
        path, spec = place[1], place[2] or ""
        formatted = format(fact(facts, path), spec)
        node, feature = _subject(facts, path)
        mentions.append(Mention(text=formatted, start=len(text), path=path, spec=spec, node=node, feature=feature))
        text, last = text + formatted, place.end()
    return Sentence(text=text + template[last:], mentions=tuple(mentions))


def write_sentences(facts: Mapping[str, Any]) -> list[Sentence]:
    """Return the text of an explanation.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.

    Returns
    -------
    list of Sentence
        The prediction, its explanation, evidence against it, the checks, and the limits of use.
    """
    templates = [*_prediction(facts), *_regions(facts), *_groups(facts), *_checks(facts)]
    templates += [f"Warning: {{warnings.{number}}}." for number in range(len(facts["warnings"]))]
    return [fill(facts, template) for template in [*templates, "{association} {research}"]]


def _prediction(facts: Mapping[str, Any]) -> list[str]:
    """Return the prediction and the difference that is explained."""
    templates = []
    prediction = facts["prediction"]
    if prediction["stage"] is not None:
        templates.append("Predicted stage is {prediction.stage}, with probability {prediction.stage_probability:.0%}.")
    if len(prediction["stage_set"]) > 1:
        names = ", ".join(f"{{prediction.stage_set.{number}}}" for number in range(len(prediction["stage_set"])))
        templates.append(f"The conformal set holds the stages {names}.")
    ensemble = ", ensemble of {members.n} members" if facts["members"]["n"] > 1 else ""
    in_sd = (
        ""
        if facts["difference_in_sd"] is None
        else " ({difference_in_sd:+.2g} standard deviations of the training outputs)"
    )
    phrase = _REFERENCE_PHRASES[facts["reference_input"].partition(" ")[0]]
    templates.append(
        f"Predicted {{target}} is {{value:.3g}} ({{unit}}{ensemble}). The reference, {phrase}, has "
        f"{{reference_value:.3g}}. The difference is {{difference:+.3g}}{in_sd}."
    )
    if facts["parts"]["between_clusters"]:
        templates.append(
            "Of this difference, {parts.between_clusters:+.3g} is due to which tissue clusters are present, "
            "{parts.within_clusters:+.3g} to how regions differ from the mean of their cluster, and "
            "{parts.boundaries:+.3g} to the boundaries between regions."
        )
    if prediction["relation"] == "in training":
        templates.append("This patient was in the training cohort, so the prediction is not an independent one.")
    elif prediction["relation"] == "out of fold":
        templates.append("This patient was in the training cohort; only the member not trained on them was used.")
    return templates


def _regions(facts: Mapping[str, Any]) -> list[str]:
    """Return the most important regions, the strongest against the prediction, and the strongest neighbourhood."""
    templates = []
    for number in range(min(3, len(facts["regions"]))):
        at = f"regions.{number}"
        lead = "The most important region is region" if number == 0 else "Next is region"
        templates.append(
            f"{lead} {{{at}.node}} at {{{at}.x_mm:.2f}}, {{{at}.y_mm:.2f}} mm ({{{at}.area_mm2:.3f}} mm\u00b2, "
            f"{{{at}.area_fraction:.1%}} of the tissue; {{{at}.cluster}}), with {{{at}.fraction:+.1%}} of all "
            "attribution. Its main features are " + _features(facts, at)
        )
    if facts["against"]:
        templates.append(
            "The strongest region against the prediction is region {against.0.node} at {against.0.x_mm:.2f}, "
            "{against.0.y_mm:.2f} mm ({against.0.cluster}), with {against.0.fraction:+.1%} of all attribution. "
            "Its main features are " + _features(facts, "against.0")
        )
    if facts["neighbourhoods"]:
        templates.append(
            "The most important neighbourhood is {neighbourhoods.0.cluster} around region {neighbourhoods.0.node}, "
            "with {neighbourhoods.0.n_regions} regions, {neighbourhoods.0.area_fraction:.1%} of the tissue and "
            "{neighbourhoods.0.fraction:+.1%} of all attribution."
        )
    return templates


def _features(facts: Mapping[str, Any], at: str) -> str:
    parts = []
    for number, feature in enumerate(fact(facts, at)["features"][:2]):
        path = f"{at}.features.{number}"
        unit = f" {{{path}.unit}}" if feature["unit"] else ""
        percentile = (
            "" if feature["percentile"] is None else f", percentile {{{path}.percentile:.0f}} of the training regions"
        )
        parts.append(
            f"{{{path}.name}} {{{path}.value:.3g}}{unit}{percentile} (attribution {{{path}.attribution:+.2g}})"
        )
    return "; ".join(parts) + "."


def _groups(facts: Mapping[str, Any]) -> list[str]:
    names = [f"{{groups.{k}.name}} {{groups.{k}.attribution:+.2g}}" for k in range(len(facts["groups"]))]
    return [f"Attribution by feature group: {', '.join(names)}."]


def _checks(facts: Mapping[str, Any]) -> list[str]:
    """Return the checks of the attributions: completeness, agreement, faithfulness and edge ablation."""
    templates = [
        "The completeness error of the attributions is {completeness.error:.2g} (limit {completeness.limit:.2g}, "
        "{completeness.n_steps} steps)."
    ]
    if facts["members"]["agreement"] is not None:
        templates.append(
            "The {members.n} ensemble members predict {members.low:.3g} to {members.high:.3g}. The mean rank "
            "correlation between their attributions is {members.agreement:.2f}."
        )
    templates += [
        f"With the reference input '{name}', attributions have a rank correlation of "
        f"{{reference_agreement.{name}:.2f}}."
        for name in facts["reference_agreement"]
    ]
    templates += [_curve(facts, name) for name in facts["curves"] if facts["curves"][name]["n_random"]]
    templates.append("Without any edges the output is {edges.ablated:.3g} ({edges.change:+.2g}).")
    return templates


def _curve(facts: Mapping[str, Any], name: str) -> str:
    """Return what one faithfulness curve shows."""
    action = {
        "drop": "removed in the order of their attribution",
        "replace": "replaced by training regions of the same broad cluster (one of {clusters.n_broad}), in the order "
        "of their attribution against its mean",
    }[name]
    members = f" ({{curves.{name}.n_members}} of {{members.n}} members evaluated)" if facts["members"]["n"] > 1 else ""
    return (
        f"When regions are {action}, the output approaches {{curves.{name}.towards:.3g}} faster than in "
        f"{{curves.{name}.random_beaten:.0%}} of {{curves.{name}.n_random}} random orders{members}."
    )


def _subject(facts: Mapping[str, Any], path: str) -> tuple[int | None, str | None]:
    """Return the node and the feature that a path describes."""
    node, feature, value = None, None, facts
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
        if isinstance(value, Mapping):
            node = value.get("node", node)
            feature = value.get("feature", feature)
    return node, feature
