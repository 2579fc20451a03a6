from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from tests.training.conftest import uncoarsened
from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.embed import load_embedding
from wsigraph.graph.feature.interpret import feature_schema_id
from wsigraph.graph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.bundle import (
    CARD_FILE,
    SHIPPED,
    WEIGHTS_FILE,
    ModelBundle,
    Score,
    check_schemas,
    load_bundle,
    save_bundle,
)
from wsigraph.model.predict import predict
from wsigraph.synthesis.simulation.simulate import SimulatedPatient
from wsigraph.training.train import Trained


@pytest.fixture
def directory(trained: Trained, tmp_path: Path) -> Path:
    return save_bundle(trained.bundle, tmp_path / "model")


def edit_card(directory: Path, **changes: object) -> None:
    path = directory / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(directory: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Change the weights and make the card's digest agree."""
    tensors = load((directory / WEIGHTS_FILE).read_bytes())
    change(tensors)
    content = save(tensors)
    (directory / WEIGHTS_FILE).write_bytes(content)
    edit_card(directory, weights_sha256=hashlib.sha256(content).hexdigest())


def test_round_trip(trained: Trained, directory: Path, patients: list[SimulatedPatient]) -> None:
    loaded = load_bundle(directory)
    assert loaded.model_id == trained.bundle.model_id
    assert loaded.card == trained.bundle.card
    assert sorted(path.name for path in directory.iterdir()) == [CARD_FILE, WEIGHTS_FILE]
    for name, value in trained.bundle.scaler.arrays().items():
        assert (loaded.scaler.arrays()[name] == value).all()
    coarse = uncoarsened(patients[0].graph)
    assert predict(coarse, directory).risk == predict(coarse, trained.bundle).risk


def test_saving_twice_gives_the_same_bytes(trained: Trained, directory: Path, tmp_path: Path) -> None:
    again = save_bundle(load_bundle(directory), tmp_path / "again")
    for name in (CARD_FILE, WEIGHTS_FILE):
        assert (again / name).read_bytes() == (directory / name).read_bytes()


def test_bytes_do_not_depend_on_the_process(directory: Path) -> None:
    code = (
        "import sys; from wsigraph.model.bundle import load_bundle, pack; b = load_bundle(sys.argv[1]); "
        "import hashlib; print(hashlib.sha256(pack(b.members, b.calibration)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(directory)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert digests == {hashlib.sha256((directory / WEIGHTS_FILE).read_bytes()).hexdigest()}


def test_a_new_figure_on_the_card_is_a_new_model(trained: Trained) -> None:
    card = trained.bundle.card
    scored = card.model_copy(update={"metrics": {"c_index": Score(value=0.7, low=0.6, high=0.8)}})
    assert ModelBundle(card=scored, weights=trained.bundle.weights).model_id != trained.bundle.model_id


def test_missing_directory_and_file_for_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere does not exist, expected a directory .* or fetch or train"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file, expected a directory"):
        load_bundle(tmp_path / "file")


@pytest.mark.parametrize("name", [CARD_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        load_bundle(directory)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:500] + bytes([b[500] ^ 1]) + b[501:], lambda b: b""])
def test_damaged_weights_are_refused(directory: Path, damage: Callable[[bytes], bytes]) -> None:
    path = directory / WEIGHTS_FILE
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match="is damaged: its digest is"):
        load_bundle(directory)


@pytest.mark.parametrize("content", ["", "no card", '{"name": NaN}', "\ufffd"])
def test_a_card_that_is_no_json(directory: Path, content: str) -> None:
    (directory / CARD_FILE).write_text(content)
    with pytest.raises(ModelError, match=r"is not JSON.*fetch or train"):
        load_bundle(directory)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema_version": 1}, "schema_version"),
        ({"extra": 1}, "extra"),
        ({"members": []}, "members"),
        ({"notice": ""}, "notice"),
        ({"training": {}}, "training.data"),
        ({"config": {"layers": -1}}, "config.layers"),
    ],
)
def test_a_card_with_a_fault_names_it(directory: Path, changes: dict[str, object], named: str) -> None:
    edit_card(directory, **changes)
    with pytest.raises(ModelError, match=f"is not a model card: {named}"):
        load_bundle(directory)


def test_another_feature_schema_names_both_and_what_to_do(directory: Path) -> None:
    edit_card(directory, feature_schema_id="0123456789abcdef")
    with pytest.raises(ModelError) as caught:
        load_bundle(directory)
    message = str(caught.value)
    assert "0123456789abcdef" in message
    assert feature_schema_id() in message
    assert "use a model trained with this version" in message


def test_another_moment_schema_is_refused(trained: Trained) -> None:
    with pytest.raises(ModelError, match=f"moment schema {moment_schema_id()}, the graph has moment schema other"):
        check_schemas(trained.bundle.card, feature_schema_id(), "other")


def test_an_architecture_that_is_not_the_cards(directory: Path) -> None:
    (member,) = json.loads((directory / CARD_FILE).read_text())["members"]
    edit_card(directory, members=[member | {"config": member["config"] | {"channels": 5}}])
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_bundle(directory).members[0].network()


def test_weights_that_are_not_safetensors(directory: Path) -> None:
    (directory / WEIGHTS_FILE).write_bytes(b"PK\x03\x04 something else")
    edit_card(directory, weights_sha256=hashlib.sha256(b"PK\x03\x04 something else").hexdigest())
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_bundle(directory)


def test_weights_that_are_not_finite(directory: Path) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        tensors["0.network.embed.bias"] = np.full_like(tensors["0.network.embed.bias"], np.nan)

    edit_tensors(directory, spoil)
    with pytest.raises(ModelError, match=r"not finite in 0\.network\.embed\.bias"):
        load_bundle(directory)


def test_a_scaler_that_is_incomplete_or_of_another_width(directory: Path, tmp_path: Path) -> None:
    edit_tensors(directory, lambda tensors: tensors.update({"0.scaler.feature_mean": np.zeros(2)}))
    with pytest.raises(ModelError, match="features, its card names"):
        _ = load_bundle(directory).scaler
    edit_tensors(directory, lambda tensors: tensors.pop("0.scaler.feature_mean"))
    with pytest.raises(ModelError, match="scaler arrays"):
        _ = load_bundle(directory).scaler


def test_the_shipped_model_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 10_000_000
    card = load_bundle(SHIPPED).card
    assert card.training.simulated
    assert "demonstration model" in card.notice
    assert "no medical meaning" in card.notice
    assert card.metrics["c_index"].low > 0.65
    assert card.metrics["c_index"].value <= card.metrics["c_index_oracle"].high
    load_bundle(SHIPPED).members[0].network()


def test_the_shipped_model_belongs_to_the_shipped_coarsening() -> None:
    # otherwise run: python -m pipelines.train_shipped_model
    assert load_bundle(SHIPPED).card.coarsening_embedding_id == load_embedding().embedding_id
