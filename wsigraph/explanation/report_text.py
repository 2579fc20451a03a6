"""Sentences from facts: templates alone, no language model, and no number that is not a fact.

A template names facts by their path, ``{regions.0.share:.0%}``. What is put in place is remembered with the path, and
with the node and feature that it tells of, so that a page can link it and a test can check it. Templates hold no digit
of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PLACE = re.compile(r"\{([\w.]+)(?::([^}]*))?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A fact inside a sentence.

    Attributes
    ----------
    text : str
        As it was written.
    start : int
        Where it begins in the sentence.
    path : str
        Where the fact is, e.g. ``regions.0.share``.
    spec : str
        Format that it was written with.
    node : int or None
        Region that it tells of.
    feature : str or None
        Feature that it tells of.
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
        In the order of the text.
    """

    text: str
    mentions: tuple[Mention, ...]


def fact(facts: Mapping[str, Any], path: str) -> Any:
    """Return the fact at a path such as ``regions.0.share``.

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
    """Return a template with its facts in place.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.
    template : str
        Text with ``{path:format}``.

    Returns
    -------
    Sentence
        With every fact that was put in place.

    Raises
    ------
    LookupError
        If a fact is missing.
    """
    text, mentions, last = "", [], 0
    for place in _PLACE.finditer(template):
        text += template[last : place.start()]
        path, spec = place[1], place[2] or ""
        written = format(fact(facts, path), spec)
        node, feature = _subject(facts, path)
        mentions.append(Mention(text=written, start=len(text), path=path, spec=spec, node=node, feature=feature))
        text, last = text + written, place.end()
    return Sentence(text=text + template[last:], mentions=tuple(mentions))


def tell(facts: Mapping[str, Any]) -> list[Sentence]:
    """Return the text of an explanation.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.

    Returns
    -------
    list of Sentence
        What was read, why, what speaks against it, how sure it is, and what it is not.
    """
    templates = [*_opening(facts), *_regions(facts), *_groups(facts), *_checks(facts)]
    templates += [f"Warning: {{warnings.{number}}}." for number in range(len(facts["warnings"]))]
    return [fill(facts, template) for template in [*templates, "{association} {research}"]]


def _opening(facts: Mapping[str, Any]) -> list[str]:
    found = []
    seen = facts["prediction"]
    if seen["stage"] is not None:
        found.append("The model reads stage {prediction.stage} with probability {prediction.stage_probability:.0%}.")
    if len(seen["stage_set"]) > 1:
        names = " or ".join(f"{{prediction.stage_set.{each}}}" for each in range(len(seen["stage_set"])))
        found.append(f"Stages that cannot be told apart at the stated confidence: {names}.")
    apart = (
        ""
        if facts["difference_in_sd"] is None
        else ", {difference_in_sd:+.2g} standard deviations of the training outputs"
    )
    of_members = " (of {members.n} members as one)" if facts["members"]["n"] > 1 else ""
    found.append(
        f"Explained is the {{unit}} ({{target}}): {{value:.3g}} for this slide{of_members}, "
        "{direction} the {baseline_value:.3g} of the "
        f"baseline '{{baseline}}'{apart}."
    )
    if facts["parts"]["kind"]:
        found.append(
            "Of the difference, {parts.kind:+.3g} comes from which kinds of tissue there are, {parts.within:+.3g} from "
            "how regions differ from others of their kind, and {parts.boundaries:+.3g} from the shape of boundaries."
        )
    if seen["relation"] == "in training":
        found.append("This patient was in the training cohort: the model has seen the answer.")
    elif seen["relation"] == "out of fold":
        found.append("This patient is known to the model and was answered by the member that never saw them.")
    return found


def _regions(facts: Mapping[str, Any]) -> list[str]:
    found = []
    for number in range(min(3, len(facts["regions"]))):
        at = f"regions.{number}"
        lead = "Most weight has region" if number == 0 else "Next comes region"
        found.append(
            f"{lead} {{{at}.node}} at {{{at}.x_mm:.2f}}, {{{at}.y_mm:.2f}} mm ({{{at}.area_mm2:.3f}} mm\u00b2, "
            f"{{{at}.area_fraction:.1%}} of the tissue; {{{at}.kind}}) with {{{at}.share:+.1%}} of all attribution: "
            + _features(facts, at)
        )
    if facts["against"]:
        found.append(
            "Against the prediction speaks most region {against.0.node} at {against.0.x_mm:.2f}, {against.0.y_mm:.2f} "
            "mm ({against.0.kind}) with {against.0.share:+.1%}: " + _features(facts, "against.0")
        )
    if facts["neighbourhoods"]:
        found.append(
            "The patch of tissue that counts most is {neighbourhoods.0.kind} around region {neighbourhoods.0.node}: "
            "{neighbourhoods.0.n_regions} regions, {neighbourhoods.0.area_fraction:.1%} of the tissue, "
            "{neighbourhoods.0.share:+.1%} of all attribution."
        )
    return found


def _features(facts: Mapping[str, Any], at: str) -> str:
    parts = []
    for number, each in enumerate(fact(facts, at)["features"][:2]):
        path = f"{at}.features.{number}"
        place = "" if each["percentile"] is None else f", percentile {{{path}.percentile:.0f}} of the training regions"
        unit = f" {{{path}.unit}}" if each["unit"] else ""
        parts.append(f"{{{path}.name}} {{{path}.value:.3g}}{unit}{place} ({{{path}.attribution:+.2g}})")
    return "; ".join(parts) + "."


def _groups(facts: Mapping[str, Any]) -> list[str]:
    names = [f"{{groups.{k}.name}} {{groups.{k}.attribution:+.2g}}" for k in range(len(facts["groups"]))]
    return [f"By groups of features: {', '.join(names)}."]


def _checks(facts: Mapping[str, Any]) -> list[str]:
    found = [
        "Attributions add up to the difference within {completeness.gap:.2g} (allowed {completeness.gap_limit:.2g}, "
        "{completeness.n_steps} steps)."
    ]
    if facts["members"]["agreement"] is not None:
        found.append(
            "The {members.n} members of the ensemble read {members.low:.3g} to {members.high:.3g} and agree on what "
            "matters with a rank correlation of {members.agreement:.2f}."
        )
    found += [
        f"Baseline '{name}' agrees with a rank correlation of {{baseline_agreement.{name}:.2f}}."
        for name in facts["baseline_agreement"]
    ]
    is_ensemble = facts["members"]["n"] > 1
    orders = {"replace": "the order of their attributions against its mean", "drop": "the order of the map"}
    of_kinds = "one of {kinds.n_broad}, where the baseline tells {kinds.n} kinds apart"
    ways = {"replace": f"replaced by training regions of their broad kind ({of_kinds})", "drop": "left out"}
    for name in facts["curves"]:
        if facts["curves"][name]["n_random"]:
            found.append(
                f"When regions are {ways[name]} in {orders[name]}, the output moves faster towards "
                f"{{curves.{name}.towards:.3g}} than in "
                f"{{curves.{name}.random_beaten:.0%}} of {{curves.{name}.n_random}} random orders"
                + (f" ({{curves.{name}.n_members}} of {{members.n}} members asked)." if is_ensemble else ".")
            )
    found.append("Without any neighbours the output would be {edges.without:.3g} ({edges.change:+.2g}).")
    return found


def _subject(facts: Mapping[str, Any], path: str) -> tuple[int | None, str | None]:
    """Return the node and the feature that a path tells of."""
    node, feature, value = None, None, facts
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
        if isinstance(value, Mapping):
            node = value.get("node", node)
            feature = value.get("feature", feature)
    return node, feature
