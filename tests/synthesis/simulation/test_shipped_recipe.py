from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.train_shipped_model import main
from wsigraph.model.bundle import CARD_FILE, WEIGHTS_FILE, load_bundle


@pytest.mark.slow
def test_the_recipe_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert main(["--out", str(tmp_path / name), "--patients", "30", "--fresh", "20", "--seed", "4"]) == 0
    for file in (CARD_FILE, WEIGHTS_FILE):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    card = load_bundle(tmp_path / "first").card
    assert card.training.n_patients == 30
    assert "20 fresh simulated patients" in card.evaluation
    assert card.seeds == {"train": 4, "simulate": 4}
