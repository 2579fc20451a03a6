"""The text of an explanation, from templates that are filled with facts.

All templates are data: one file per language in ``texts``. A template names facts by their path, e.g.
``{structures.0.fraction:p}``. Each inserted fact is recorded as a mention, with its path and with the region and
feature that it describes, so that a page can link it and a test can check it. Templates contain no digits, so every
number in the text is a fact. No language model is used.

What casts doubt on the explanation comes first. If attribution follows area, no structure is named.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

LANGUAGES = ("en", "de")
"""Languages that sentences are written in. Names of features and warnings are in English in all of them."""
_PLACEHOLDER = re.compile(r"\{([\w.*]+)(?::([^}]*))?\}")
_MAX_DECIMALS = 6
_FIXED = {"": "", "place": ".1f", "i": ".0f"}
_MIN_YEARS = 2.0
# said by a doubt, which comes first
_DOUBTED = ("the completeness error of", "ensemble members disagree", "the output is close to")

Templates = Mapping[str, Mapping[str, str]]


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
        One or a few sentences.
    mentions : tuple of Mention
        Facts in the text, in their order.
    """

    text: str
    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportText:
    """The sentences of an explanation.

    Attributes
    ----------
    doubts : tuple of Sentence
        Why the explanation should not be relied on; empty where nothing speaks for that.
    prediction : tuple of Sentence
        What is predicted, and what is to be explained.
    reasons : tuple of Sentence
        The structures that count most, or that none does.
    details : tuple of Sentence
        Single regions, feature groups and checks.
    limits : tuple of Sentence
        Warnings, and the limits of use.
    """

    doubts: tuple[Sentence, ...]
    prediction: tuple[Sentence, ...]
    reasons: tuple[Sentence, ...]
    details: tuple[Sentence, ...]
    limits: tuple[Sentence, ...]

    def sentences(self) -> list[Sentence]:
        """Return all sentences in their order."""
        return [*self.doubts, *self.prediction, *self.reasons, *self.details, *self.limits]


