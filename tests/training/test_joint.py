"""The coarsening's embedding trained with the task, through the merging."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig, Config, ModelConfig
from wsigraph.errors import ConfigError, ModelError
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import QUANTUM, Embedding, embed, load_embedding, save_embedding
from wsigraph.graph.coarsening.membership import memberships
from wsigraph.graph.feature.interpret import FEATURE_GROUPS
from wsigraph.model.bundle import load_bundle, pack, save_bundle
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import Scaler, graph_input
from wsigraph.model.predict import EXTERNAL, IN_TRAINING, OUT_OF_FOLD, predict
from wsigraph.training.dataset import Cohort, Example, collect
from wsigraph.training.ensemble import Ensemble, train_folds
from wsigraph.training.fit import Fitted, fit
from wsigraph.training.load_cohort import coarsening_to_train
from wsigraph.training.straight_through import MergingWeights, join_links, mean_embedding
from wsigraph.training.superpixel_graphs import coarsen_row

from .conftest import ABOUT
from .planted import LOUD, QUIET, loud_embedding, made_examples

MERGING = CoarseningConfig(ratio=9.0)
Made = tuple[list[Example], list[NDArray[np.int64]], Embedding]


@pytest.fixture(scope="module")
def made() -> Made:
    examples, kinds = made_examples(32, np.random.default_rng(0))
    return examples, kinds, loud_embedding(examples)


@pytest.fixture(scope="module")
def cohort(made: Made) -> Cohort:
    return collect(made[0], ("low", "high"), coarsening=(MERGING, made[2]))


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    settings = {"task": "stage", "stage_names": ("low", "high"), "layers": 1, "heads": 2, "channels": 4}
    schedule = {"epochs": 16, "batch_graphs": 8, "dropout": 0.0, "region_dropout": 0.2}
    return Config().model.model_copy(
        update={**settings, **schedule, "train_coarsening": True, "recoarsen_every": 2, "design": "network"}
    )


@pytest.fixture(scope="module")
def fitted(cohort: Cohort, config: ModelConfig) -> Fitted:
    return fit(cohort, np.arange(cohort.n_rows), config, seed=1)


@pytest.fixture(scope="module")
def ensemble(cohort: Cohort, config: ModelConfig) -> Ensemble:
    short = config.model_copy(update={"epochs": 8, "learning_rate": 0.01})
    return train_folds(cohort, np.arange(cohort.n_rows) // 2 % 2, [short], seed=1, about=ABOUT)


def purity(made: Made, embedding: Embedding) -> float:
    """Return the share of superpixels in a region of their own class, over slides of both classes."""
    found = []
    for example, kind in zip(made[0], made[1], strict=True):
        if example.stage == 1:
            region = coarsen(example.graph, MERGING, embedding=embedding).assignment
            inside = np.bincount(region, kind)
            found.append(np.maximum(inside, np.bincount(region) - inside).sum() / len(kind))
    return float(np.mean(found))


def test_the_task_teaches_the_merging_what_matters(
    made: Made, cohort: Cohort, config: ModelConfig, fitted: Fitted
) -> None:
    """Without labels, regions mix two classes that the eye cannot tell apart; with the task they come apart."""
    without = fit(cohort, np.arange(cohort.n_rows), config.model_copy(update={"train_coarsening": False}), seed=1)
    learned = fitted.member.embedding
    assert learned is not None
    assert purity(made, made[2]) < 0.75
    assert purity(made, learned) > 0.85
    assert fitted.best_loss < 0.5 * without.best_loss
    weight = np.linalg.norm(learned.own_weight, axis=0)
    assert weight[QUIET] > 2 * 0.1 * weight[LOUD]
    assert without.member.embedding is None


def linked(made: Made, number: int = 1):
    """Return a slide's scaled hard graph, its links and the weights."""
    graph, embedding = made[0][number].graph, made[2]
    scaler = Scaler.fit([graph_input(coarsen(each.graph, MERGING, embedding=embedding)) for each in made[0][:8]])
    weights = MergingWeights(embedding)
    raw, links = coarsen_row((graph,), MERGING, weights.embedding(), NodeColumns(), scaler)
    return scaler.standardise(raw), links, weights


