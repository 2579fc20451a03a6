"""What training knows: means that are means, kinds that partition, a file that comes back and refuses strangers."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.errors import ModelError, StoreError
from wsigraph.explanation.fit_reference import TrainingSlide, gather_reference
from wsigraph.explanation.reference import REFERENCE_FILE, Reference, load_reference, save_reference
from wsigraph.explanation.target import Target
from wsigraph.explanation.tissue_clusters import cluster, cluster_labels, nearest
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.inputs import graph_input
from wsigraph.model.predict import predict
from wsigraph.store.header import Destination
from wsigraph.store.tensors import read_tensors, save_tensors
from wsigraph.synthesis.simulation.simulate import SimulatedPatient


def test_it_comes_back_as_it_went(reference: Reference, bundle: ModelBundle, tmp_path: Path) -> None:
    save_reference(reference, tmp_path)
    found = load_reference(tmp_path, bundle)
    assert found is not None
    for each in fields(reference):
        left, right = getattr(reference, each.name), getattr(found, each.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right)
    assert len(found.reference_id) == 16
    first = (tmp_path / REFERENCE_FILE).read_bytes()
    save_reference(found, tmp_path)
    assert (tmp_path / REFERENCE_FILE).read_bytes() == first
    assert load_reference(tmp_path / "elsewhere", bundle) is None


def test_another_models_reference_and_damage_are_met(reference: Reference, bundle: ModelBundle, tmp_path: Path) -> None:
    save_reference(replace(reference, weights_sha256="0" * 64), tmp_path)
    with pytest.raises(ModelError, match="belongs to weights 000000000000"):
        load_reference(tmp_path, bundle)
    path = save_reference(reference, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    with pytest.raises(StoreError, match="damaged"):
        load_reference(tmp_path, bundle)


def test_means_and_outputs_are_those_of_the_cohort(
    reference: Reference, bundle: ModelBundle, patients: list[SimulatedPatient]
) -> None:
    inputs = [graph_input(each.graph) for each in patients]
    features = np.concatenate([each.features for each in inputs])
    area = np.concatenate([each.area_um2 for each in inputs])
    np.testing.assert_allclose(reference.mean, np.average(features, axis=0, weights=area))
    np.testing.assert_allclose(reference.cluster_fraction @ reference.cluster_mean, reference.mean)
    assert reference.cluster_fraction.sum() == pytest.approx(1)
    first = predict_of(patients[0], bundle)
    assert reference.output_risk[0] == pytest.approx(first.risk, abs=1e-4)
    np.testing.assert_allclose(np.exp(reference.output_log_survival[0]), first.survival, atol=1e-5)
    assert reference.output_sd(Target("risk")) > 0
    assert 0 < reference.output_sd(Target("survival", 500.0)) < 1


def predict_of(patient: SimulatedPatient, bundle: ModelBundle):  # type: ignore[no-untyped-def]
    from tests.explanation.conftest import coarse_of

    return predict(coarse_of(patient), bundle)


def test_percentiles_are_ranks(reference: Reference, patients: list[SimulatedPatient]) -> None:
    features = graph_input(patients[0].graph).features
    found = reference.percentiles(features)
    everything = np.concatenate([graph_input(each.graph).features for each in patients])
    column = 0
    exact = (everything[:, column] < features[:1, column]).mean() * 100
    assert found[0, column] == pytest.approx(exact, abs=2)
    assert reference.percentiles(np.full((1, features.shape[1]), 1e9)).min() == 100
    assert reference.percentiles(np.full((1, features.shape[1]), -1e9)).max() == 0


def test_clusters_of_clear_groups_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [60, 30, 10])
    points = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])[truth] + 0.1 * rng.normal(size=(100, 2))
    centres = cluster(points, np.ones(100), 3, rng=rng)
    assert len(np.unique(nearest(points, centres)[truth == 1])) == 1
    assert np.bincount(nearest(points, centres)).tolist() == [60, 30, 10]
    names = cluster_labels(centres - centres.mean(axis=0), ["nuclear_density", "texture_entropy"])
    assert len(set(names)) == 3
    assert len(cluster(np.zeros((5, 2)), np.ones(5), 3, rng=rng)) == 1


def test_kaplan_meier_is_lifelines() -> None:
    rng = np.random.default_rng(1)
    time_days, event = rng.integers(1, 40, 80).astype(float), rng.random(80) < 0.6
    found = kaplan_meier(np.append(time_days, np.nan), np.append(event, True))
    fitted = KaplanMeierFitter().fit(time_days, event)
    table = fitted.survival_function_at_times(found.time_days).to_numpy()
    np.testing.assert_allclose(found.survival, table, atol=1e-12)
    band = fitted.confidence_interval_survival_function_.loc[found.time_days].to_numpy()
    inside = found.survival > 0
    np.testing.assert_allclose(found.low[inside], band[inside, 0], atol=1e-9)
    np.testing.assert_allclose(found.high[inside], band[inside, 1], atol=1e-9)
    assert (found.n_patients, found.n_events) == (80, int(event.sum()))
    assert len(kaplan_meier(time_days, np.zeros(80, bool)).time_days) == 0


def test_broad_kinds_divide_the_same_regions(reference: Reference) -> None:
    features = reference.region_feature.astype(np.float64)
    # features are kept in 12 bits, so that a region on a border may be laid to the other side
    assert (reference.broad_clusters(features) == reference.region_broad_cluster).mean() > 0.99
    assert (reference.clusters(features) == reference.region_cluster).mean() > 0.99
    assert len(reference.broad_cluster_names) == len(reference.broad_cluster_mean) == 2
    assert len(set(reference.broad_cluster_names)) == 2


def test_a_reference_without_broad_kinds_says_what_to_do(
    reference: Reference, bundle: ModelBundle, tmp_path: Path
) -> None:
    path = save_reference(reference, tmp_path)
    header, tensors, texts = read_tensors(path, "Reference")
    texts = {name: value for name, value in texts.items() if name != "broad_names"}
    save_tensors(Destination(path, header["inputs"]), "Reference", tensors, texts)
    with pytest.raises(ModelError, match=r"written by an earlier version.*wsigraph train"):
        load_reference(tmp_path, bundle)


def test_slides_of_very_many_regions_are_sampled(
    patients: list[SimulatedPatient], bundle: ModelBundle, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    slides = [TrainingSlide(graph=graph_input(each.graph), site=f"site {each.site}") for each in patients]
    monkeypatch.setattr("wsigraph.explanation.fit_reference._MAX_VALUES_PER_SLIDE", 20 * len(reference.mean))
    few = gather_reference(slides, bundle, rng=np.random.default_rng(0), n_clusters=3, n_broad_clusters=2)
    assert len(few.region_feature) == 20 * len(patients)
    np.testing.assert_array_equal(few.output_risk, reference.output_risk)
    np.testing.assert_allclose(few.edge_mean, reference.edge_mean)
    # a tenth of a standard deviation is what some 800 regions know of a mean
    assert np.abs(few.mean - reference.mean)[reference.scale > 0] / reference.scale[
        reference.scale > 0
    ] == pytest.approx(0, abs=0.15)


def test_no_slide_is_refused(bundle: ModelBundle) -> None:
    with pytest.raises(ModelError, match="there is no training slide"):
        gather_reference([], bundle, rng=np.random.default_rng(0))


def test_the_shipped_model_brings_its_reference() -> None:
    bundle = load_bundle(SHIPPED)
    reference = load_reference(SHIPPED, bundle)
    assert reference is not None
    assert (SHIPPED / REFERENCE_FILE).stat().st_size < 1_000_000
    assert len(reference.output_risk) == bundle.card.training.n_slides
    assert (len(reference.cluster_names), len(reference.broad_cluster_names)) == (8, 4)
    assert len(reference.site_names) == len(reference.site_mean) == 6
