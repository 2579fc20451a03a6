"""The default model: a fixed offset, and a correction that has to be earned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from wsigraph.config import Config, ModelConfig
from wsigraph.errors import ConfigError, ModelError
from wsigraph.model.bundle import Calibration, ModelBundle, load_bundle, pack, save_bundle
from wsigraph.model.card import Card
from wsigraph.model.nn.corrected_network import CorrectedNetwork, NetworkCounts
from wsigraph.model.nn.network import disjoint_union
from wsigraph.synthesis.simulation.hospital import HospitalDesign, sample_hospital_cohort
from wsigraph.training.cox_ridge import cox_ridge
from wsigraph.training.dataset import Cohort
from wsigraph.training.earned_fraction import FRACTIONS, cox_losses, earn_fraction, stage_losses
from wsigraph.training.fit import Fitted, fit
from wsigraph.training.inner_parts import InnerParts, inner_parts
from wsigraph.training.make_card import make_card
from wsigraph.training.read_offset import offset_parts, out_of_part_ratio
from wsigraph.training.train import About

ABOUT = About(name="t", description="-", notice="-", licence="-", data="-", simulated=True)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    """A small cohort of 100 patients with few columns."""
    whole = sample_hospital_cohort(HospitalDesign(n_columns=12, n_latent=6), seed=4).cohort
    return whole.take(np.arange(100))


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    tiny = {"layers": 1, "heads": 2, "channels": 4, "correction_epochs": 2, "time_intervals": 4}
    return Config().model.model_copy(update=tiny)


@pytest.fixture(scope="module")
def fitted(cohort: Cohort, config: ModelConfig) -> Fitted:
    """The correction in full, so that all parts of the module have networks."""
    return fit(cohort, np.arange(80), config.model_copy(update={"design": "full"}), seed=1)


def parts_of(n: int, kind: str = "patient") -> InnerParts:
    return InnerParts(part=np.arange(n) % 2, unit=np.arange(n), kind=kind)


def test_a_correction_counts_from_two_standard_errors_of_its_gain() -> None:
    rng = np.random.default_rng(0)
    gains = rng.standard_normal(50)
    gains = (gains - gains.mean()) / gains.std(ddof=1)
    base = np.full(50, 5.0)
    error = np.sqrt(50)  # of the sum of 50 gains of standard deviation 1
    for n_errors, expected in ((1.9, 0.0), (2.1, 1.0)):
        losses = np.tile(base, (1, len(FRACTIONS), 1))
        losses[0, -1] -= gains + n_errors * error / 50
        earned = earn_fraction(base, losses, parts_of(50))
        assert earned.fraction == expected
        assert earned.best_fraction == 1.0
        assert earned.standard_error == pytest.approx(error)
        assert earned.gain == pytest.approx(n_errors * error)


def test_gains_of_one_site_count_once() -> None:
    base, losses = np.zeros(40), np.zeros((1, len(FRACTIONS), 40))
    losses[0, -1, :20] = -1.0
    few = InnerParts(part=np.arange(40) % 2, unit=np.arange(40) // 20, kind="site")
    by_site = earn_fraction(base, losses, few)
    assert by_site.fraction == 0.0
    assert by_site.gain == pytest.approx(20.0)
    assert earn_fraction(base, losses, parts_of(40)).fraction == 1.0


def test_cox_losses_sum_to_the_partial_likelihood_and_know_no_other_part() -> None:
    rng = np.random.default_rng(1)
    time, event, risk = rng.permutation(30) + 1.0, rng.random(30) < 0.6, rng.standard_normal(30)
    part = np.arange(30) % 3
    losses = cox_losses(risk, time, event, part)
    expected = 0.0
    for row in np.flatnonzero(event):
        at_risk = (part == part[row]) & (time >= time[row])
        expected += np.log(np.exp(risk[at_risk]).sum()) - risk[row]
    assert losses.sum() == pytest.approx(expected, rel=1e-12)
    moved = cox_losses(risk + 7.0 * part, time, event, part)
    np.testing.assert_allclose(moved, losses, atol=1e-12)
    assert not cox_losses(risk, np.full(30, np.nan), event, part).any()


def test_stage_losses_are_log_probabilities_of_known_stages() -> None:
    logits = np.array([[1.0, -1.0], [0.0, -2.0]])
    own = stage_losses(logits, np.array([1, -1]))
    p = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(own, [-np.log(p - (1 - p)), 0.0])


def test_parts_keep_whole_sites_from_six_on_and_patients_below(cohort: Cohort) -> None:
    rows = np.arange(cohort.n_rows)
    six = replace(cohort, site=np.array([f"s{row % 7}" for row in rows]))
    parts = inner_parts(six, rows, seed=1)
    assert (parts.kind, parts.n_units, parts.n_parts) == ("site", 7, 4)
    assert all(len(np.unique(parts.part[six.site == site])) == 1 for site in np.unique(six.site))
    five = replace(cohort, site=np.array([f"s{row % 5}" for row in rows]))
    assert inner_parts(five, rows, seed=1).kind == "patient"
    two = inner_parts(cohort, rows[:2], seed=1)
    assert two.n_parts == 1


def test_the_offset_of_means_is_the_cox_ridge_of_penalty_1(cohort: Cohort, fitted: Fitted) -> None:
    member, rows = fitted.member, np.arange(80)
    graphs = [member.scaler.standardise(graph) for graph in cohort.inputs]
    means = np.array([graph.area @ graph.features for graph in graphs], np.float64)
    centre, std = means[rows].mean(axis=0), means[rows].std(axis=0)
    z = (means - centre) / std
    beta = cox_ridge(z[rows], cohort.time_days[rows], cohort.event[rows], 1.0)
    own = offset_parts(member, cohort.inputs)["means"]
    assert np.corrcoef(own, z @ beta)[0, 1] > 0.99999


def test_parts_of_the_risk_add_up_and_the_stage_logits_stay_ordered(cohort: Cohort, fitted: Fitted) -> None:
    member = fitted.member
    composition, arrangement = member.read_parts(cohort.inputs)
    stage, hazard = member.read(cohort.inputs)
    cumulative = np.logaddexp(0.0, hazard)[:, 0]  # -log survival of the first interval
    ratio = np.log(cumulative) - np.log(cumulative).mean()
    total = composition + arrangement
    np.testing.assert_allclose(ratio, total - total.mean(), atol=1e-4)
    assert arrangement.std() > 0
    assert (np.diff(stage, axis=1) < 0).all()


def test_the_offset_alone_is_the_sum_without_a_correction(cohort: Cohort, config: ModelConfig, fitted: Fitted) -> None:
    alone = fit(cohort, np.arange(80), config.model_copy(update={"design": "offset"}), seed=1)
    composition, arrangement = alone.member.read_parts(cohort.inputs)
    assert not arrangement.any()
    assert not len(alone.history)
    np.testing.assert_allclose(composition, fitted.member.read_parts(cohort.inputs)[0], atol=1e-6)


def test_the_stage_offset_alone_has_no_further_temperature(cohort: Cohort, config: ModelConfig, fitted: Fitted) -> None:
    # a temperature is one more slope without a prior; with it folds of a dozen patients are on different scales
    alone = fit(cohort, np.arange(80), config.model_copy(update={"design": "offset"}), seed=1)
    assert alone.member.temperature == 1.0
    assert fitted.member.temperature != 1.0


def test_no_row_outside_the_fold_is_used(cohort: Cohort, config: ModelConfig, fitted: Fitted) -> None:
    changed = replace(cohort, time_days=cohort.time_days.copy(), event=cohort.event.copy(), stage=cohort.stage.copy())
    changed.time_days[80:], changed.event[80:], changed.stage[80:] = 3.0, True, 0
    again = fit(changed, np.arange(80), config.model_copy(update={"design": "full"}), seed=1)
    assert {name: value.tobytes() for name, value in again.member.arrays.items()} == {
        name: value.tobytes() for name, value in fitted.member.arrays.items()
    }


def test_noise_earns_nothing(cohort: Cohort, config: ModelConfig) -> None:
    rng = np.random.default_rng(3)
    shuffled = rng.permutation(cohort.n_rows)
    null = replace(
        cohort,
        time_days=cohort.time_days[shuffled],
        event=cohort.event[shuffled],
        stage=cohort.stage[rng.permutation(cohort.n_rows)],
    )
    correction = fit(null, np.arange(100), config, seed=2).correction
    assert correction is not None
    assert (correction.survival_fraction, correction.stage_fraction) == (0.0, 0.0)


def test_a_killed_fit_continues_with_the_networks_that_were_finished(
    cohort: Cohort, config: ModelConfig, fitted: Fitted, tmp_path: Path
) -> None:
    full = config.model_copy(update={"design": "full"})

    def kill(_: str, done: int, __: int) -> None:
        if done > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(cohort, np.arange(80), full, seed=1, checkpoint=tmp_path / "fold0.safetensors", progress=kill)
    assert len(list(tmp_path.glob("*attention*"))) == 4
    assert len(list(tmp_path.glob("*correction*"))) == 2
    again = fit(cohort, np.arange(80), full, seed=1, checkpoint=tmp_path / "fold0.safetensors")
    assert again.member.arrays.keys() == fitted.member.arrays.keys()
    for name, value in again.member.arrays.items():
        assert value.tobytes() == fitted.member.arrays[name].tobytes(), name
    other = full.model_copy(update={"layers": 2})
    with pytest.raises(ModelError, match=r"model\.layers"):
        fit(cohort, np.arange(80), other, seed=1, checkpoint=tmp_path / "fold0.safetensors")


def test_a_bundle_holds_offset_and_correction(
    cohort: Cohort, config: ModelConfig, fitted: Fitted, tmp_path: Path
) -> None:
    full = config.model_copy(update={"design": "full"})
    weights = pack([fitted.member], Calibration.none())
    card = make_card(cohort, None, [fitted], about=ABOUT, seed=1, config=full, weights=weights)
    save_bundle(ModelBundle(card=card, weights=weights), tmp_path)
    assert Card.model_validate_json((tmp_path / "card.json").read_text()).members[0].correction == fitted.correction
    # schemas of real graphs are checked on loading; a cohort of bags has none
    member = ModelBundle(card=card, weights=weights).members[0]
    for own, stored in zip(fitted.member.read(cohort.inputs), member.read(cohort.inputs), strict=True):
        np.testing.assert_array_equal(own, stored)


def test_a_shipped_bundle_of_the_version_before_is_a_network_alone() -> None:
    shipped = load_bundle(Path(__file__).parents[2] / "wsigraph" / "model" / "shipped")
    assert shipped.card.config.design == "network"
    assert shipped.members[0].config.design == "network"
    assert b'"design"' not in shipped.card.document()


def test_attributions_reach_composition_and_arrangement(cohort: Cohort, fitted: Fitted) -> None:
    network = fitted.member.network()
    assert isinstance(network, CorrectedNetwork)
    graph = disjoint_union([fitted.member.scaler.standardise(cohort.inputs[0])])
    gradients = []
    for name in ("composition", "arrangement", "sum"):
        x = graph.x.clone().requires_grad_()
        parts = network.parts(x, *graph[1:])
        value = parts.composition + parts.arrangement if name == "sum" else getattr(parts, name)
        value.sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2], rtol=1e-4, atol=1e-6)
    weights = network.pooling_weights(*graph)
    assert float(weights.detach().sum()) == pytest.approx(1.0, abs=1e-5)


def test_a_members_own_patients_are_predicted_without_their_part(cohort: Cohort, fitted: Fitted) -> None:
    rows = np.arange(80)
    left_out = out_of_part_ratio(fitted.member, cohort, rows, seed=1)
    whole = np.sum(fitted.member.read_parts([cohort.inputs[row] for row in rows]), axis=0)
    known = (cohort.time_days[rows], cohort.event[rows], np.zeros(80, np.int64))
    assert cox_losses(left_out, *known).sum() > cox_losses(whole, *known).sum()


def test_an_encoders_columns_enter_the_ridges_whole(cohort: Cohort, config: ModelConfig) -> None:
    narrow = config.model_copy(update={"encoding_dimensions": 5, "design": "full", "inputs": "encoding"})
    wide = replace(cohort, columns=replace(cohort.columns, inputs="encoding", encoder="stub"))
    member = fit(wide, np.arange(80), narrow, seed=1).member
    assert member.arrays["projection"].shape == (12, 5)
    assert member.arrays["survival_networks.0.embed.weight"].shape[1] == 5
    assert (member.arrays["offset.weight"][:12] != 0).all()
    assert np.isfinite(member.read(wide.inputs)[1]).all()


@pytest.mark.parametrize(
    "changes", [{"train_coarsening": True}, {"linear_offset": True}, {"survival_head": "a_plugin"}], ids=str
)
def test_settings_of_a_network_alone_are_refused(
    cohort: Cohort, config: ModelConfig, changes: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=r"model\.design=network"):
        fit(cohort, np.arange(80), config.model_copy(update=changes), seed=1)


def test_the_counts_of_networks_follow_from_the_names_of_weights() -> None:
    names = ["attention.0.a", "attention.3.b", "stage_networks.1.embed.weight", "offset.weight"]
    assert NetworkCounts.of(names) == NetworkCounts(attention=4, survival_networks=0, stage_networks=2)


@pytest.mark.parametrize(("task", "fractions"), [("stage", (0.0, 1.0)), ("survival", (1.0, 0.0))])
def test_a_correction_in_full_is_that_of_the_task(
    cohort: Cohort, config: ModelConfig, task: str, fractions: tuple[float, float]
) -> None:
    """With one task the other head has no networks, so that there is nothing to set to a fraction of 1."""
    one = fit(cohort, np.arange(40), config.model_copy(update={"design": "full", "task": task}), seed=1)
    assert one.correction is not None
    assert (one.correction.survival_fraction, one.correction.stage_fraction) == fractions
