"""A claim that survives and one that falls, on a model that reads one feature alone."""

from __future__ import annotations

import numpy as np
import pytest

from wsigraph.errors import ConfigError
from wsigraph.explanation.members import ExplainedMember
from wsigraph.explanation.perturbation_test import Falsification, falsify
from wsigraph.explanation.reference import Reference
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.model.bundle import ModelBundle
from wsigraph.records import CoarseGraph

SURVIVES, FALLS = "nuclear_density", "circularity"


@pytest.fixture
def one_feature(monkeypatch: pytest.MonkeyPatch, bundle: ModelBundle) -> None:
    """Make the model read nuclear density alone: the truth of every claim is then known."""
    from wsigraph.explanation import falsify as module
    from wsigraph.explanation.members import members

    (member,) = members(bundle)
    blind = np.ones(len(FEATURE_NAMES), np.bool_)
    blind[FEATURE_NAMES.index(SURVIVES)] = False
    member.network.embed.weight[:, blind] = 0.0
    monkeypatch.setattr(module, "members", lambda *_: (member,))
    assert isinstance(member, ExplainedMember)


def test_what_the_model_reads_survives_and_what_it_cannot_read_falls(
    one_feature: None, coarse: CoarseGraph, bundle: ModelBundle, reference: Reference
) -> None:
    found = {
        claim: falsify(coarse, claim, bundle, reference=reference, rng=np.random.default_rng(0))
        for claim in ("nuclear density", "nuclear density+2", "circularity", "circularity +3")
    }
    assert found["nuclear density"].change != 0
    assert found["nuclear density+2"].survives
    assert found["nuclear density"].low <= found["nuclear density"].change <= found["nuclear density"].high
    for claim in ("circularity", "circularity +3"):
        assert not found[claim].survives
        assert found[claim].change == pytest.approx(0.0, abs=1e-6)
    assert found["nuclear density+2"].sentence().startswith("The claim survives: moving nuclear density by +2")
    assert found["circularity"].sentence().startswith("The claim falls")


def test_one_kind_put_in_place_of_another(coarse: CoarseGraph, bundle: ModelBundle, reference: Reference) -> None:
    def claim(text: str) -> Falsification:
        return falsify(coarse, text, bundle, reference=reference, rng=np.random.default_rng(0))

    moved = claim("1 -> 2")
    kind = reference.kinds(graph_features(coarse))
    assert moved.n_regions == int((kind == 0).sum())
    assert moved.change != 0
    assert claim(f"{reference.kind_names[0]} -> {reference.kind_names[1]}").change == moved.change
    with pytest.raises(ConfigError, match="kind 'blue' is unknown"):
        claim("blue -> 1")


def graph_features(coarse: CoarseGraph) -> np.ndarray:
    from wsigraph.model.inputs import graph_input

    return graph_input(coarse).features


def test_claims_that_name_nothing_are_refused(coarse: CoarseGraph, bundle: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nuclear density'"):
        falsify(coarse, "nuclear densty", bundle, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="needs the model's reference"):
        falsify(coarse, "1 -> 2", bundle, rng=np.random.default_rng(0))
