"""A network that starts at stacked ridges: what they read, what they may not see, what the bundle carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsigraph.config import ModelConfig
from wsigraph.errors import ConfigError
from wsigraph.explanation.gradients import Precision, integrate
from wsigraph.explanation.members import explained_members
from wsigraph.explanation.reference_input import ReferenceInput
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import load_bundle, save_bundle
from wsigraph.model.inputs import GraphInput, Scaler
from wsigraph.model.nn.linear_offset import LinearStart, check_start
from wsigraph.model.nn.network import collate
from wsigraph.model.predict import predict
from wsigraph.training.dataset import Cohort, Example, collect, validation_patients
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.evaluation.baselines import Question, clinical_and_image, image_risk
from wsigraph.training.evaluation.pooled import edge_products, means_and_spreads
from wsigraph.training.fit import fit
from wsigraph.training.stacking import columns_of, fit_start, left_out_folds, stacking_weights, start_of

from .conftest import ABOUT


@pytest.fixture(scope="module")
def config(tiny_config: ModelConfig) -> ModelConfig:
    return tiny_config.model_copy(update={"survival_head": "cox", "linear_start": True, "epochs": 3})


@pytest.fixture(scope="module")
def cohort(examples: list[Example], config: ModelConfig) -> Cohort:
    return collect(examples, config.stage_names)


@pytest.fixture(scope="module")
def scaler(cohort: Cohort) -> Scaler:
    return Scaler.fit(cohort.inputs)


@pytest.fixture(scope="module")
def started(cohort: Cohort, scaler: Scaler) -> tuple[LinearStart, np.ndarray]:
    start = LinearStart(scaler.n_features)
    return start, fit_start(start, cohort, np.arange(cohort.n_rows), scaler, seed=1)


@pytest.fixture(scope="module")
def ensemble(cohort: Cohort, config: ModelConfig) -> Ensemble:
    return train_folds(cohort, np.arange(cohort.n_rows) % 2, [config], seed=1, about=ABOUT)


def test_it_reads_what_the_pooled_rivals_read(
    started: tuple[LinearStart, np.ndarray], cohort: Cohort, scaler: Scaler
) -> None:
    """The rivals' tables in numpy, of features in the network's units, are the columns in torch."""
    graphs = [scaler.standardise(each) for each in cohort.inputs]
    start, n_pooled = started[0], 2 * scaler.n_features
    found = columns_of(start, graphs)
    scaled = [
        replace(each, features=graph.features.astype(np.float64))
        for each, graph in zip(cohort.inputs, graphs, strict=True)
    ]
    pooled = means_and_spreads(replace(cohort, inputs=scaled))
    # a spread is never 0 here, so that it has a gradient
    pooled[:, scaler.n_features :] = np.sqrt(pooled[:, scaler.n_features :] ** 2 + 1e-6)
    # in single precision a mean over n regions errs by n + 2 roundings of 2^-24, a spread by twice as many
    n_regions = max(len(each.features) for each in graphs)
    size = max(np.abs(each.features).max() for each in graphs)
    np.testing.assert_allclose(found[:, :n_pooled], pooled, rtol=0, atol=2 * (n_regions + 2) * 2**-24 * size)
    products = edge_products(cohort, np.arange(cohort.n_rows))
    # an axis has no sign of its own; single precision
    np.testing.assert_allclose(np.abs(found[:, n_pooled:]), np.abs(products), atol=2e-3)


def test_graphs_together_are_graphs_alone_and_regions_have_no_order(
    started: tuple[LinearStart, np.ndarray], cohort: Cohort, scaler: Scaler
) -> None:
    start = started[0]
    graphs = [scaler.standardise(each) for each in cohort.inputs[:4]]
    together = start_of(start, graphs)
    # in single precision: sums over regions or edges, then over columns, of terms as large as these; roundings go up
    # and down, and 6 standard deviations of them are never exceeded
    n_terms = max(len(each.features) + len(each.edge_attribute) for each in graphs) + len(start.weight)
    size = np.abs((columns_of(start, graphs) - start.centre.numpy()) / start.spread.numpy() * start.weight.numpy())
    rounding = 6 * np.sqrt(n_terms) * 2**-24 * size.sum(axis=1).max()
    np.testing.assert_allclose(together, [start_of(start, [each])[0] for each in graphs], rtol=0, atol=rounding)
    raw = cohort.inputs[0]
    order = np.random.default_rng(0).permutation(len(raw.features))
    turned = GraphInput(
        features=raw.features[order],
        area_um2=raw.area_um2[order],
        edge_index=np.argsort(order)[raw.edge_index],
        edge_attribute=raw.edge_attribute,
    )
    assert start_of(start, [scaler.standardise(turned)])[0] == pytest.approx(together[0], rel=0, abs=rounding)


def test_one_region_without_edges_has_an_answer_and_a_gradient(
    started: tuple[LinearStart, np.ndarray], cohort: Cohort, scaler: Scaler
) -> None:
    raw = cohort.inputs[0].without(np.arange(1, len(cohort.inputs[0].features)))
    batch = collate([scaler.standardise(raw)])
    features = batch.features.clone().requires_grad_()
    told = started[0](features, batch.edge_index, batch.edge_attribute, batch.area, batch.batch, 1)
    told.sum().backward()
    assert torch.isfinite(told).all()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    assert (features.grad != 0).any()


def test_outcomes_of_other_rows_are_not_looked_at(cohort: Cohort, scaler: Scaler) -> None:
    rows, others = np.arange(16), np.arange(16, cohort.n_rows)
    days = cohort.time_days.copy()
    days[others] *= 7.0
    inputs = [*cohort.inputs[:16], *(replace(each, features=-each.features) for each in cohort.inputs[16:])]
    for changed in (replace(cohort, time_days=days, event=~cohort.event & (np.arange(len(days)) >= 16) | cohort.event),
                    replace(cohort, inputs=inputs)):  # fmt: skip
        one, other = LinearStart(scaler.n_features), LinearStart(scaler.n_features)
        first = fit_start(one, cohort, rows, scaler, seed=1)
        assert fit_start(other, changed, rows, scaler, seed=1).tobytes() == first.tobytes()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_row_has_no_say_in_what_left_out_fits_say_of_it(cohort: Cohort, scaler: Scaler) -> None:
    """Fits to all rows know each row's outcome, those that left it out do not: chance stays chance."""
    rng = np.random.default_rng(2)
    n = 120
    noise = rng.normal(size=(n, 1, 60)).cumsum(axis=0)[rng.permutation(n)]
    raw = [replace(cohort.inputs[0].without(np.arange(1, len(cohort.inputs[0].features))), features=x) for x in noise]
    random = Cohort(
        **{
            **{name: getattr(cohort, name) for name in ("moment_id", "feature_id", "embedding_id")},
            "inputs": raw,
            "patient": np.array([f"p{k}" for k in range(n)]),
            "site": np.array(["s"] * n),
            "slides": ((),) * n,
            "covariates": ({},) * n,
            "stain": np.zeros((n, 8)),
            "stage": np.full(n, -1),
            "time_days": rng.exponential(1000.0, n) + 1.0,
            "event": np.ones(n, bool),
            "feature_names": tuple(f"x{k}" for k in range(60)),
        }
    )
    units = Scaler.fit(raw)
    start = LinearStart(60)
    left_out = fit_start(start, random, np.arange(n), units, seed=0)
    whole = start_of(start, [units.standardise(each) for each in raw])
    longer = random.time_days > np.median(random.time_days)
    # fitted to the outcome itself where anything was fitted at all; left out, a correlation of chance (3 / sqrt n)
    assert abs(np.corrcoef(left_out, longer)[0, 1]) < 0.28 or left_out.std() == 0
    assert whole.std() == 0 or np.corrcoef(whole, longer)[0, 1] < np.corrcoef(left_out, longer)[0, 1]


