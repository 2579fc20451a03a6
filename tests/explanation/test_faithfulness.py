"""Orders are tested by what they do: closed forms on an output that is known, and donors that match."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsigraph.explanation.aggregate import find_neighbourhoods, rank_correlation, to_superpixels
from wsigraph.explanation.faithfulness import (
    AREA_FRACTIONS,
    MATCH_AREA,
    draw_curves,
    dropping,
    find_donors,
    order_by,
    replacing,
)
from wsigraph.explanation.members import explained_members
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def raw(coarse: CoarseGraph) -> GraphInput:
    return graph_input(coarse)


def test_the_right_order_beats_all_others_on_a_sum() -> None:
    rng = RNG(0)
    weight, area = rng.normal(size=60), rng.uniform(0.5, 2, 60)
    value = float(weight.sum())
    curves = draw_curves(
        lambda taken: value - taken @ weight,
        {"attribution": order_by(weight / area, np.sign(value)), "area": order_by(area)},
        area,
        value=value,
        towards=0.0,
        sign=float(np.sign(value)),
        unit=1.0,
        n_random=50,
        rng=rng,
    )
    assert curves.random_beaten == 1.0
    assert curves.gain["attribution"] > curves.gain["area"]
    assert curves.output["attribution"][0] == value
    assert curves.area_fraction.tolist() == list(AREA_FRACTIONS)
    assert (curves.output["random_p5"] <= curves.output["random_p95"]).all()


def test_equal_regions_give_the_exact_curve() -> None:
    weight = np.arange(100, dtype=np.float64)[::-1]
    curves = draw_curves(
        lambda taken: weight.sum() - taken @ weight,
        {"attribution": np.arange(100)},
        np.ones(100),
        value=float(weight.sum()),
        towards=0.0,
        sign=1.0,
        unit=1.0,
        n_random=0,
        rng=RNG(0),
    )
    expected = [weight[round(100 * share) :].sum() for share in AREA_FRACTIONS]
    np.testing.assert_allclose(curves.output["attribution"], expected)


def test_taking_nothing_changes_nothing(bundle: ModelBundle, raw: GraphInput, coarse: CoarseGraph) -> None:
    networks = explained_members(bundle)
    nothing = np.zeros((1, len(raw.features)), np.bool_)
    known = predict(coarse, bundle).risk
    for outputs in (
        dropping(networks, Target("risk"), raw),
        replacing(networks, Target("risk"), raw, np.zeros_like(raw.features)),
    ):
        assert outputs(nothing)[0] == pytest.approx(known, abs=1e-5)


def test_dropping_is_a_smaller_graph(bundle: ModelBundle, raw: GraphInput) -> None:
    taken = RNG(1).random((3, len(raw.features))) < 0.4
    networks = explained_members(bundle)
    found = dropping(networks, Target("risk"), raw)(taken)
    for row, gone in enumerate(taken):
        kept = np.flatnonzero(~gone)
        number = np.full(len(gone), -1)
        number[kept] = np.arange(len(kept))
        edges = ~gone[raw.edge_index].any(axis=0)
        alone = replace(
            raw,
            features=raw.features[kept],
            area_um2=raw.area_um2[kept],
            edge_index=number[raw.edge_index[:, edges]],
            edge_attribute=raw.edge_attribute[edges],
        )
        nothing = np.zeros((1, len(kept)), np.bool_)
        assert dropping(networks, Target("risk"), alone)(nothing)[0] == pytest.approx(found[row], abs=1e-4)
    assert np.isfinite(dropping(networks, Target("risk"), raw)(np.ones_like(taken))).all()


def test_replacing_all_is_another_slide(bundle: ModelBundle, raw: GraphInput) -> None:
    networks = explained_members(bundle)
    other = raw.features[RNG(2).permutation(len(raw.features))]
    everything = np.ones((1, len(raw.features)), np.bool_)
    found = replacing(networks, Target("stage"), raw, other, threads=2)(everything)
    swapped = replacing(networks, Target("stage"), replace(raw, features=other), raw.features)(~everything)
    assert found[0] == pytest.approx(swapped[0], abs=1e-5)


@pytest.mark.parametrize("division", ["narrow", "broad"])
def test_donors_are_of_the_kind_and_the_size(raw: GraphInput, reference: Reference, division: str) -> None:
    of = reference.clusters if division == "narrow" else reference.broad_clusters
    among = reference.region_cluster if division == "narrow" else reference.region_broad_cluster
    kind = of(raw.features)
    donors = find_donors(raw, kind, reference, among=among, rng=RNG(0))
    again = find_donors(raw, kind, reference, among=among, rng=RNG(0))
    np.testing.assert_array_equal(donors.feature, again.feature)
    np.testing.assert_array_equal(of(donors.feature), kind)
    known = {row.tobytes(): area for row, area in zip(reference.region_feature, reference.region_area_um2, strict=True)}
    for node in np.flatnonzero(donors.is_matched):
        area = known[donors.feature[node].astype(np.float32).tobytes()]
        assert abs(area / raw.area_um2[node] - 1) <= MATCH_AREA + 1e-6
    assert donors.is_matched.mean() > 0.9
    huge = replace(raw, area_um2=raw.area_um2 * 1e4)
    assert not find_donors(huge, kind, reference, among=among, rng=RNG(0)).is_matched.any()


def test_superpixels_share_their_regions_attribution() -> None:
    node = np.array([3.0, -1.0])
    shared = to_superpixels(node, np.array([0, 0, 1]), np.array([1, 2, 5]))
    assert shared.tolist() == [1.0, 2.0, -1.0]


def test_neighbourhoods_are_patches_of_one_kind() -> None:
    #  0 - 1 - 2 - 3 - 4   kinds a a b a a
    edges = np.array([[0, 1, 1, 2, 2, 3, 3, 4], [1, 0, 2, 1, 3, 2, 4, 3]])
    assert find_neighbourhoods(np.array([0, 0, 1, 0, 0]), edges).tolist() == [0, 0, 1, 2, 2]
    assert find_neighbourhoods(np.array([0, 0]), np.zeros((2, 0), np.int64)).tolist() == [0, 1]


def test_rank_correlation_is_scipys() -> None:
    from scipy.stats import spearmanr

    rng = RNG(3)
    a, b = rng.integers(0, 10, 50).astype(float), rng.normal(size=50)
    assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(a, np.zeros(50)) == 0.0
