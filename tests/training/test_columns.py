"""An encoder's features beside the interpretable ones, or instead of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from wsigraph.config import Config, ModelConfig
from wsigraph.errors import ConfigError, ModelError
from wsigraph.exchange.tile_graph import GEOMETRY_NAMES
from wsigraph.explanation.explain import explain
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.feature.encode import ENCODING_UNIT
from wsigraph.graph.feature.interpret import FEATURE_NAMES, interpret
from wsigraph.graph.feature.moments import COLUMN
from wsigraph.model.bundle import SHIPPED, load_bundle, save_bundle
from wsigraph.model.card import Card
from wsigraph.model.columns import NodeColumns, column_groups, column_names, node_columns, projection
from wsigraph.model.inputs import graph_input
from wsigraph.model.predict import predict
from wsigraph.records import TissueGraph
from wsigraph.training.dataset import Example
from wsigraph.training.load_cohort import shared_inputs
from wsigraph.training.train import Trained, train

from .conftest import ABOUT
from .planted import made_examples

WIDTH = 12


def encoded(graph: TissueGraph, stage: int, rng: np.random.Generator, *, pixels: bool = True) -> TissueGraph:
    """Return a graph with an encoding that tells the stage; without pixels as TRIDENT's files make it."""
    feature = rng.normal(stage, 1.0, (graph.n_nodes, WIDTH))
    sums = np.rint(feature * ENCODING_UNIT).astype(np.int64) * graph.moment("n")[:, None]
    found = replace(graph, encoding_sum=sums, encoder="made")
    if pixels:
        return found
    return replace(
        found, moments=graph.moments[:, [COLUMN[name] for name in GEOMETRY_NAMES]], moment_names=GEOMETRY_NAMES
    )


@pytest.fixture(scope="module", params=["both", "encoding"])
def reading(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def examples(reading: str) -> list[Example]:
    rng = np.random.default_rng(2)
    found, _ = made_examples(24, rng)
    return [
        replace(each, graph=coarsen(encoded(each.graph, each.stage or 0, rng, pixels=reading == "both")))
        for each in found
    ]


@pytest.fixture(scope="module")
def config(reading: str) -> ModelConfig:
    tiny = {"task": "stage", "stage_names": ("low", "high"), "layers": 1, "heads": 2, "channels": 4, "epochs": 12}
    return Config().model.model_copy(
        update={**tiny, "design": "network", "inputs": reading, "encoding_dimensions": 8, "batch_graphs": 8}
    )


@pytest.fixture(scope="module")
def trained(examples: list[Example], config: ModelConfig) -> Trained:
    return train(examples, config, seed=1, about=ABOUT)


def test_columns_are_features_then_encoding(examples: list[Example], reading: str) -> None:
    graph = examples[0].graph.graph
    asked = NodeColumns(inputs=reading, encoding_dimensions=8)
    columns = node_columns(graph, asked)
    names = column_names(asked, columns.shape[1])
    own = len(FEATURE_NAMES) if reading == "both" else 0
    assert names[own:] == tuple(f"encoding_{number}" for number in range(1, 9))
    assert column_groups(names)[own:] == ("encoder",) * 8
    assert NodeColumns.of_columns(names) == asked
    mean = graph.encoding_sum / graph.moment("n")[:, None] / ENCODING_UNIT
    np.testing.assert_allclose(columns[:, own:], mean @ projection("made", WIDTH, 8), rtol=1e-12)
    if reading == "both":
        np.testing.assert_array_equal(columns[:, :own], interpret(graph).values)
    whole = node_columns(graph, NodeColumns(inputs=reading, encoding_dimensions=WIDTH))
    np.testing.assert_array_equal(whole[:, own:], mean)


def test_the_projection_keeps_lengths_and_never_changes() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 1024))
    matrix = projection("made", 1024, 256)
    ratio = np.linalg.norm(points @ matrix, axis=1) / np.linalg.norm(points, axis=1)
    assert abs(ratio.mean() - 1) < 0.02
    assert ratio.std() < 0.08
    # of a hash, so that a stored model means the same numbers under any library version
    assert (np.sign(projection("made", 2, 4)) == [[1, 1, 1, 1], [1, -1, -1, -1]]).all()
    assert (projection("other", 2, 4) != projection("made", 2, 4)).any()


def test_a_model_learns_from_an_encoder(trained: Trained, reading: str, tmp_path) -> None:
    assert trained.history[:, 1].min() < 0.5 * trained.history[0, 1]
    card = trained.bundle.card
    assert card.encoder == "made"
    assert len(card.feature_names) == 8 + (len(FEATURE_NAMES) if reading == "both" else 0)
    save_bundle(trained.bundle, tmp_path)
    assert load_bundle(tmp_path).model_id == trained.bundle.model_id


def test_predict_reads_the_encoder_and_says_what_is_missing(trained: Trained, examples: list[Example]) -> None:
    graph = examples[1].graph
    assert predict(graph, trained.bundle).stage_probability[1] > 0.5
    without = replace(graph, graph=replace(graph.graph, encoding_sum=None, encoder=None))
    with pytest.raises(ModelError, match=r"no encoder's features, the model needs those of 'made'.*--features FILE"):
        predict(without, trained.bundle)
    other = replace(graph, graph=replace(graph.graph, encoder="another"))
    with pytest.raises(ModelError, match=r"features of encoder 'another', the model needs those of 'made'"):
        predict(other, trained.bundle)


def test_an_explanation_names_the_encoder(trained: Trained, examples: list[Example]) -> None:
    coarse = examples[1].graph
    found = explain(coarse, _fine(coarse), trained.bundle, "stage")
    assert "encoder" in found.groups()
    assert abs(found.groups()["encoder"]) > 0


def _fine(coarse):
    """Return a superpixel graph of as many nodes as the assignment is long, which is all an explanation asks of it."""
    graph = coarse.graph
    moments = graph.moments[coarse.assignment]
    empty = np.zeros((2, 0), np.int64)
    return replace(
        graph, moments=moments, edge_index=empty, boundary=np.zeros((0, 2), np.int64), encoding_sum=None, encoder=None
    )


def test_graphs_of_two_encoders_are_not_one_cohort(examples: list[Example], config: ModelConfig) -> None:
    graph = examples[0].graph
    other = replace(examples[0], graph=replace(graph, graph=replace(graph.graph, encoder="another")))
    with pytest.raises(ModelError, match="2 combinations of moment schema, coarsening and encoder"):
        train([other, *examples[1:]], config, seed=1, about=ABOUT)


def test_configurations_of_one_cohort_read_the_same(config: ModelConfig) -> None:
    other = config.model_copy(update={"inputs": "features"})
    with pytest.raises(ConfigError, match="train them separately"):
        shared_inputs([config, other])
    joint = config.model_copy(update={"train_coarsening": True})
    assert shared_inputs([config, joint]).train_coarsening
    assert not shared_inputs([config]).train_coarsening


def test_an_older_card_keeps_its_identity() -> None:
    """Settings and fields that cards got later leave the document of a model that does not use them alone."""
    card = load_bundle(SHIPPED).card
    text = card.document().decode()
    assert "train_coarsening" not in text
    assert '"encoder"' not in text
    assert Card.model_validate_json(text) == card
    assert (
        "encoding_dimensions"
        in card.model_copy(update={"config": card.config.model_copy(update={"encoding_dimensions": 3})})
        .document()
        .decode()
    )


def test_features_alone_are_what_they_were(examples: list[Example], reading: str) -> None:
    if reading == "both":
        graph = examples[0].graph
        np.testing.assert_array_equal(graph_input(graph).features, interpret(graph.graph).values)