def test_whole_sites_are_left_out_where_there_are_enough(cohort: Cohort) -> None:
    rows = np.arange(cohort.n_rows)

    def torn(site: np.ndarray, patient: np.ndarray = cohort.patient) -> bool:
        fold = left_out_folds(replace(cohort, site=site, patient=patient), rows, seed=1)
        assert set(fold.tolist()) == {0, 1, 2}
        assert all(len(set(fold[patient == name])) == 1 for name in patient)
        return any(len(set(fold[site == name])) > 1 for name in site)

    named = np.array([f"s{row % 8}" for row in rows])
    assert not torn(named)
    assert torn(np.array([f"s{row % 5}" for row in rows]))
    assert torn(np.where(rows == 3, "", named))
    # a patient at two sites belongs to neither
    assert torn(named, np.array([f"p{row // 2}" for row in rows]))
    few = left_out_folds(cohort, rows[:5], seed=1)
    assert (few == 0).all()


def test_what_says_nothing_counts_for_nothing() -> None:
    rng = np.random.default_rng(1)
    risk, other = rng.normal(size=(2, 300))
    days, event = rng.exponential(np.exp(-risk)), np.ones(300, bool)
    assert stacking_weights(risk[:, None], days, event) == pytest.approx([1.0], abs=0.15)
    # what would count negatively is left out, and the other is weighed as if it were alone
    against = rng.exponential(np.exp(other - risk))
    both = stacking_weights(np.stack([risk, other], axis=1), against, event)
    assert both.tolist() == [stacking_weights(risk[:, None], against, event)[0], 0]
    assert (stacking_weights(-risk[:, None], days, event) == 0).all()
    assert (stacking_weights(np.zeros((300, 2)), days, event) == 0).all()
    days[0] = np.nan
    assert np.isfinite(stacking_weights(risk[:, None], days, event)).all()


