from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.inputs import Scaler, graph_input
from wsigraph.training.batches import AugmentedGraphDataset, draw_regions, keep_regions, load_batches
from wsigraph.training.checkpoint import TrainingState
from wsigraph.training.dataset import Example, validation_patients
from wsigraph.training.epochs import early_stopping, lr_schedule
from wsigraph.training.train import Trained, train

from .conftest import ABOUT


def test_training_reduces_the_loss(trained: Trained) -> None:
    first, last = trained.history[0], trained.history[-1]
    assert last[0] < 0.9 * first[0]
    assert trained.history[:, 1].min() < first[1]


def test_the_same_seed_gives_the_same_bytes(
    trained: Trained, examples: list[Example], tiny_config: ModelConfig
) -> None:
    state = torch.random.get_rng_state()
    again = train(iter(examples), tiny_config, seed=3, about=ABOUT)
    assert again.bundle.weights == trained.bundle.weights
    assert again.bundle.card.document() == trained.bundle.card.document()
    assert (torch.random.get_rng_state() == state).all()
    other = train(examples, tiny_config.model_copy(update={"epochs": 2}), seed=4, about=ABOUT)
    assert other.bundle.weights != trained.bundle.weights


def test_the_card_tells_what_happened(trained: Trained, examples: list[Example]) -> None:
    card = trained.bundle.card
    assert card.training.n_patients == card.training.n_slides == len(examples)
    assert card.training.n_events == sum(example.event for example in examples)
    assert 0 < card.training.n_validation_patients < len(examples) / 2
    assert card.training.n_epochs == 1 + int(trained.history[:, 1].argmin())
    assert card.coarsening_embedding_id == "none"
    assert card.metrics == {}


def held_out(examples: list[Example], config: ModelConfig, seed: int) -> set[str]:
    patient = np.array([example.patient for example in examples])
    event = np.array([example.event for example in examples])
    rng = np.random.default_rng(seed)
    return set(validation_patients(patient, event, config.validation_fraction, rng=rng).tolist())


def test_bins_and_scaler_know_nothing_of_the_validation_part(
    trained: Trained, examples: list[Example], tiny_config: ModelConfig
) -> None:
    outer = held_out(examples, tiny_config, 3)
    inner = [example for example in examples if example.patient not in outer]
    scaler = Scaler.fit([graph_input(example.graph) for example in inner])
    for name, value in scaler.arrays().items():
        assert (trained.bundle.scaler.arrays()[name] == value).all()
    last_event = max(example.time_days or 0.0 for example in inner if example.event)
    assert trained.bundle.card.time_days[-1] == last_event
    moved = [
        replace(example, time_days=(example.time_days or 0.0) * 3) if example.patient in outer else example
        for example in examples
    ]
    short = tiny_config.model_copy(update={"epochs": 1})
    assert train(moved, short, seed=3, about=ABOUT).bundle.card.time_days == trained.bundle.card.time_days


def test_patients_are_never_split() -> None:
    patient = np.array([f"p{number // 3}" for number in range(60)])
    event = np.array([number // 3 % 4 == 0 for number in range(60)])
    for seed in range(5):
        outer = validation_patients(patient, event, 0.2, rng=np.random.default_rng(seed))
        assert len(outer) == len(set(outer.tolist())) == 4
        assert sum(int(name[1:]) % 4 == 0 for name in outer) == 1


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.99])
def test_both_parts_always_hold_a_patient(fraction: float) -> None:
    patient, event = np.array(["a", "b"]), np.array([True, False])
    for seed in range(4):
        outer = validation_patients(patient, event, fraction, rng=np.random.default_rng(seed))
        assert len(outer) == 1