def test_forward_is_the_hard_coarsening_bit_for_bit(made: Made) -> None:
    graph, links, weights = linked(made)
    hard = torch.from_numpy(graph.features)
    passed = weights(hard, links, torch.arange(links.n_regions))
    assert passed.detach().numpy().tobytes() == graph.features.tobytes()
    coarse = coarsen(made[0][1].graph, MERGING, embedding=weights.embedding())
    assert links.assignment.numpy().tobytes() == coarse.assignment.tobytes()


def test_the_gradient_reaches_the_weights_and_spares_shape(made: Made) -> None:
    graph, links, weights = linked(made)
    passed = weights(torch.from_numpy(graph.features), links, torch.arange(links.n_regions))
    (passed * torch.randn(passed.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for each in (weights.own.grad, weights.message.grad):
        assert each is not None
        assert torch.isfinite(each).all()
        shape = torch.tensor([group == "shape" for group in FEATURE_GROUPS])
        assert (each[:, shape] == 0).all()
        assert (each[:, QUIET] != 0).any()


def test_the_gradient_is_that_of_the_mixture(made: Made) -> None:
    """A small step along the gradient changes the mixture as the gradient says."""
    _, links, weights = linked(made)
    weights = weights.double()
    links = replace(
        links,
        **{
            name: getattr(links, name).double()
            for name in ("described", "mixed", "area", "inside", "threshold", "temperature", "chance")
        },
    )

    def total() -> torch.Tensor:
        return weights.mixture(links)[:, QUIET].square().sum()

    total().backward()
    direction = weights.own.grad.clone()
    step = 1e-6 / direction.norm()
    with torch.no_grad():
        weights.own += step * direction
        after = total()
        weights.own -= 2 * step * direction
        before = total()
    expected = 2 * step * direction.square().sum()
    assert float(after - before) == pytest.approx(float(expected), rel=1e-4)


def test_dropped_regions_leave_the_others_gradients_in_place(made: Made) -> None:
    graph, links, weights = linked(made)
    kept = torch.arange(0, links.n_regions, 2)
    passed = weights(torch.from_numpy(graph.features)[kept], links, kept)
    passed[3, QUIET].backward()
    own = weights.own.grad.clone()
    weights.zero_grad()
    weights.mixture(links)[6, QUIET].backward()
    assert torch.equal(own, weights.own.grad)


def test_links_of_a_batch_are_those_of_its_graphs(made: Made) -> None:
    first, second = linked(made, 1), linked(made, 2)
    both = first[2].mixture(join_links([first[1], second[1]]))
    for links, part in ((first[1], both[: first[1].n_regions]), (second[1], both[first[1].n_regions :])):
        torch.testing.assert_close(first[2].mixture(links), part)


def test_members_and_those_that_touch(made: Made) -> None:
    graph, embedding = made[0][1].graph, made[2]
    region = coarsen(graph, MERGING, embedding=embedding).assignment
    found = memberships(embed(graph, embedding), graph.edge_index, region, unit=QUANTUM)
    assert (found.region[found.inside] == region[found.superpixel[found.inside]]).all()
    source, target = graph.edge_index
    across = {(int(s), int(region[t])) for s, t in zip(source, target, strict=True) if region[s] != region[t]}
    outside = list(zip(found.superpixel[~found.inside].tolist(), found.region[~found.inside].tolist(), strict=True))
    assert len(outside) == len(set(outside))
    assert set(outside) == across
    assert found.temperature > 0
    alone = memberships(embed(graph, embedding), graph.edge_index, np.arange(graph.n_nodes), unit=QUANTUM)
    assert np.isfinite([alone.threshold, alone.temperature]).all()


def test_a_resumed_fit_gives_the_same_bytes(cohort: Cohort, config: ModelConfig, tmp_path: Path) -> None:
    rows, short = np.arange(cohort.n_rows), config.model_copy(update={"epochs": 4, "recoarsen_every": 3})
    whole = fit(cohort, rows, short, seed=2)
    with pytest.raises(KeyboardInterrupt):
        fit(cohort, rows, short, seed=2, checkpoint=tmp_path / "c.safetensors", progress=_stop_after(2))
    again = fit(cohort, rows, short, seed=2, checkpoint=tmp_path / "c.safetensors")
    assert again.history.tobytes() == whole.history.tobytes()
    for name, value in whole.member.arrays.items():
        assert again.member.arrays[name].tobytes() == value.tobytes()
    assert whole.member.embedding is not None
    assert again.member.embedding is not None
    assert again.member.embedding.embedding_id == whole.member.embedding.embedding_id


def _stop_after(n_passes: int):
    def progress(_: str, done: int, __: int) -> None:
        if done == n_passes:
            raise KeyboardInterrupt

    return progress


def test_the_bundle_coarsens_by_its_own_embedding(ensemble: Ensemble, made: Made, tmp_path: Path) -> None:
    save_bundle(ensemble.bundle, tmp_path)
    bundle = load_bundle(tmp_path)
    assert bundle.model_id == ensemble.bundle.model_id
    own = [member.embedding for member in bundle.members]
    assert bundle.embedding is not None
    assert bundle.embedding.embedding_id == mean_embedding([each for each in own if each]).embedding_id
    assert bundle.card.coarsening_embedding_id == bundle.embedding.embedding_id != made[2].embedding_id
    assert bundle.card.coarsening == MERGING
    assert pack(bundle.members, bundle.calibration, bundle.embedding) == bundle.weights
    graph = made[0][0].graph
    coarse = coarsen(graph, MERGING, embedding=bundle.embedding)
    one, two = predict(coarse, bundle), predict(graph, bundle)
    assert one.stage_probability.tolist() == two.stage_probability.tolist()
    assert one.relation == EXTERNAL
    assert not any("coarsened by" in warning for warning in one.warnings)


def test_a_graph_coarsened_otherwise_is_refused(ensemble: Ensemble, made: Made) -> None:
    with pytest.raises(ModelError, match="was trained together with its own"):
        predict(coarsen(made[0][0].graph, MERGING, embedding=made[2]), ensemble.bundle)


def test_only_the_member_that_never_saw_a_patient_counts_as_out_of_fold(ensemble: Ensemble, made: Made) -> None:
    """The bundle's embedding has learned from every patient; a member's own has not from those it held out."""
    graph, bundle = made[0][0].graph, ensemble.bundle
    assert predict(graph, bundle, patient="p0").relation == IN_TRAINING
    own = bundle.members[0].embedding
    held = predict(coarsen(graph, MERGING, embedding=own), bundle, patient="p0")
    assert held.relation == OUT_OF_FOLD
    assert held.stage_probability == pytest.approx(ensemble.held_out.stage_probability[0], abs=1e-6)


def test_what_cannot_be_trained_is_said(made: Made, cohort: Cohort, config: ModelConfig) -> None:
    with pytest.raises(ModelError, match="keeps no superpixel graphs"):
        fit(replace(cohort, superpixel_graphs=None), np.arange(cohort.n_rows), config, seed=1)
    coarse = replace(made[0][0], graph=coarsen(made[0][0].graph, MERGING, embedding=made[2]))
    with pytest.raises(ModelError, match="is coarsened already"):
        collect([coarse], ("low", "high"), coarsening=(MERGING, made[2]))
    with pytest.raises(ConfigError, match="have no weights to"):
        coarsening_to_train(CoarseningConfig(space="encoding"), config)
    assert coarsening_to_train(None, config.model_copy(update={"train_coarsening": False})) is None


def test_training_starts_from_the_weights_that_are_named(tmp_path: Path, made: Made, config: ModelConfig) -> None:
    save_embedding(made[2], tmp_path / "own.safetensors")
    named = coarsening_to_train(CoarseningConfig(weights=str(tmp_path / "own.safetensors")), config)
    shipped = coarsening_to_train(None, config)
    assert named is not None
    assert shipped is not None
    assert named[1].embedding_id == made[2].embedding_id
    assert named[0].weights is None
    assert shipped[1].embedding_id == load_embedding().embedding_id
