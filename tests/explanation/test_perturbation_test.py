"""A claim that is supported and one that is not, on a model that reads one feature alone."""

from __future__ import annotations

import numpy as np
import pytest

from wsigraph.errors import ConfigError
from wsigraph.explanation.members import ExplainedMember
from wsigraph.explanation.perturbation_test import PerturbationResult, run_perturbation_test
from wsigraph.explanation.reference import Reference
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.model.bundle import ModelBundle
from wsigraph.records import CoarseGraph

USED, UNUSED = "nuclear_density", "circularity"


@pytest.fixture
def one_feature(monkeypatch: pytest.MonkeyPatch, bundle: ModelBundle) -> None:
    """Make the model read nuclear density alone: the truth of every claim is then known."""
    from wsigraph.explanation import perturbation_test as module
    from wsigraph.explanation.members import explained_members

    (member,) = explained_members(bundle)
    blind = np.ones(len(FEATURE_NAMES), np.bool_)
    blind[FEATURE_NAMES.index(USED)] = False
    member.network.embed.weight[:, blind] = 0.0
    monkeypatch.setattr(module, "explained_members", lambda *_: (member,))
    assert isinstance(member, ExplainedMember)


def test_a_feature_the_model_uses_is_supported_and_one_it_cannot_use_is_not(
    one_feature: None, coarse: CoarseGraph, bundle: ModelBundle, reference: Reference
) -> None:
    found = {
        claim: run_perturbation_test(coarse, claim, bundle, reference=reference, rng=np.random.default_rng(0))
        for claim in ("nuclear density", "nuclear density+2", "circularity", "circularity +3")
    }
    assert found["nuclear density"].change != 0
    assert found["nuclear density+2"].is_supported
    assert found["nuclear density"].low <= found["nuclear density"].change <= found["nuclear density"].high
    for claim in ("circularity", "circularity +3"):
        assert not found[claim].is_supported
        assert found[claim].change == pytest.approx(0.0, abs=1e-6)
    assert found["nuclear density+2"].sentence().startswith("The claim is supported: shifting nuclear density by +2")
    assert found["circularity"].sentence().startswith("The claim is not supported")


def test_one_cluster_replaced_by_another(coarse: CoarseGraph, bundle: ModelBundle, reference: Reference) -> None:
    def claim(text: str) -> PerturbationResult:
        return run_perturbation_test(coarse, text, bundle, reference=reference, rng=np.random.default_rng(0))

    moved = claim("1 -> 2")
    cluster = reference.clusters(graph_features(coarse))
    assert moved.n_regions == int((cluster == 0).sum())
    assert moved.change != 0
    assert claim(f"{reference.cluster_names[0]} -> {reference.cluster_names[1]}").change == moved.change
    with pytest.raises(ConfigError, match="tissue cluster 'blue' is unknown"):
        claim("blue -> 1")


def graph_features(coarse: CoarseGraph) -> np.ndarray:
    from wsigraph.model.inputs import graph_input

    return graph_input(coarse).features


def test_claims_that_name_nothing_are_refused(coarse: CoarseGraph, bundle: ModelBundle) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nuclear density'"):
        run_perturbation_test(coarse, "nuclear densty", bundle, rng=np.random.default_rng(0))
    with pytest.raises(ConfigError, match="needs the model's training reference"):
        run_perturbation_test(coarse, "1 -> 2", bundle, rng=np.random.default_rng(0))