def test_the_learning_rate_rises_and_falls_along_half_a_cosine(tiny_config: ModelConfig) -> None:
    config = tiny_config.model_copy(update={"epochs": 8, "warmup_epochs": 3})
    rates = [lr_schedule(epoch, config) for epoch in range(8)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert np.diff(rates[3:]).max() < 0
    assert lr_schedule(8, config) == pytest.approx(0.0)


def test_early_stopping_waits_for_its_patience() -> None:
    assert not early_stopping(TrainingState(), 1)
    state = TrainingState(history=[(1.0, 0.5), (1.0, 0.6), (1.0, 0.7)], best_epoch=1)
    assert early_stopping(state, 2)
    assert not early_stopping(state, 3)


def test_batches_come_in_order_and_leave_torchs_generator_alone(examples: list[Example]) -> None:
    """The loader must not draw from torch's generator, which decides dropout."""
    inputs = [graph_input(each.graph) for each in examples[:5]]
    scaler = Scaler.fit(inputs)
    graphs = [scaler.standardise(each) for each in inputs]
    rows = [np.array([3, 1]), np.array([0]), np.array([4, 2])]
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    batches = list(load_batches(AugmentedGraphDataset(graphs, 0.5, np.random.default_rng(0)), rows))
    assert torch.equal(before, torch.random.get_rng_state())
    assert [batch.row.tolist() for batch in batches] == [[3, 1], [0], [4, 2]]
    for batch, chosen in zip(batches, rows, strict=True):
        assert len(batch.kept) == sum(len(graphs[row].features) for row in chosen)
        whole = np.concatenate([graphs[row].features for row in chosen])
        assert (batch.x.numpy() == whole[batch.kept.numpy()]).all()


def test_outcomes_may_be_missing(examples: list[Example], tiny_config: ModelConfig) -> None:
    short = tiny_config.model_copy(update={"epochs": 2})
    no_stage = [replace(example, stage=None) for example in examples]
    assert np.isfinite(train(no_stage, short, seed=0, about=ABOUT).history).all()
    half = [
        replace(example, time_days=None, event=False) if number % 2 else example
        for number, example in enumerate(examples)
    ]
    assert np.isfinite(train(half, short, seed=0, about=ABOUT).history).all()


def test_faults_are_named(examples: list[Example], tiny_config: ModelConfig) -> None:
    def refused(changed: list[Example], match: str) -> None:
        with pytest.raises(ModelError, match=match):
            train(changed, tiny_config, seed=0, about=ABOUT)

    refused([], "no graph to train on")
    refused(examples[:1], "1 patients to train on")
    refused([replace(example, event=False) for example in examples], "had an event")
    refused([replace(examples[0], stage=4), *examples[1:]], "stage index 4, expected 0 to 3")
    refused([replace(examples[0], time_days=None, event=True)], "follow-up of None days")
    refused([replace(examples[0], time_days=math.nan)], "follow-up of nan days")
    refused([replace(examples[0], time_days=0.0)], "follow-up of 0.0 days")
    mixed = replace(examples[0].graph, embedding_id="another")
    refused(
        [replace(examples[0], graph=mixed), *examples[1:]], "2 combinations of moment schema, coarsening and encoder"
    )


def test_a_diverging_loss_is_an_error(examples: list[Example], tiny_config: ModelConfig) -> None:
    huge = tiny_config.model_copy(update={"learning_rate": 1e30, "warmup_epochs": 0})
    with pytest.raises(ModelError, match=r"not finite.*learning_rate"):
        train(examples, huge, seed=0, about=ABOUT)


def test_dropped_regions_take_their_edges_along(examples: list[Example]) -> None:
    raw = graph_input(examples[0].graph)
    graph = Scaler.fit([raw]).standardise(raw)
    # two simulated regions may be alike; here each is known by its first feature
    numbered = np.concatenate([np.arange(len(graph.features))[:, None], graph.features[:, 1:]], axis=1)
    graph = replace(graph, features=numbered.astype(np.float32))
    for seed in range(5):
        less = keep_regions(graph, draw_regions(len(graph.features), 0.4, rng=np.random.default_rng(seed)))
        kept = [int(np.flatnonzero((graph.features == row).all(axis=1))[0]) for row in less.features]
        assert kept == sorted(kept)
        assert 0 < len(kept) < len(graph.features)
        table = {
            (int(source), int(target)): row
            for source, target, row in zip(*graph.edge_index, graph.edge_attribute, strict=True)
            if source in kept and target in kept
        }
        assert len(table) == less.edge_index.shape[1]
        for source, target, row in zip(*less.edge_index, less.edge_attribute, strict=True):
            assert (table[kept[source], kept[target]] == row).all()


def test_one_region_always_stays_and_none_goes_at_zero() -> None:
    rng = np.random.default_rng(0)
    assert draw_regions(9, 1.0, rng=rng).sum() == 1
    assert draw_regions(9, 0.0, rng=rng).all()


def test_progress_is_told_after_every_pass(examples: list[Example], tiny_config: ModelConfig) -> None:
    told: list[tuple[str, int, int]] = []
    train(
        examples,
        tiny_config.model_copy(update={"epochs": 2}),
        seed=0,
        about=ABOUT,
        progress=lambda *event: told.append(event),
    )
    assert told == [("train", 1, 2), ("train", 2, 2)]


def test_patience_ends_training_early(examples: list[Example], tiny_config: ModelConfig) -> None:
    eager = tiny_config.model_copy(update={"epochs": 200, "patience": 2, "learning_rate": 0.05})
    found = train(examples, eager, seed=0, about=ABOUT)
    assert len(found.history) == found.bundle.card.training.n_epochs + 2
