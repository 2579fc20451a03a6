"""Structures, the scale of maps, and the test that nothing is named where attribution follows area."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from wsigraph.config import ExplanationConfig
from wsigraph.errors import ConfigError
from wsigraph.explanation import findings, structures
from wsigraph.explanation.area import describe_area
from wsigraph.explanation.explain import explain
from wsigraph.explanation.findings import gather_facts
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.region_facts import feature_level
from wsigraph.explanation.report_text import read_templates, write_text
from wsigraph.explanation.structures import (
    LEAST_REGION_MM2,
    colour_scale,
    describe_structures,
    find_structures,
    fraction_in_tenth,
)
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph, Explanation
from wsigraph.report.overlay import attribution_colours

QUICK = ExplanationConfig(steps=8, random_orders=10)


def chain(n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    low = np.arange(n - 1)
    return np.concatenate([np.stack([low, low + 1]), np.stack([low + 1, low])], axis=1)


def test_specks_do_not_move_the_scale() -> None:
    area = np.concatenate([np.full(100, 0.1), np.full(20, 0.0001)])
    node = np.concatenate([np.linspace(0.0, 1.0, 100), np.full(20, 0.5)])
    most = colour_scale(node, area)
    assert most == pytest.approx(9.5, abs=0.2)
    # by region, specks of a hundredth of the tissue would have taken all of the scale
    assert np.percentile(np.abs(node / area), 95) > 100 * most
    assert (np.abs(node / area)[:100] >= most / 5).mean() > 0.75


def test_glass_has_no_colour_and_no_say_in_the_scale() -> None:
    regions = np.array([[1, 1, 2, 3]], np.int32)
    layer = attribution_colours(regions, np.array([1.0, -2.0, 500.0]), np.array([1.0, 1.0, 0.0]))
    assert layer.most == 2.0
    assert layer.colours[layer.index[0, 3], 3] == 0
    assert layer.colours[layer.index[0, 0], 3] > 0


@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_attribution_that_follows_area_is_not_localised(spread: float) -> None:
    rng = np.random.default_rng(0)
    area = rng.uniform(0.001, 0.1, 500)
    node = area * (1 + spread * rng.normal(size=500))
    assert fraction_in_tenth(node, area) < 0.13
    node[:30] *= 20
    assert fraction_in_tenth(node, area) > structures.LEAST_IN_TENTH


def test_neighbours_of_like_sign_are_one_structure_and_specks_are_none() -> None:
    #               one structure   against   a speck     glass      the rest
    node = np.array([5.0, 4.0, 6.0, -5.0, -4.0, 0.9, 0.0, 9.0, 9.0, *[0.1] * 11])
    area = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.002, 0.1, 0.0, 0.0, *[0.1] * 11])
    assert find_structures(node, area, chain(20)).tolist() == [0, 0, 0, 1, 1, *[-1] * 15]


def test_structures_are_numbered_by_attribution_and_carry_names(coarse: CoarseGraph) -> None:
    n, edges = coarse.graph.n_nodes, coarse.graph.edge_index
    node, area = np.full(n, 0.001), np.full(n, 0.02)
    first, second = 0, int(np.setdiff1d(np.arange(n), [0, *edges[1, edges[0] == 0]])[-1])
    node[first], node[second] = 1.0, -2.0
    names = ["stroma"] * n
    names[second] = "tumour"
    found = describe_structures(node, coarse, area, names)
    assert [row["regions"] for row in found] == [[second], [first]]
    assert [row["tissue"] for row in found] == ["tumour", "stroma"]
    assert found[0]["attribution"] == -2.0
    assert found[0]["area_fraction"] == pytest.approx(1 / n)


@pytest.fixture(scope="module")
def explanation(coarse: CoarseGraph, bundle: ModelBundle, reference: Reference) -> Explanation:
    return explain(coarse, coarse.graph, bundle, "risk", reference=reference, config=QUICK)


@pytest.fixture
def facts(explanation: Explanation, coarse: CoarseGraph, bundle: ModelBundle, reference: Reference) -> dict[str, Any]:
    return json.loads(json.dumps(gather_facts(explanation, coarse, predict(coarse, bundle), reference)))


def test_nothing_is_named_where_nothing_is_localised(facts: dict[str, Any]) -> None:
    facts["localisation"] = {"fraction": 0.14, "is_localised": False}
    text = write_text(facts)
    (only,) = text.reasons
    assert only.text.startswith("Nothing is localised. The tenth of the tissue")
    assert "holds 14% of all attribution" in only.text
    assert not any("egion " in sentence.text.partition("groups")[0] for sentence in text.details[:2])


def test_what_casts_doubt_comes_first(facts: dict[str, Any]) -> None:
    facts["doubts"], facts["members"]["agreement"] = ["members"], 0.39
    facts["warnings"] = ["ensemble members disagree on which regions matter (mean rank correlation 0.39)", "other"]
    sentences = [sentence.text for sentence in write_text(facts).sentences()]
    assert "ensemble members disagree" in sentences[0]
    assert sum("disagree" in sentence for sentence in sentences) == 1
    assert "Warning: other." in sentences


def test_an_explanation_that_fails_its_own_test_is_doubted(explanation: Explanation) -> None:
    from dataclasses import replace

    drop = explanation.curves["drop"]
    good = replace(drop, random_beaten=1.0, gain={**drop.gain, "attribution": 1.0, "area": 0.5})
    for curve, doubts in (
        (good, []),
        (replace(good, random_beaten=0.9), ["drop"]),
        (replace(good, gain={**good.gain, "area": 1.5}), ["drop_area"]),
    ):
        changed = replace(explanation, curves={"drop": curve}, member_agreement=None)
        assert [name for name in findings._doubts(changed) if name.startswith("drop")] == doubts


def test_numbers_have_two_digits_and_no_digest_is_in_the_text(facts: dict[str, Any]) -> None:
    for sentence in write_text(facts).sentences():
        for mention in sentence.mentions:
            if mention.spec and mention.spec != ".1f":
                digits = mention.text.strip("+-%").replace(".", "").lstrip("0")
                assert len(digits) <= 2 or "." not in mention.text, mention
    text = " ".join(sentence.text for sentence in write_text(facts).sentences())
    assert not any(len(word) >= 12 and set(word) <= set("0123456789abcdef") for word in text.split())


def test_words_agree_with_percentiles() -> None:
    levels = [feature_level(percentile) for percentile in (None, 0.0, 4.9, 24.0, 50.0, 76.0, 95.0, 100.0)]
    assert levels == ["unknown", "very_low", "very_low", "low", "typical", "high", "very_high", "very_high"]


def test_specks_lead_no_list(explanation: Explanation, coarse: CoarseGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    n = coarse.graph.n_nodes
    area = np.full(n, 2 * LEAST_REGION_MM2)
    sign = 1.0 if explanation.value >= explanation.reference_value else -1.0
    strongest = int(np.argmax(sign * explanation.node))
    area[strongest] = 0.5 * LEAST_REGION_MM2
    monkeypatch.setattr(findings, "tissue_mm2", lambda _: area)
    leading = findings._nodes_towards(explanation.node, sign, area >= LEAST_REGION_MM2)
    assert strongest not in leading
    assert leading


def test_every_language_has_every_sentence_with_the_same_facts(facts: dict[str, Any]) -> None:
    placeholder = re.compile(r"\{([\w.*]+)(?::([^}]*))?\}")
    english, german = read_templates("en"), read_templates("de")
    assert {name: set(section) for name, section in english.items()} == {
        name: set(section) for name, section in german.items()
    }
    for section, templates in english.items():
        for name, template in templates.items():
            other = german[section][name]
            assert sorted(placeholder.findall(template)) == sorted(placeholder.findall(other)), (section, name)
            for text in (template, other):
                assert not re.search(r"\d", placeholder.sub("", text)), text
    facts["localisation"] = {"fraction": 0.1, "is_localised": False}
    assert "Nichts ist lokalisiert" in " ".join(sentence.text for sentence in write_text(facts, "de").sentences())


def test_composition_and_arrangement_are_told_apart(facts: dict[str, Any]) -> None:
    facts["risk_parts"] = {"composition_risk": 0.321, "arrangement_risk": -0.0456, "survival_fraction": 0.5}
    text = " ".join(sentence.text for sentence in write_text(facts).prediction)
    assert "+0.32 comes from composition" in text
    assert "-0.046 from arrangement" in text
    facts["risk_parts"]["arrangement_risk"] = 0.0
    text = " ".join(sentence.text for sentence in write_text(facts).prediction)
    assert "this model does not use it" in text


def test_a_median_has_its_band_beside_it(facts: dict[str, Any]) -> None:
    prediction = facts["prediction"]
    prediction |= {"has_band": True, "median_years": 3.21, "median_low_years": 0.5, "median_low_months": 6.0}
    prediction["median_high_years"] = None
    text = " ".join(sentence.text for sentence in write_text(facts).prediction)
    assert "median survival is 3.2 years (6.0 months to beyond the curve, pointwise band of 95%)" in text


def test_an_area_says_what_its_regions_add(explanation: Explanation, coarse: CoarseGraph, reference: Reference) -> None:
    low, high = coarse.graph.centroid_um.min(axis=0) - 1, coarse.graph.centroid_um.max(axis=0) + 1
    whole = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    found = describe_area(explanation, coarse, whole, reference)
    assert found["n_regions"] == coarse.graph.n_nodes
    assert found["attribution"] == pytest.approx(explanation.node.sum())
    assert found["area_fraction"] == pytest.approx(1.0)
    x, y = coarse.graph.centroid_um[5]
    one = describe_area(explanation, coarse, [(x - 1, y - 1), (x + 1, y - 1), (x, y + 2)], reference)
    assert one["regions"] == [5]
    assert one["attribution"] == pytest.approx(explanation.node[5])
    assert one["features"][0]["percentile"] is not None
    with pytest.raises(ConfigError, match="no region has its centre inside the area"):
        describe_area(explanation, coarse, [(-9, -9), (-8, -9), (-8, -8)])
    with pytest.raises(ConfigError, match="at least 3 pairs"):
        describe_area(explanation, coarse, [(0, 0), (1, 1)])