@cache
def read_templates(language: str = "en") -> Templates:
    """Return the templates of a language, by section and name."""
    text = files("wsigraph.explanation").joinpath("texts", f"{language}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


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


def fill(facts: Mapping[str, Any], template: str, at: str = "", **parts: Sentence | str) -> Sentence:
    """Return a template filled with facts.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.
    template : str
        Text with ``{path:format}`` placeholders.
    at : str
        Path that ``*`` stands for.
    **parts : Sentence or str
        Text to insert for a placeholder of that name instead of a fact. For ``path`` a text is the path of a fact.

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
        last = place.end()
        name = place[1]
        if name in parts and name != "path":
            part = parts[name]
            part = Sentence(text=part) if isinstance(part, str) else part
            mentions += [replace(mention, start=mention.start + len(text)) for mention in part.mentions]
            text += part.text
            continue
        path = str(parts["path"]) if name == "path" else name.replace("*", at)
        value = fact(facts, path)
        spec = _format_spec(value, place[2] or "")
        node, feature = _subject(facts, path)
        formatted = format(value, spec)
        mentions.append(Mention(text=formatted, start=len(text), path=path, spec=spec, node=node, feature=feature))
        text += formatted
    return Sentence(text=text + template[last:], mentions=tuple(mentions))


def write_text(facts: Mapping[str, Any], language: str = "en") -> ReportText:
    """Return the text of an explanation.

    Parameters
    ----------
    facts : mapping
        `wsigraph.explanation.findings.gather_facts`.
    language : str
        One of `LANGUAGES`.

    Returns
    -------
    ReportText
        Its sentences by section.
    """
    templates = read_templates(language)
    warnings = [
        fill(facts, templates["detail"]["warning"], path=f"warnings.{number}")
        for number, warning in enumerate(facts["warnings"])
        if not str(warning).startswith(_DOUBTED)
    ]
    return ReportText(
        doubts=tuple(fill(facts, templates["doubt"][name]) for name in facts["doubts"]),
        prediction=tuple(_prediction(facts, templates)),
        reasons=tuple(_reasons(facts, templates)),
        details=(*_regions(facts, templates), *_checks(facts, templates)),
        limits=(*warnings, fill(facts, templates["detail"]["limits"])),
    )


def write_sentences(facts: Mapping[str, Any], language: str = "en") -> list[Sentence]:
    """Return all sentences of `write_text` in their order."""
    return write_text(facts, language).sentences()


def _prediction(facts: Mapping[str, Any], templates: Templates) -> list[Sentence]:
    """Return the prediction and the difference that is explained."""
    own, prediction, parts = templates["prediction"], facts["prediction"], facts["risk_parts"]
    sentences = []
    if prediction["stage"] is not None:
        sentences.append(fill(facts, own["stage"]))
    if len(prediction["stage_set"]) > 1:
        paths = [f"{{prediction.stage_set.{number}}}" for number in range(len(prediction["stage_set"]))]
        sentences.append(fill(facts, own["stage_set"], names=fill(facts, ", ".join(paths))))
    if prediction["median_years"] is not None:
        sentences.append(fill(facts, own["median"], median=_duration(facts, own, "median"), band=_band(facts, own)))
    sentences.append(
        fill(
            facts,
            own["output"],
            reference=templates["reference"][facts["reference_input"].partition(" ")[0]],
            in_sd="" if facts["difference_in_sd"] is None else fill(facts, own["in_sd"]),
        )
    )
    if parts and "composition_risk" in parts:
        sentences.append(fill(facts, own["parts" if parts.get("arrangement_risk") else "no_arrangement"]))
    if prediction["relation"] in ("in training", "out of fold"):
        sentences.append(fill(facts, own[prediction["relation"].replace(" ", "_")]))
    return sentences


def _band(facts: Mapping[str, Any], own: Mapping[str, str]) -> Sentence | str:
    """Return the band of the median survival; empty for a prediction without one."""
    if not facts["prediction"]["has_band"]:
        return ""
    low, high = (_duration(facts, own, name) for name in ("median_low", "median_high"))
    return fill(facts, own["band"], low=low, high=high)


def _duration(facts: Mapping[str, Any], own: Mapping[str, str], name: str) -> Sentence | str:
    """Return a survival time, in years from two years on, else in months."""
    years = facts["prediction"][f"{name}_years"]
    if years is None:
        return own["open"]
    unit = "years" if years >= _MIN_YEARS else "months"
    return fill(facts, own[unit], path=f"prediction.{name}_{unit}")


def _reasons(facts: Mapping[str, Any], templates: Templates) -> list[Sentence]:
    """Return the structures that count most; only that nothing is localised where that is so."""
    own = templates["reason"]
    if not facts["localisation"]["is_localised"]:
        return [fill(facts, own["spread"])]
    sentences = []
    for number, structure in enumerate(facts["structures"]):
        at = f"structures.{number}"
        features = _features(facts, templates, at)
        sentences.append(
            fill(
                facts,
                own["raises" if structure["attribution"] > 0 else "lowers"],
                at,
                tissue=fill(facts, own["tissue"], at) if structure["tissue"] else "",
                features=fill(facts, own["features"], list=features) if features.text else "",
            )
        )
    if not sentences:
        sentences.append(fill(facts, own["scattered"]))
    if facts["empty"]["fraction"] >= facts["limits"]["empty"]:
        sentences.append(fill(facts, own["empty"]))
    return sentences


def _features(facts: Mapping[str, Any], templates: Templates, at: str) -> Sentence:
    """Return the first features of a structure or region, with words that agree with their percentiles."""
    own, parts = templates["reason"], []
    for number, feature in enumerate(fact(facts, at)["features"][:2]):
        path = f"{at}.features.{number}"
        level = templates["level"][feature["level"]]
        filled = fill(
            facts,
            own["feature"],
            path,
            level=level,
            name=fill(facts, f"{{{path}.name}}"),
            unit=fill(facts, f" {{{path}.unit}}") if feature["unit"] else "",
            percentile="" if feature["percentile"] is None else fill(facts, own["percentile"], path),
        )
        skipped = len(filled.text) - len(filled.text.lstrip())
        moved = tuple(replace(mention, start=mention.start - skipped) for mention in filled.mentions)
        parts.append(Sentence(text=filled.text[skipped:], mentions=moved))
    return _joined(parts, "; ")


def _regions(facts: Mapping[str, Any], templates: Templates) -> list[Sentence]:
    """Return single regions and feature groups; only groups where nothing is localised."""
    own, sentences = templates["detail"], []
    if facts["parts"]["between_clusters"]:
        sentences.append(fill(facts, own["between"]))
    if facts["localisation"]["is_localised"]:
        for template, name in (("region", "regions"), ("against", "against")):
            if facts[name]:
                at = f"{name}.0"
                sentences.append(fill(facts, own[template], at, list=_features(facts, templates, at)))
        if facts["densest"] and facts["densest"][0]["node"] not in [row["node"] for row in facts["regions"][:1]]:
            sentences.append(fill(facts, own["densest"], "densest.0"))
    groups = [fill(facts, own["group"], f"groups.{number}") for number in range(len(facts["groups"]))]
    return [*sentences, fill(facts, own["groups"], list=_joined(groups, ", "))]


def _checks(facts: Mapping[str, Any], templates: Templates) -> list[Sentence]:
    """Return the checks of the attributions: completeness, agreement, faithfulness and edge ablation."""
    own, sentences = templates["detail"], []
    if facts["completeness"]["is_complete"]:
        sentences.append(fill(facts, own["completeness"]))
    if facts["members"]["agreement"] is not None:
        sentences.append(fill(facts, own["members"]))
    sentences += [
        fill(facts, own["agreement"], path=f"reference_agreement.{name}", name=name)
        for name in facts["reference_agreement"]
    ]
    for name, curve in facts["curves"].items():
        if curve["n_random"]:
            path = f"curves.{name}.n_members"
            members = fill(facts, own["evaluated"], path=path) if facts["members"]["n"] > 1 else ""
            sentences.append(fill(facts, own[name], members=members))
    return [*sentences, fill(facts, own["edges"])]


def _joined(parts: Sequence[Sentence], separator: str) -> Sentence:
    """Return sentences as one text."""
    text, mentions = "", []
    for number, part in enumerate(parts):
        text += separator if number else ""
        mentions += [replace(mention, start=mention.start + len(text)) for mention in part.mentions]
        text += part.text
    return Sentence(text=text, mentions=tuple(mentions))


def _format_spec(value: Any, name: str) -> str:
    """Return the format specification of a fact: two significant digits for ``n`` and ``p``, without an exponent."""
    if name in _FIXED:
        return _FIXED[name]
    sign, is_percentage = ("+" if name[0] == "+" else ""), name[-1] == "p"
    size = abs(float(value)) * (100 if is_percentage else 1)
    decimals = 0 if size == 0 else min(max(0, 1 - math.floor(math.log10(size))), 2 if is_percentage else _MAX_DECIMALS)
    return f"{sign}.{decimals}{'%' if is_percentage else 'f'}"


def _subject(facts: Mapping[str, Any], path: str) -> tuple[int | None, str | None]:
    """Return the node and the feature that a path describes."""
    node, feature, value = None, None, facts
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
        if isinstance(value, Mapping):
            node = value.get("node", node)
            feature = value.get("feature", feature)
    return node, feature