def test_a_network_that_has_learned_nothing_says_what_the_start_says(
    cohort: Cohort, config: ModelConfig, started: tuple[LinearStart, np.ndarray]
) -> None:
    rows = np.arange(cohort.n_rows)
    still = config.model_copy(update={"epochs": 1, "learning_rate": 1e-12, "task": "survival"})
    member = fit(cohort, rows, still, seed=1).member
    ready = member.network().start
    assert ready is not None
    own = start_of(ready, [member.scaler.standardise(each) for each in cohort.inputs])
    risk = image_risk(member, cohort)
    np.testing.assert_allclose(risk - risk.mean(), own - own.mean(), atol=1e-4)
    assert own.std() > 0.05


def test_the_bundle_carries_it(ensemble: Ensemble, examples: list[Example], tmp_path: Path) -> None:
    save_bundle(ensemble.bundle, tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.model_id == ensemble.bundle.model_id
    assert bundle.card.config.linear_start
    one, two = predict(examples[0].graph, bundle), predict(examples[0].graph, ensemble.bundle)
    assert one.risk == two.risk
    starts = [member.network().start for member in bundle.members]
    assert all(start is not None and (start.weight != 0).any() for start in starts)
    # the patient's own answer is by the member, and by the ridges, that never saw them
    asked = np.arange(0, len(examples), 2)
    read = image_risk(bundle.members[0], collect([examples[row] for row in asked], bundle.card.stage_names))
    np.testing.assert_allclose(read, ensemble.held_out.risk[asked], atol=1e-6)


def test_a_resumed_fit_gives_the_same_bytes(cohort: Cohort, config: ModelConfig, tmp_path: Path) -> None:
    def stop(_: str, done: int, __: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    rows, path = np.arange(cohort.n_rows), tmp_path / "c.safetensors"
    whole = fit(cohort, rows, config, seed=2)
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, rows, config, seed=2, checkpoint=path, progress=stop)
    again = fit(cohort, rows, config, seed=2, checkpoint=path)
    for name, value in whole.member.arrays.items():
        assert again.member.arrays[name].tobytes() == value.tobytes()


def test_attributions_of_a_mean_are_its_weight_times_the_difference(ensemble: Ensemble, cohort: Cohort) -> None:
    """Only the mean of one feature counts: Integrated Gradients give each region its share of the difference."""
    (own,) = explained_members(ensemble.bundle)[:1]
    head, start = own.network.hazard, own.network.start
    assert start is not None
    assert head is not None
    with torch.no_grad():
        head.score.weight.zero_()  # type: ignore[union-attr]
        start.weight.zero_()
        start.weight[3] = 0.5
    raw = cohort.inputs[0]
    path = ReferenceInput(name="site", reference_input_id="x", paths=((replace(raw, features=0.5 * raw.features),),))
    found = integrate([own], [Target("risk")], raw, path, Precision(n_steps=8))[0]
    here, there = (own.scaled(each) for each in (raw, path.paths[0][0]))
    expected = 0.5 / float(start.spread[3]) * here.area * (here.features - there.features)[:, 3]
    np.testing.assert_allclose(found.feature[:, 3], expected, atol=1e-5)
    assert np.abs(np.delete(found.feature, 3, axis=1)).max() < 1e-6
    assert found.completeness_error < 1e-4


def test_attributions_of_the_whole_start_add_up(ensemble: Ensemble, cohort: Cohort) -> None:
    networks = explained_members(ensemble.bundle)
    raw = cohort.inputs[1]
    # every region at the slide's mean: spreads are 0 there
    mean = np.broadcast_to(raw.features.mean(axis=0), raw.features.shape)
    path = ReferenceInput(name="site", reference_input_id="x", paths=((replace(raw, features=mean),),))
    found = integrate(networks, [Target("risk")], raw, path, Precision(n_steps=50, max_steps=800))[0]
    assert np.isfinite(found.feature).all()
    assert found.completeness_error <= 0.01 * max(abs(found.value - found.reference_value), 1e-3)


def test_the_clinical_rival_weighs_the_image_by_ridges_that_left_its_patients_out(
    ensemble: Ensemble, cohort: Cohort, config: ModelConfig
) -> None:
    fold = np.arange(cohort.n_rows) % 2
    aged = replace(cohort, covariates=tuple({"age": str(40 + k)} for k in range(cohort.n_rows)))
    question = Question(cohort=aged, fold=fold, config=config, seed=1)
    validation = []
    for number in (0, 1):
        rows = np.flatnonzero(fold != number)
        rng = np.random.default_rng(1 + number)
        share = config.validation_fraction
        validation.append(validation_patients(cohort.patient[rows], cohort.event[rows], share, rng=rng))
    found = clinical_and_image(question, ensemble.bundle.members, validation)
    assert np.isfinite(found.risk).all()
    # what the rival fits again, to ask it for patients left out, is what the member starts at
    member = ensemble.bundle.members[1]
    again, ready = LinearStart(member.scaler.n_features), member.network().start
    left_out = fit_start(again, cohort, np.flatnonzero(fold != 1), member.scaler, seed=1 + 1)
    assert ready is not None
    assert all(torch.equal(value, ready.state_dict()[name]) for name, value in again.state_dict().items())
    own = start_of(ready, [member.scaler.standardise(cohort.inputs[row]) for row in np.flatnonzero(fold != 1)])
    assert np.abs(left_out - own).max() > 0.05


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"survival_head": "hazard"}, "survival_head 'hazard'"),
        ({"task": "stage"}, "task 'stage'"),
        ({"train_coarsening": True}, r"model\.train_coarsening"),
    ],
)
def test_settings_without_a_place_for_a_start_are_refused(
    config: ModelConfig, cohort: Cohort, changes: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        fit(cohort, np.arange(cohort.n_rows), config.model_copy(update=changes), seed=1)
    check_start(config.model_copy(update={**changes, "linear_start": False}))
