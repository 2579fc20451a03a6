"""What is told of a region is what the graph, the training cohort and the attributions say of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wsigraph.config import ExplanationConfig
from wsigraph.errors import ConfigError, ModelError
from wsigraph.explanation.ablation import ablation_order, predict_ablated
from wsigraph.explanation.explain import explain
from wsigraph.explanation.findings import gather_facts
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.region_facts import RegionDescriber
from wsigraph.geometry import crofton_um
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph, Explanation


@pytest.fixture(scope="module")
def explanation(coarse: CoarseGraph, bundle: ModelBundle, reference: Reference) -> Explanation:
    config = ExplanationConfig(steps=8, max_completeness_error=1.0, random_orders=0)
    return explain(coarse, coarse.graph, bundle, "risk", reference=reference, config=config)


def test_every_region_is_told_of(coarse: CoarseGraph, explanation: Explanation, reference: Reference) -> None:
    describe = RegionDescriber(coarse, explanation, reference)
    values, percentiles = interpret(coarse.graph).values, reference.percentiles(interpret(coarse.graph).values)
    for node in range(coarse.graph.n_nodes):
        told = json.loads(json.dumps(describe.region(node), allow_nan=False))
        assert [each["feature"] for each in told["features"]] == list(FEATURE_NAMES)
        assert [each["value"] for each in told["features"]] == values[node].tolist()
        assert [each["percentile"] for each in told["features"]] == percentiles[node].tolist()
        of_features = sum(each["attribution"] for each in told["features"])
        assert told["attribution"] == explanation.node[node]
        assert of_features == pytest.approx(explanation.feature[node].sum())


def test_neighbours_are_those_of_the_graph(coarse: CoarseGraph, explanation: Explanation) -> None:
    describe = RegionDescriber(coarse, explanation)
    graph = coarse.graph
    length = crofton_um(*graph.boundary.T, graph.mpp)
    met = 0
    for node in range(graph.n_nodes):
        told = describe.neighbours(node)
        own = graph.edge_index[0] == node
        assert {each["node"]: each["boundary_um"] for each in told} == dict(
            zip(graph.edge_index[1, own].tolist(), length[own].tolist(), strict=True)
        )
        assert [each["boundary_um"] for each in told] == sorted(length[own].tolist(), reverse=True)
        assert all(each["attribution"] == explanation.node[each["node"]] for each in told)
        met += len(told)
    assert met == graph.edge_index.shape[1]


def test_a_slide_that_is_not_explained_has_facts_too(coarse: CoarseGraph, reference: Reference) -> None:
    told = RegionDescriber(coarse, reference=reference).region(0)
    assert told["attribution"] is None
    assert told["cluster"] in reference.cluster_names
    assert told["features"][0]["percentile"] is not None
    bare = RegionDescriber(coarse)
    assert bare.region(0)["cluster"] is None
    assert bare.neighbours(0)[0]["fraction"] is None
    with pytest.raises(IndexError, match="expected 0 to"):
        bare.region(coarse.graph.n_nodes)
    with pytest.raises(IndexError, match="expected 0 to"):
        bare.neighbours(-1)


def test_facts_tell_the_same_of_top_regions(
    coarse: CoarseGraph, explanation: Explanation, bundle: ModelBundle, reference: Reference
) -> None:
    facts = gather_facts(explanation, coarse, predict(coarse, bundle), reference)
    describe = RegionDescriber(coarse, explanation, reference)
    for each in [*facts["regions"], *facts["against"]]:
        assert each == describe.region(each["node"], n_features=3)


def test_nothing_left_out_is_the_prediction(coarse: CoarseGraph, bundle: ModelBundle) -> None:
    left, right = predict_ablated(coarse, [], bundle), predict(coarse, bundle)
    assert left.risk == right.risk
    np.testing.assert_array_equal(left.stage_probability, right.stage_probability)


def test_leaving_out_is_a_graph_that_never_had_the_regions(
    coarse: CoarseGraph, bundle: ModelBundle, explanation: Explanation
) -> None:
    """The curve 'drop' of the explanation is the same function, worked out by other code."""
    curve = explanation.curves["drop"]
    order = ablation_order(explanation, coarse)
    area = coarse.graph.moment("n")[order].cumsum() / coarse.graph.moment("n").sum()
    ends = [predict_ablated(coarse, order[:k], bundle).risk for k in range(1, len(order))]
    at = np.interp(curve.area_fraction[1], area[:-1], np.array(ends, np.float64))
    assert at == pytest.approx(curve.output["attribution"][1], abs=0.02 * abs(explanation.output_sd or 1.0) + 1e-4)


def test_the_most_important_go_first(coarse: CoarseGraph, bundle: ModelBundle, explanation: Explanation) -> None:
    order = ablation_order(explanation, coarse)
    by_number = predict_ablated(coarse, 3, bundle, explanation=explanation)
    by_name = predict_ablated(coarse, order[:3], bundle)
    assert by_number.risk == by_name.risk
    assert predict_ablated(coarse, 0, bundle, explanation=explanation).risk == predict(coarse, bundle).risk
    with pytest.raises(ConfigError, match="expected a number of at least 0"):
        predict_ablated(coarse, 3, bundle)


def test_one_region_stays_and_unknown_ones_are_refused(coarse: CoarseGraph, bundle: ModelBundle) -> None:
    n_nodes = coarse.graph.n_nodes
    largest = int(np.argmax(coarse.graph.moment("n")))
    others = [node for node in range(n_nodes) if node != largest]
    assert predict_ablated(coarse, range(n_nodes), bundle).risk == predict_ablated(coarse, others, bundle).risk
    with pytest.raises(ModelError, match="expected numbers from 0 to"):
        predict_ablated(coarse, [n_nodes], bundle)
